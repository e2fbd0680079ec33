"""DKIM signatures (RFC 6376) by RSA and Ed25519 (RFC 8463), made by `cryptography` and checked by dkimpy.

Every message is signed relaxed/relaxed and whole: no l= (RFC 6376 section 8.2 tells what it opens). The
fields a reader sees or a program acts on are named once more than they stand in the message, so that none can
be added (section 8.15); List-Unsubscribe and List-Unsubscribe-Post are among them, as RFC 8058 section 4
asks.

The body is canonicalised with octet operations and hashed once for all keys. `Signer.sign` takes the time.
Raises `KeyUnusableError` for keys that no verifier would accept. Publishes nothing, and `verify` is handed
its DNS lookup.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

import dkim
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from smtp.headers import Field, HeaderError

RSA_BITS = 2048  # RFC 8301 section 3.2: 1024 at the least, 2048 advised; a longer key outgrows a UDP answer

# RFC 6376 section 5.4.1; the MIME fields, which decide what the body shows; the List fields of RFC 2369,
# 2919, 8058.
OVERSIGNED = (
    *("from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references"),
    *("mime-version", "content-type", "content-transfer-encoding"),
    *("list-id", "list-unsubscribe", "list-unsubscribe-post", "list-subscribe", "list-post", "list-owner"),
    *("list-help", "list-archive"),
)
# Signed where they stand; adding one does no harm.
SIGNED_IF_PRESENT = ("resent-from", "resent-to", "resent-date", "resent-message-id", "feedback-id")

_SIGNED = frozenset((*OVERSIGNED, *SIGNED_IF_PRESENT))

MAX_VERIFIED = 8  # signatures looked at in one message; a verifier must bound its work (RFC 6376 section 8.4)

_TXT_STRING_OCTETS = 255  # RFC 1035 section 3.3.14
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_BLANKS = re.compile(rb"[ \t]+")
_PADDING = PKCS1v15()
_SHA256 = SHA256()

PrivateKey = RSAPrivateKey | Ed25519PrivateKey
TxtLookup = Callable[[str], bytes | None]


class KeyUnusableError(ValueError):
    """A private key that cannot be read, or is of a kind or size that verifiers refuse."""


@dataclass(frozen=True, slots=True)
class Record:
    """What to publish: the owner name and the text of its TXT record."""

    name: str
    text: str

    @property
    def strings(self) -> tuple[str, ...]:
        """The text in strings of at most 255 octets, as a TXT record holds it (RFC 6376 section 3.6.2.2)."""
        starts = range(0, len(self.text), _TXT_STRING_OCTETS)
        return tuple(self.text[at : at + _TXT_STRING_OCTETS] for at in starts)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A parsed private key and the place of its public half: `selector`._domainkey.`domain`."""

    domain: str
    selector: str
    private: PrivateKey

    @property
    def algorithm(self) -> str:
        """The value of a= (RFC 6376 section 3.3, RFC 8463 section 3)."""
        return "rsa-sha256" if isinstance(self.private, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, octets: bytes) -> bytes:
        """The signature over the canonical header (Ed25519 signs its SHA-256, RFC 8463 section 3)."""
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(octets, _PADDING, _SHA256)
        return self.private.sign(sha256(octets).digest())


@dataclass(frozen=True, slots=True)
class Verification:
    """What became of one signature. `reason` is "" where it is valid."""

    domain: str
    selector: str
    algorithm: str
    valid: bool
    reason: str = ""


