"""The demo's certificate: self-signed, for this machine only, made again when it has expired.

Only a certificate that the demo made itself is ever replaced, and only inside `server.data_dir`.
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from config import Settings
from gateway import tls
from gateway.files import write_private

_MADE_BY = "gateway demo"
_LIFE = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=7)


def ensure(settings: Settings, *, now: datetime | None = None) -> bool:
    """Makes the certificate unless a good one is there; whether it did. The operator's own is left alone."""
    now = now or datetime.now(UTC)
    wanted = settings.tls
    inside = all(path.is_relative_to(settings.server.data_dir) for path in (wanted.certificate, wanted.key))
    if not inside or (wanted.certificate.exists() and not _is_ours(wanted.certificate)):
        return False
    try:
        tls.server_context(wanted, now=now)
        if tls.check(wanted, now=now) - now > _RENEW_BEFORE:
            return False
    except tls.CertificateError:
        pass  # missing, expired, or its key was not written any more: made anew
    key, chain = make(now)
    # The key first: a crash in between leaves a pair that does not fit, which the next start replaces.
    write_private(wanted.key, key)
    write_private(wanted.certificate, chain, mode=0o644)
    return True


def make(now: datetime) -> tuple[bytes, bytes]:
    """A key and its certificate for localhost, 127.0.0.1 and ::1, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _MADE_BY),
            x509.NameAttribute(NameOID.COMMON_NAME, "localhost"),
        ]
    )
    hosts = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
        .add_extension(hosts, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, certificate.public_bytes(Encoding.PEM)


def _is_ours(path: Path) -> bool:
    """Whether the demo made the certificate (or what is there is none at all, as after a full disk)."""
    if path.stat().st_size == 0:
        return True
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        return False
    names = found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return found.issuer == found.subject and [one.value for one in names] == [_MADE_BY]
