"""From a client's submit_sm to a submission of the road; here we are the SMSC. Pure.

Texts are decoded (data_coding 0, 1, 3, 8; section 5.2.19), so that policy, price and the upstream's own
alphabet apply to them. What carries a user data header, and data in any other coding, passes as it is: one
segment each, and nobody but the handset reads it. SAR TLVs become a user data header with an 8-bit reference.
What cannot be taken is a `Refusal` with its command_status; nothing is repaired or cut.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec
import phonenumbers

from gateway.messages.model import SmsEnvelope, Source
from gateway.messages.receipts.client import INGRESS, ClientEnvelope
from gateway.messages.shape.sms import SmsSubmission
from policy import phone
from policy.verdict import Reason
from smpp import text as sms_text
from smpp.concatenation import header, parse_user_data, user_data
from smpp.constants import CommandStatus, EsmClass, RegisteredDelivery, Ton
from smpp.pdu import SubmitSm
from smpp.text import Alphabet

INSUFFICIENT_CREDITS: Final = 0x0402
"""A vendor's own status (section 5.1.3 leaves 0x400 to 0x4FF to the SMSC): the balance does not cover it."""
ESME_RINVDCS: Final = 0x0104
"""data_coding cannot be read as such: SMPP v5.0 section 4.7.6; v3.4 has no word for it."""
SCHEDULE_MAX_MS: Final = 30 * 86_400_000

_STATUSES: Final[Mapping[str, int]] = {
    Reason.INSUFFICIENT_CREDITS: INSUFFICIENT_CREDITS,
    Reason.SENDER_NAME: CommandStatus.ESME_RINVSRCADR,
    Reason.BAD_NUMBER: CommandStatus.ESME_RINVDSTADR,
    Reason.NO_ROUTE: CommandStatus.ESME_RINVDSTADR,
    Reason.NO_RECIPIENTS: CommandStatus.ESME_RINVDSTADR,
    Reason.EMPTY_TEXT: CommandStatus.ESME_RINVMSGLEN,
    Reason.BAD_TEXT: CommandStatus.ESME_RINVMSGLEN,
    Reason.TOO_LONG: CommandStatus.ESME_RINVMSGLEN,
}
_CODECS: Final = {0x01: "ascii", 0x03: "latin-1", 0x08: "utf-16-be"}
_READABLE: Final = frozenset({0, *_CODECS})
_MAX_OCTETS: Final = 140  # one SMS, 3GPP TS 23.040 section 9.2.3.24
_MAX_SEPTETS: Final = 160
_TIME: Final = re.compile(
    r"([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9])([0-9]{2})([-+R])"
)
_DIGITS: Final = re.compile(r"[0-9]+\Z")
_LONGEST_SHORT_CODE: Final = 8
# Plain integers: an IntFlag takes a microsecond to mask one.
_TYPE_MASK: Final = int(EsmClass.TYPE_MASK)
_RECEIPT_MASK: Final = int(RegisteredDelivery.RECEIPT_MASK)


class Refusal(msgspec.Struct, frozen=True):
    """Why a submit_sm is not taken: the command_status for the client, a word for the metrics."""

    status: int
    reason: str


class _Content(msgspec.Struct, frozen=True):
    text: str = ""
    user_data: bytes | None = None
    udhi: bool = False


def status_of(reason: str) -> int:
    """The command_status for a reason of the road's; what policy refuses is ESME_RSUBMITFAIL."""
    return _STATUSES.get(reason, CommandStatus.ESME_RSUBMITFAIL)