class Signer:
    """The keys of one domain, ready to sign."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._keys = tuple(keys)
        self._starts = tuple(
            f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};\r\n"
            f"\ts={key.selector}; t=".encode()
            for key in self._keys
        )

    def sign(self, fields: Sequence[Field], body: bytes, *, now: int) -> list[Field]:
        """One DKIM-Signature per key, to stand before `fields`. `now` in seconds since 1970."""
        body_hash = b64encode(sha256(canonical_body(body)).digest())
        names, listed = _signed_names(tuple([field.name for field in fields if field.name in _SIGNED]))
        header = _canonical_header(fields, names)
        rest = b"%d;\r\n\th=%b;\r\n\tbh=%b;\r\n\tb=" % (now, listed, body_hash)
        signatures = []
        for key, start in zip(self._keys, self._starts, strict=True):
            unsigned = start + rest
            signature = key.sign(header + canonical_field(Field("dkim-signature", unsigned))[:-2])
            signatures.append(Field("dkim-signature", unsigned + _folded(signature)))
        return signatures


def make_keys() -> tuple[bytes, bytes]:
    """A new RSA-2048 and a new Ed25519 private key, each as unencrypted PKCS #8 PEM."""
    rsa = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return _pem(rsa), _pem(Ed25519PrivateKey.generate())


def load_key(pem: bytes, *, domain: str, selector: str, ours: bool = False) -> SigningKey:
    """Parse a private key. One that `make_keys` made (`ours`) is not proved to be sound, which takes 30 ms.

    Raises `KeyUnusableError` for what is no RSA or Ed25519 key, or too short a one.
    """
    domain, selector = domain.lower(), selector.lower()
    for word, name in (("domain", domain), ("selector", selector)):
        if _NAME.fullmatch(name) is None:
            raise KeyUnusableError(f"{word} {name!r} is not a DNS name (A-labels for international names)")
    try:
        private = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=ours)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusableError("the DKIM key is not an unencrypted private key in PEM form") from error
    if not isinstance(private, PrivateKey):
        raise KeyUnusableError("a DKIM key must be RSA or Ed25519")
    if isinstance(private, RSAPrivateKey) and private.key_size < 1024:
        raise KeyUnusableError(f"an RSA key of {private.key_size} bits is too short (RFC 8301 section 3.2)")
    return SigningKey(domain, selector, private)


def dns_record(key: SigningKey) -> Record:
    """The TXT record that publishes the public half (RFC 6376 section 3.6.1, RFC 8463 section 4)."""
    public = key.private.public_key()
    if isinstance(public, Ed25519PublicKey):
        kind, octets = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        kind, octets = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = f"v=DKIM1; k={kind}; p={b64encode(octets).decode()}"
    return Record(f"{key.selector}._domainkey.{key.domain}", text)


