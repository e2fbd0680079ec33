"""Secrets of credentials: made here, kept only as hashes, compared in constant time.

Secrets for the API and for SMTP have 160 random bits, so one SHA-256 is enough: there is nothing to guess.
SMPP allows a password of 8 characters (v3.4 section 5.2.2: 9 octets with the NUL), 40 bits, so those are
hashed with scrypt, which is made to be slow: call `matches` and `hash_secret` for them in a thread.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from enum import StrEnum

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1  # RFC 7914 section 2: 16 MiB, some 40 ms
_SALT_OCTETS = 16
_HASH_OCTETS = 32
PREFIX_CHARACTERS = 12
SECRET_CHARACTERS = 32  # of 5 bits each
SMPP_PASSWORD_CHARACTERS = 8

RandomBytes = Callable[[int], bytes]


class CredentialKind(StrEnum):
    """Which door a credential opens."""

    API = "api"
    SMTP = "smtp"
    SMPP = "smpp"


def random_text(characters: int, random_bytes: RandomBytes = os.urandom) -> str:
    """`characters` random characters of 5 bits each, none of them easily mistaken for another."""
    return "".join(_ALPHABET[octet & 31] for octet in random_bytes(characters))


def make_secret(kind: CredentialKind, username: str, random_bytes: RandomBytes = os.urandom) -> str:
    """A new secret; an API key carries its public prefix, the username, in front: `gw_<prefix>_<random>`."""
    if kind is CredentialKind.SMPP:
        return random_text(SMPP_PASSWORD_CHARACTERS, random_bytes)
    secret = random_text(SECRET_CHARACTERS, random_bytes)
    return f"gw_{username}_{secret}" if kind is CredentialKind.API else secret


def key_prefix(key: str) -> str | None:
    """The public prefix of an API key, None for what cannot be one."""
    scheme, _, rest = key.partition("_")
    prefix, _, secret = rest.partition("_")
    if scheme != "gw" or len(prefix) != PREFIX_CHARACTERS or len(secret) != SECRET_CHARACTERS:
        return None
    return prefix if key.isascii() and (prefix + secret).isalnum() else None


def hash_secret(kind: CredentialKind, secret: str, random_bytes: RandomBytes = os.urandom) -> str:
    """What is stored of `secret`."""
    if kind is not CredentialKind.SMPP:
        return "sha256$" + hashlib.sha256(secret.encode()).hexdigest()
    salt = random_bytes(_SALT_OCTETS)
    digest = _scrypt(secret, salt, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)
    parameters = f"{_SCRYPT_N}${_SCRYPT_R}${_SCRYPT_P}"
    return f"scrypt${parameters}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def matches(stored: str, secret: str) -> bool:
    """Whether `stored` was made of `secret`; takes the same time wherever they differ."""
    scheme, _, rest = stored.partition("$")
    encoded = secret.encode("utf-8", "surrogatepass")
    if scheme == "sha256":
        return hmac.compare_digest(rest, hashlib.sha256(encoded).hexdigest())
    n, r, p, salt, digest = rest.split("$")
    computed = _scrypt(encoded, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(base64.b64decode(digest), computed)


def _scrypt(secret: str | bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    octets = secret.encode() if isinstance(secret, str) else secret
    return hashlib.scrypt(octets, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=_HASH_OCTETS)


DECOY = hash_secret(CredentialKind.SMPP, "")
"""Compared with when there is no such SMPP user, so that the time does not tell."""