def submission_of(
    pdu: SubmitSm,
    account_id: str,
    *,
    now_ms: int,
    default_country: str = "",
    alphabet: Alphabet = Alphabet.GSM,
) -> SmsSubmission | Refusal:
    """The submission, or the refusal. `alphabet` is what data_coding 0 stands for here."""
    refusal = _check(pdu)
    if refusal is not None:
        return refusal
    content = _content(pdu, alphabet)
    if isinstance(content, Refusal):
        return content
    try:
        send_at_ms = _send_at_ms(pdu.schedule_delivery_time, now_ms)
    except ValueError:
        return Refusal(CommandStatus.ESME_RINVSCHED, "bad_schedule")
    try:
        validity_s = _validity_s(pdu.validity_period, now_ms, send_at_ms or now_ms)
    except ValueError:
        return Refusal(CommandStatus.ESME_RINVEXPIRY, "bad_validity")
    return SmsSubmission(
        account_id=account_id,
        ingress=INGRESS,
        source=_source(pdu.source_addr_ton, pdu.source_addr),
        recipients=(_destination(pdu.dest_addr_ton, pdu.destination_addr, default_country),),
        text=content.text,
        user_data=content.user_data,
        data_coding=pdu.data_coding,
        udhi=content.udhi,
        validity_s=validity_s,
        send_at_ms=send_at_ms,
    )


def client_envelope(envelope: SmsEnvelope, pdu: SubmitSm, system_id: str) -> ClientEnvelope:
    """The envelope with what the client's receipt has to repeat."""
    wanted = pdu.registered_delivery & _RECEIPT_MASK
    return ClientEnvelope(
        requested_source=envelope.requested_source,
        data_coding=envelope.data_coding,
        udhi=envelope.udhi,
        segments=envelope.segments,
        validity_s=envelope.validity_s,
        sources=envelope.sources,
        source=envelope.source,
        client=system_id if wanted else None,
        client_ton=pdu.source_addr_ton,
        client_npi=pdu.source_addr_npi,
        client_source=pdu.source_addr,
        client_destination=Source(address=pdu.destination_addr, ton=pdu.dest_addr_ton, npi=pdu.dest_addr_npi),
        service_type=pdu.service_type,
        failure_only=wanted == RegisteredDelivery.FAILURE,
    )


def _check(pdu: SubmitSm) -> Refusal | None:
    """What we cannot do is refused rather than ignored."""
    if pdu.esm_class & _TYPE_MASK:  # section 5.2.12: a message type we do not carry
        return Refusal(CommandStatus.ESME_RINVESMCLASS, "bad_esm_class")
    if pdu.replace_if_present_flag:
        return Refusal(CommandStatus.ESME_RINVSUBREP, "replace_if_present")
    if pdu.sm_default_msg_id:
        return Refusal(CommandStatus.ESME_RINVDFTMSGID, "predefined_message")
    return None


# --- the message ------------------------------------------------------------------------------------------


def _content(pdu: SubmitSm, alphabet: Alphabet) -> _Content | Refusal:
    octets = pdu.payload
    if not pdu.tlvs and not pdu.udhi and pdu.data_coding in _READABLE:  # the usual message
        return _text(octets, pdu.data_coding, alphabet)
    if pdu.udhi:
        head = octets[0] + 1 if octets else 0
        if not 1 < head < len(octets) or parse_user_data(octets).octets is octets:
            return Refusal(CommandStatus.ESME_RINVESMCLASS, "bad_user_data_header")
        return _raw(octets, pdu.data_coding, head, udhi=True)
    part = user_data(pdu).concatenation
    if part is not None and part.total > 1:  # sections 5.3.2.22 to 5.3.2.24
        head_octets = header(part)
        return _raw(head_octets + octets, pdu.data_coding, len(head_octets), udhi=True)
    if pdu.data_coding not in _READABLE:
        return _raw(octets, pdu.data_coding, 0, udhi=False)
    return _text(octets, pdu.data_coding, alphabet)


def _raw(octets: bytes, data_coding: int, head: int, *, udhi: bool) -> _Content | Refusal:
    """User data as it is, if it fits one SMS; `head` octets of it are the header."""
    if _septets(data_coding):
        fits = (head * 8 + 6) // 7 + len(octets) - head <= _MAX_SEPTETS
    else:
        fits = len(octets) <= _MAX_OCTETS
    if not fits or len(octets) == head:
        return Refusal(CommandStatus.ESME_RINVMSGLEN, Reason.EMPTY_TEXT if fits else Reason.TOO_LONG)
    return _Content(user_data=octets, udhi=udhi)