def canonical_body(body: bytes) -> bytes:
    """The body under "relaxed" (RFC 6376 section 3.4.4); b"" for an empty one."""
    if not body.endswith(b"\r\n"):
        body += b"\r\n"  # as DATA will send it (RFC 5321 section 4.1.1.4)
    body = body.replace(b"\t", b" ")
    while b"  " in body:  # each turn halves the longest run, so the number of turns is its logarithm
        body = body.replace(b"  ", b" ")
    body = body.replace(b" \r\n", b"\r\n")
    end = len(body.rstrip(b"\r\n"))
    lines = body[end:]
    if lines != b"\r\n" * (len(lines) // 2):  # bare CR or LF at the end: only whole CRLF pairs are line ends
        # They begin behind the last two of a kind, or behind a lone LF.
        start = max(lines.rfind(b"\r\r"), lines.rfind(b"\n\n")) + 1
        start += lines.startswith(b"\n", start)
        end = end + start if lines.endswith(b"\n") else len(body)
    return body[: end + 2] if end else b""


def canonical_field(field: Field) -> bytes:
    """One field under "relaxed" (RFC 6376 section 3.4.2), with its CRLF."""
    value = field.raw[field.raw.index(b":") + 1 :]
    if b"\x0b" in value or b"\x0c" in value:  # blanks to split(), but not to the RFC
        value = _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")
    else:
        value = b" ".join(value.split())
    return b"%b:%b\r\n" % (field.name.encode(), value)


def _canonical_header(fields: Sequence[Field], names: Sequence[str]) -> bytes:
    """The signed fields in the order of h=, the same name from the bottom up (RFC 6376 section 5.4.2)."""
    by_name: dict[str, list[Field]] = {}
    for field in fields:
        by_name.setdefault(field.name, []).append(field)
    return b"".join([canonical_field(by_name[name].pop()) for name in names if by_name.get(name)])


@lru_cache(maxsize=256)  # applications send the same set of fields over and over
def _signed_names(present: tuple[str, ...]) -> tuple[tuple[str, ...], bytes]:
    """The names for h= given those of them in the message, and the folded text of h=."""
    counts = Counter(present)
    names: list[str] = []
    for name in OVERSIGNED:
        names += [name] * (counts[name] + 1)
    for name in SIGNED_IF_PRESENT:
        names += [name] * counts[name]
    lines, line = [], ""
    for name in names:
        if len(line) + len(name) > 70:
            lines.append(line)
            line = ""
        line += f"{name}:"
    lines.append(line.removesuffix(":"))
    return tuple(names), "\r\n\t ".join(lines).encode()


def _folded(signature: bytes) -> bytes:
    """Base64 in lines of 72, ended by CRLF; blanks inside b= do not count (RFC 6376 section 3.5)."""
    text = b2a_base64(signature, newline=False)
    return b"\r\n\t ".join([text[at : at + 72] for at in range(0, len(text), 72)]) + b"\r\n"


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def verify(message: bytes, lookup: TxtLookup) -> list[Verification]:
    """What dkimpy says of each signature, topmost first. `lookup` gives the text of a TXT record, or None.

    Raises `HeaderError` for a message whose header dkimpy cannot read.
    """

    def dnsfunc(name: bytes | str, timeout: float = 5) -> bytes | None:  # noqa: ARG001 - dkimpy passes it
        return lookup(_text(name).rstrip("."))

    try:
        verifier = _Verifier(message)
    except (dkim.MessageFormatError, IndexError) as error:  # IndexError: the first line is a fold
        raise HeaderError(f"not a message: {error}") from error
    present = sum(name.lower() == b"dkim-signature" for name, _ in verifier.headers)
    return [_verify_one(message, index, dnsfunc) for index in range(min(present, MAX_VERIFIED))]


def _verify_one(message: bytes, index: int, dnsfunc: Callable[..., bytes | None]) -> Verification:
    verifier = _Verifier(message)
    try:
        valid = bool(verifier.verify(index, dnsfunc))
        reason = "" if valid else "the signature or its key does not match"
    except (dkim.DKIMException, dkim.util.InvalidTagValueList, Base64Error, ValueError) as error:
        valid, reason = False, str(error)
    tags: dict[bytes, bytes] = getattr(verifier, "signature_fields", {})
    domain, selector, algorithm = (_text(tags.get(tag, b"")) for tag in (b"d", b"s", b"a"))
    return Verification(domain, selector, algorithm, valid, reason)


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


class _Ed25519:
    """What dkimpy expects of PyNaCl, by `cryptography`; keeps the verdict, raises no error of PyNaCl."""

    def __init__(self, octets: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(octets)
        self.valid = False

    def verify(self, digest: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, digest)
        except InvalidSignature:
            return
        self.valid = True


class _Verifier(dkim.DKIM):  # type: ignore[misc]  # dkimpy ships no types
    """dkimpy whose Ed25519 is done by `cryptography`, so that PyNaCl is not needed."""

    def verify_sig(
        self, sig: dict[bytes, bytes], include_headers: Any, sig_header: Any, dnsfunc: Any
    ) -> bool:
        if sig[b"a"] != b"ed25519-sha256":
            return bool(super().verify_sig(sig, include_headers, sig_header, dnsfunc))
        record = dnsfunc(sig[b"s"] + b"._domainkey." + sig[b"d"] + b".")
        if not record:
            raise dkim.KeyFormatError("missing public key")
        tags = dkim.util.parse_tag_value(record)
        if tags.get(b"k") != b"ed25519":
            return False
        self.pk = _Ed25519(b64decode(tags.get(b"p", b"")))
        self.keysize, self.ktag, self.seqtlsrpt = 256, b"ed25519", False
        checked = bool(self.verify_sig_process(sig, include_headers, sig_header, dnsfunc))
        return checked and bool(self.pk.valid)
