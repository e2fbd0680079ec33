"""From an SMS to its submit_sm PDUs, the way one operator wants them.

A long text leaves in parts with a user data header ("udh"), in parts tied by SAR TLVs ("sar"), or whole in
message_payload ("payload"); what an SMPP client gave as user data leaves as it came.
"""

from collections.abc import Sequence
from functools import lru_cache

from config.sections.upstreams import SmppUpstream
from gateway.messages.model import Delivery, Message, SmsEnvelope, Source
from smpp import text as sms_text
from smpp.concatenation import parse_user_data
from smpp.constants import EsmClass, Npi, Tag, Ton
from smpp.pdu import SubmitSm
from smpp.text import Alphabet, Segments

_ALPHABETS = {"gsm": Alphabet.GSM, "latin1": Alphabet.LATIN1}
_NO_SOURCE = Source(address="", ton=0, npi=0)
_Part = tuple[bytes, tuple[tuple[int, bytes], ...]]
"""A short_message and its TLVs."""
_INTERNATIONAL = int(Ton.INTERNATIONAL)
_ISDN = int(Npi.ISDN)
_UDHI = int(EsmClass.UDHI)


class SubmitSmBuilder:
    """Builds the PDUs of one operator; counts the references that tie parts together."""

    def __init__(self, settings: SmppUpstream) -> None:
        self._settings = settings
        self._alphabet = _ALPHABETS[settings.data_coding_default]
        self._service_type = settings.service_type
        self._registered_delivery = 1 if settings.receipts else 0
        self._reference = 0

    def segments(self, text: str) -> int:
        """How many segments `text` becomes. Raises smpp.text.TextError."""
        if self._alphabet is Alphabet.GSM and _one_part(text) is not None:
            return 1
        return sms_text.segments(
            text, reference_octets=self._settings.reference_octets, alphabet=self._alphabet
        )

    def build(self, message: Message, delivery: Delivery, *, now_ms: int) -> list[SubmitSm]:
        """The PDUs for one recipient, in order."""
        envelope = message.envelope
        if not isinstance(envelope, SmsEnvelope):
            raise TypeError("not an SMS")
        source = envelope.sources.get(delivery.address) or envelope.source or _NO_SOURCE
        parts, data_coding, udhi = self._user_data(message.content, envelope)
        service_type, validity = self._service_type, _validity((message.expires_ms - now_ms) // 1000)
        destination = delivery.address.removeprefix("+")
        return [
            SubmitSm(
                service_type=service_type,
                source_addr_ton=source.ton,
                source_addr_npi=source.npi,
                source_addr=source.address,
                dest_addr_ton=_INTERNATIONAL,
                dest_addr_npi=_ISDN,
                destination_addr=destination,
                esm_class=_UDHI if udhi else 0,
                validity_period=validity,
                registered_delivery=self._registered_delivery,
                data_coding=data_coding,
                short_message=short_message,
                tlvs=tlvs,
            )
            for short_message, tlvs in parts
        ]

    def _user_data(self, content: bytes, envelope: SmsEnvelope) -> tuple[Sequence[_Part], int, bool]:
        """The parts, their data_coding, and whether they have a user data header."""
        if envelope.data_coding is not None:
            return [(content, ())], envelope.data_coding, envelope.udhi
        text = content.decode()
        septets = _one_part(text) if self._alphabet is Alphabet.GSM else None
        if septets is not None:
            return [(septets, ())], 0, False
        cut = self._cut(text)
        return self._parts(cut), int(cut.data_coding), cut.udhi and self._settings.long_text == "udh"

    def _cut(self, text: str) -> Segments:
        self._reference = (self._reference + 1) & 0xFFFF
        return sms_text.split(
            text,
            reference=self._reference,
            reference_octets=self._settings.reference_octets,
            alphabet=self._alphabet,
        )

    def _parts(self, cut: Segments) -> list[_Part]:
        if not cut.udhi or self._settings.long_text == "udh":
            return [(part, ()) for part in cut.parts]
        bare = [parse_user_data(part).octets for part in cut.parts]
        if self._settings.long_text == "payload":
            return [(b"".join(bare), ())]
        return [(part, self._sar(number, len(bare))) for number, part in enumerate(bare, 1)]

    def _sar(self, number: int, total: int) -> tuple[tuple[int, bytes], ...]:
        """SMPP v3.4 sections 5.3.2.22 to 5.3.2.24."""
        return (
            (int(Tag.SAR_MSG_REF_NUM), self._reference.to_bytes(2)),
            (int(Tag.SAR_TOTAL_SEGMENTS), bytes((total,))),
            (int(Tag.SAR_SEGMENT_SEQNUM), bytes((number,))),
        )


@lru_cache(maxsize=1024)
def _validity(left_s: int) -> str:
    """The rest of a message's life as a relative time, SMPP v3.4 section 7.1.1.2: YYMMDDhhmmss000R."""
    days, rest = divmod(min(max(left_s, 60), 30 * 86_400), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"0000{days:02d}{hours:02d}{minutes:02d}{seconds:02d}000R"


@lru_cache(maxsize=1024)
def _one_part(text: str) -> bytes | None:
    """The septets of a text that is one part in the GSM alphabet. It is asked for when an SMS is priced, and
    again when it leaves.
    """
    return sms_text.one_part(text)