def _septets(data_coding: int) -> bool:
    """Whether the SMSC packs these octets into septets (section 5.2.19; 3GPP TS 23.038 section 4)."""
    if data_coding < 0x10:
        return data_coding in {0x00, 0x01, 0x03}
    group = data_coding >> 4
    if group < 0x8:
        return not data_coding & 0x0C
    return group in {0xC, 0xD} or (group == 0xF and not data_coding & 0x04)


def _text(octets: bytes, data_coding: int, alphabet: Alphabet) -> _Content | Refusal:
    """The text, if every octet of it can be read."""
    codec = alphabet.value if data_coding == 0 else _CODECS[data_coding]
    try:
        if codec:
            return _Content(text=octets.decode(codec))
        if octets.isascii():  # septets have no eighth bit
            return _Content(text=sms_text.decode(octets, 0))
    except UnicodeDecodeError:
        pass
    return Refusal(ESME_RINVDCS, "bad_data_coding")


# --- addresses --------------------------------------------------------------------------------------------


def _source(ton: int, address: str) -> str:
    """The sender as the road writes it: a name, a short code, or a number with its plus."""
    if not _DIGITS.match(address):
        return address
    if ton == Ton.INTERNATIONAL or (ton == Ton.UNKNOWN and len(address) > _LONGEST_SHORT_CODE):
        return f"+{address.removeprefix('00')}"
    return address


def _destination(ton: int, address: str, default_country: str) -> str:
    """The recipient: TON 1 adds the plus; a national number is read by `default_country`.

    With TON 0, where most clients leave it, a number is national if it reads so better than as an
    international one.
    """
    if not _DIGITS.match(address) or address.startswith("00") or ton not in {Ton.INTERNATIONAL, Ton.UNKNOWN}:
        return address
    national = ton == Ton.UNKNOWN and default_country and _reads_nationally(address, default_country)
    return address if national else f"+{address}"


@lru_cache(maxsize=4096)
def _reads_nationally(digits: str, country: str) -> bool:
    """Whether digits without a plus are a number of `country`: in an assigned range, or possible at least."""
    if _is_assigned(digits, country):
        return True
    return not _is_assigned(f"+{digits}", None) and isinstance(phone.parse(digits, country), phone.Number)


def _is_assigned(text: str, country: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, country))
    except phonenumbers.NumberParseException:
        return False


# --- times (section 7.1.1) --------------------------------------------------------------------------------


def _send_at_ms(text: str, now_ms: int) -> int | None:
    if not text:
        return None
    at_ms = parse_time(text, now_ms)
    if not now_ms <= at_ms <= now_ms + SCHEDULE_MAX_MS:
        raise ValueError("in the past, or more than 30 days ahead")
    return at_ms if at_ms > now_ms else None


def _validity_s(text: str, now_ms: int, start_ms: int) -> int | None:
    """How long after its start the message is worth delivering; a relative time counts from the start."""
    if not text:
        return None
    validity_ms = parse_time(text, start_ms if text.endswith("R") else now_ms) - start_ms
    if validity_ms < 1000:
        raise ValueError("expired before it starts")
    return validity_ms // 1000


def parse_time(text: str, now_ms: int) -> int:
    """Epoch milliseconds of `YYMMDDhhmmsstnnp`, absolute or relative to `now_ms`. Raises ValueError.

    In a relative time a year has 365 days and a month 30.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not of the form YYMMDDhhmmsstnnp")
    years, months, days, hours, minutes, seconds, tenths, quarters = map(int, match.groups()[:8])
    if match[9] == "R":
        length = timedelta(
            days=365 * years + 30 * months + days, hours=hours, minutes=minutes, seconds=seconds
        )
        return now_ms + int(length.total_seconds()) * 1000
    if quarters > 48:
        raise ValueError("the difference to UTC is over 12 hours")
    local = datetime(2000 + years, months, days, hours, minutes, seconds, tenths * 100_000, tzinfo=UTC)
    ahead = timedelta(minutes=15 * quarters)
    return int((local - ahead if match[9] == "+" else local + ahead).timestamp() * 1000)


def format_time(at_ms: int) -> str:
    """The absolute form, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%y%m%d%H%M%S000+")
