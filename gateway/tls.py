"""The certificate of the doors: loaded, judged, and turned into a context (TLS 1.2 and later)."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from config.sections.listeners import Tls

# For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 section 4.2); named here, because
# what a system's Python allows by default differs.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


class CertificateError(Exception):
    """The certificate or its key cannot be used; the text says what to do."""


def server_context(tls: Tls, *, now: datetime) -> ssl.SSLContext:
    """The one context for every listener. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    load(context, tls, now=now)
    return context


def load(context: ssl.SSLContext, tls: Tls, *, now: datetime) -> None:
    """Gives the certificate to `context`: handshakes from now on use it. Raises CertificateError."""
    check(tls, now=now)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"tls.key: {tls.key} does not fit {tls.certificate} ({error}). Give the key of this certificate."
        ) from error


def check(tls: Tls, *, now: datetime) -> datetime:
    """When the certificate expires. Raises CertificateError if it is missing, broken, or not valid now."""
    certificate = _read(tls.certificate)
    if not tls.key.is_file():
        raise CertificateError(f"tls.key: {tls.key} does not exist. Give the key of the certificate.")
    expires = certificate.not_valid_after_utc
    if expires <= now.astimezone(UTC):
        raise CertificateError(
            f"tls.certificate: {tls.certificate} expired on {expires:%Y-%m-%d}. "
            "Renew it; SIGHUP makes a running gateway read it again."
        )
    if certificate.not_valid_before_utc > now.astimezone(UTC):
        begins = certificate.not_valid_before_utc
        raise CertificateError(
            f"tls.certificate: {tls.certificate} is valid only from {begins:%Y-%m-%d}. Is the clock right?"
        )
    return expires


def _read(path: Path) -> x509.Certificate:
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise CertificateError(
            f"tls.certificate: {path} cannot be read ({error.strerror}). Set tls.certificate and tls.key, "
            "or turn TLS off where it is not needed (smtp.tls_port = 0)."
        ) from error
    try:
        return x509.load_pem_x509_certificates(octets)[0]
    except (ValueError, IndexError) as error:
        raise CertificateError(f"tls.certificate: {path} is no certificate in PEM form.") from error
