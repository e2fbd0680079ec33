"""Mail addresses: the strict parser of envelope paths, and the parser of header and API fields.

Envelope paths follow RFC 5321 section 4.1.2 with the extension of RFC 6531 section 3.3. Source routes are
read and dropped (RFC 5321 appendix C). Lengths are octets: 64 for the local part, 255 for the domain, 254 for
the whole address (section 4.5.3.1: a path of 256 with its brackets).

A `Mailbox` holds the local part without quoting and the domain as lower-case A-labels, so that two spellings
of one address compare equal. The local part keeps its case: only the receiving system may fold it (section
2.4).

Raises `AddressError`, whose text says what is wrong. Asks no DNS, does not judge whether a domain exists.
"""

from __future__ import annotations

import ipaddress
import re

import idna
from email_validator import EmailNotValidError, validate_email
from msgspec import Struct

from smtp.codes import Code, Permanent, Reply, Status

MAX_LOCAL_OCTETS = 64  # RFC 5321 section 4.5.3.1.1
MAX_DOMAIN_OCTETS = 255  # section 4.5.3.1.2
MAX_ADDRESS_OCTETS = 254  # section 4.5.3.1.3: 256 for the path, its brackets included
_MAX_TEXT_CHARS = 512  # with every character of the local part quoted; nothing longer is worth a look

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]"  # RFC 5322 section 3.2.3
_UATEXT = r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]|[^\x00-\x9f])"  # RFC 6531 section 3.3
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"  # RFC 5321 section 4.1.2, RFC 1035 section 2.3.4
_U_DOT_ATOM = re.compile(rf"{_UATEXT}++(?:\.{_UATEXT}++)*+")
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
_USUAL = re.compile(
    rf"({_ATEXT}++(?:\.{_ATEXT}++)*+)@((?:{_LABEL}\.)+[A-Za-z][A-Za-z0-9\-]{{0,61}}[A-Za-z0-9])"
)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
# The alternatives begin with different characters and give nothing back: one pass, whatever the input.
_PATH = re.compile(rb'<(?:[^<>"\\]|\\.|"(?:[^"\\]|\\.)*+")*+>', re.DOTALL)
_SOURCE_ROUTE = re.compile(r"@[^:,@]++(?:,@[^:,@]++)*+:")
_QUOTED = re.compile(r'(?:[^"\\]|\\.)*+')
_NAMED = re.compile(
    r"""(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"\ *+|(?P<plain>[^"<>(),:;@\[\]\\]*+))
        <(?P<address>(?:[^<>"]|"(?:[^"\\]|\\.)*+")++)>""",
    re.VERBOSE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # half of a character: it cannot be written in UTF-8


class AddressError(Permanent):
    """An address that breaks the grammar or a limit. `reason` says which, in words for its author."""

    default = Reply(Code.BAD_MAILBOX, Status.RECIPIENT_SYNTAX, "Bad address syntax")

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class NonAsciiAddressError(AddressError):
    """An internationalised address where SMTPUTF8 was not asked for (RFC 6531 section 3.5)."""

    default = Reply(Code.BAD_MAILBOX, Status.NON_ASCII_ADDRESS, "Non-ASCII address needs SMTPUTF8")


class Mailbox(Struct, frozen=True, gc=False):
    """One address: `local` without quoting, `domain` as lower-case A-labels or a literal in brackets."""

    local: str
    domain: str

    def __str__(self) -> str:
        """The address as it stands on the wire, the local part quoted where it must be."""
        if self.local.isalnum() or _U_DOT_ATOM.fullmatch(self.local):
            return f"{self.local}@{self.domain}"
        quoted = self.local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}"@{self.domain}'

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only a server with SMTPUTF8 can take it. The domain never needs it, being A-labels."""
        return not self.local.isascii()

    @property
    def unicode_domain(self) -> str:
        """The domain for human eyes: U-labels where the A-labels are valid IDNA 2008."""
        if "xn--" not in self.domain:
            return self.domain
        try:
            return idna.decode(self.domain)
        except (idna.IDNAError, UnicodeError):
            return self.domain


class NamedMailbox(Struct, frozen=True):
    """An address of a header or API field, with its display name ("" when there is none)."""

    display_name: str
    mailbox: Mailbox


def split_path(argument: bytes) -> tuple[bytes, bytes]:
    """Cut `<path> parameters` into the path with its brackets and the rest without leading blanks."""
    found = _PATH.match(argument)
    if found is None:
        if not argument.startswith(b"<"):
            raise AddressError("the address must stand in angle brackets: <user@example.org>")
        raise AddressError("the closing > of the address is missing")
    rest = argument[found.end() :]
    if rest and not rest.startswith(b" "):
        raise AddressError("unexpected text after the closing > of the address")
    return found[0], rest.strip(b" ")


def parse_path(
    path: bytes, *, smtputf8: bool = False, postmaster_domain: str | None = None
) -> Mailbox | None:
    """The mailbox of `<...>`, or None for the null reverse-path `<>` (RFC 5321 sections 4.1.2 and 4.5.5).

    A bare `<Postmaster>` stands for the one at `postmaster_domain`, where that is given (section 4.1.1.3).
    """
    if path == b"<>":
        return None
    if len(path) < 2 or path[:1] != b"<" or path[-1:] != b">":
        raise AddressError("the address must stand in angle brackets: <user@example.org>")
    try:
        text = path[1:-1].decode("utf-8" if smtputf8 else "ascii")
    except UnicodeDecodeError:
        if smtputf8:
            raise AddressError("the address is not valid UTF-8") from None
        raise NonAsciiAddressError("a non-ASCII address needs SMTPUTF8 on MAIL FROM") from None
    if text.startswith("@"):
        route = _SOURCE_ROUTE.match(text)
        if route is None:
            raise AddressError("the source route is malformed")
        text = text[route.end() :]
    if postmaster_domain is not None and text.lower() == "postmaster":
        return Mailbox(text, parse_domain(postmaster_domain))
    return parse_address(text)


def parse_address(text: str) -> Mailbox:
    """The mailbox of `local@domain`, without brackets or display name. U-labels become A-labels."""
    if len(text) > _MAX_TEXT_CHARS:
        raise AddressError(f"the address is longer than {MAX_ADDRESS_OCTETS} octets")
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        local, domain = usual[1], usual[2].lower()
    else:
        local, domain = _parse_unusual(text)
    local_octets = len(local) if local.isascii() else len(local.encode())
    if local_octets > MAX_LOCAL_OCTETS:
        raise AddressError(f"the local part is longer than {MAX_LOCAL_OCTETS} octets")
    if len(domain) > MAX_DOMAIN_OCTETS:
        raise AddressError(f"the domain is longer than {MAX_DOMAIN_OCTETS} octets")
    if local_octets + 1 + len(domain) > MAX_ADDRESS_OCTETS:
        raise AddressError(f"the address is longer than {MAX_ADDRESS_OCTETS} octets")
    return Mailbox(local, domain)


def parse_domain(text: str) -> str:
    """The domain as lower-case A-labels, or the address literal in its normal form.

    A-labels are taken as they are (some registered names are not valid IDNA 2008); U-labels must convert.
    """
    if len(text) > MAX_DOMAIN_OCTETS:  # IDNA takes its time for each character
        raise AddressError(f"the domain is longer than {MAX_DOMAIN_OCTETS} octets")
    if text.startswith("["):
        return _parse_literal(text)
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise AddressError("the domain is not a valid internationalised name") from None
        if len(text) > MAX_DOMAIN_OCTETS:
            raise AddressError(f"the domain is longer than {MAX_DOMAIN_OCTETS} octets")
    if _DOMAIN.fullmatch(text) is None:
        raise AddressError(_domain_fault(text))
    if text.rpartition(".")[2].isdigit():
        raise AddressError("an IP address as domain must stand in square brackets: user@[192.0.2.1]")
    return text.lower()


def parse_mailbox(text: str) -> NamedMailbox:
    """The mailbox of `Name <local@domain>` or `local@domain`, as it stands in a header or an API field.

    Control characters (CR, LF and NUL above all) are refused. Not for lists: one address each. An
    internationalised local part is checked for unsafe characters and comes back in NFC (RFC 6532 section
    3.1).
    """
    if _CONTROL.search(text):
        raise AddressError("the address holds a control character such as a line break")
    text = text.strip(" ")
    name, address = "", text
    if text.endswith(">"):
        found = _NAMED.fullmatch(text)
        if found is None:
            raise AddressError('the display name must be quoted: "Name, with signs" <user@example.org>')
        name = (found["plain"] or _QUOTED_PAIR.sub(r"\1", found["quoted"] or "")).strip(" ")
        address = found["address"]
    mailbox = parse_address(address)
    if not mailbox.local.isascii():
        mailbox = Mailbox(_checked_international_local(mailbox), mailbox.domain)
    return NamedMailbox(name, mailbox)


def _checked_international_local(mailbox: Mailbox) -> str:
    try:
        valid = validate_email(
            str(Mailbox(mailbox.local, "example.org")),  # its domain has been judged already
            allow_quoted_local=True,
            check_deliverability=False,
        )
    except EmailNotValidError as error:
        raise AddressError(str(error)) from None
    return parse_address(valid.normalized).local


def _parse_unusual(text: str) -> tuple[str, str]:
    """Local part and domain of whatever the pattern of the usual address did not match."""
    if not text:
        raise AddressError("the address is empty")
    if _CONTROL.search(text):
        raise AddressError("the address holds a control character")
    if _SURROGATE.search(text):
        raise AddressError("the address is not valid Unicode text")
    local, at, domain = text.rpartition("@")
    if text.endswith("]"):
        local, at, domain = _split_literal(text)
    if not at:
        raise AddressError("the address needs an @ and a domain: user@example.org")
    if not local:
        raise AddressError("the part before the @ is empty")
    if not domain:
        raise AddressError("the domain after the @ is empty")
    return _parse_local(local), parse_domain(domain)


def _split_literal(text: str) -> tuple[str, str, str]:
    local, _, literal = text.rpartition("@[")
    return local, "@" if local else "", f"[{literal}"


def _parse_local(local: str) -> str:
    if local.startswith('"'):
        if len(local) < 2 or not local.endswith('"') or _QUOTED.fullmatch(local[1:-1]) is None:
            raise AddressError("the quotes of the local part do not match")
        unquoted = _QUOTED_PAIR.sub(r"\1", local[1:-1])
        if not unquoted:
            raise AddressError("the quoted local part is empty")
        return unquoted
    if _U_DOT_ATOM.fullmatch(local) is None:
        if local.startswith(".") or local.endswith(".") or ".." in local:
            raise AddressError("the local part has a dot at its start, at its end, or two in a row")
        raise AddressError("the local part holds a character that must be quoted")
    return local


def _parse_literal(text: str) -> str:
    """RFC 5321 section 4.1.3: [192.0.2.1] or [IPv6:2001:db8::1]; no general literals, none is registered."""
    body = text[1:-1] if text.endswith("]") else ""
    try:
        if body[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(body[5:]).compressed}]"
        return f"[{ipaddress.IPv4Address(body)}]"
    except ValueError:
        raise AddressError("the address literal is neither [192.0.2.1] nor [IPv6:2001:db8::1]") from None


def _domain_fault(text: str) -> str:
    if text.startswith(".") or text.endswith(".") or ".." in text:
        return "the domain has a dot at its start, at its end, or two in a row"
    for label in text.split("."):
        if len(label) > 63:
            return "a label of the domain is longer than 63 octets"
        if label.startswith("-") or label.endswith("-"):
            return "a label of the domain starts or ends with a hyphen"
    return "the domain holds a character other than letters, digits, hyphens and dots"
