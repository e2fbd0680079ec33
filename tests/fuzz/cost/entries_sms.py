"""Entry points of SMPP and SMS: frames, PDUs, sessions, receipts, texts, parts, numbers, senders."""

import struct
from contextlib import suppress
from itertools import count

from gateway.ingress import smpp_submit
from policy import acceptable_use, phone, sender_name
from policy.data import shipped_countries
from smpp import concatenation, receipt, text
from smpp.constants import CommandId, Tag
from smpp.events import RequestReceived
from smpp.operations import BindTransceiver, BindTransceiverResp, DeliverSm, SubmitSm
from smpp.pdu import PduError, Splitter, decode, encode, response_class
from smpp.session import Role, Session, SessionConfig
from tests.fuzz.cost.entries_mail import refusing, text_of
from tests.fuzz.cost.entry import KIB, Entry

_PDU_KIB = 68
_PDU_OCTETS = 70_000 - 16
_TLV = (
    b"\0\0\0\0", b"\0\1\0\0", b"\x04\x24\0\1x", b"\x02\x0c\0\2\0\1", b"\0\x1e\0\4id1\0", b"\x04\x27\0\1\2",
    b"\0", b"\1", b"\xff", b"\x04\x24\xff\xff",
)  # fmt: skip
_EMPTY_SM = b"\0" * 17
"""The mandatory fields of submit_sm and deliver_sm, all empty (SMPP v3.4 section 4.4.1)."""


def _frame(command: int, body: bytes, sequence_number: int = 1) -> bytes:
    return struct.pack(">IIII", 16 + len(body), command, 0, sequence_number) + body


def _pdu(command: CommandId, before: bytes = b"") -> Entry:
    def run(octets: bytes) -> None:
        pdu = decode(_frame(command, octets[:_PDU_OCTETS]))
        encode(pdu)
        if isinstance(pdu, SubmitSm):
            smpp_submit.submission_of(pdu, "a", now_ms=1_700_000_000_000, default_country="CH")
        if isinstance(pdu, DeliverSm):
            receipt.told(pdu)
            concatenation.user_data(pdu)

    return Entry(
        name=f"SMPP {command.name.lower()}",
        run=refusing(run, PduError),
        tokens=(*_TLV, b"41791234567\0", b"\x01\x01a"),
        before=before,
        reach_octets=_PDU_OCTETS,
    )


def _split(octets: bytes) -> None:
    """A stream in pieces as a network may cut it, finely at its start."""
    splitter = Splitter()
    for piece in (*(octets[at : at + 1] for at in range(64)), *_pieces(octets[64:], 1400)):
        for frame in splitter.feed(piece):
            len(frame)


def _pieces(octets: bytes, size: int) -> list[bytes]:
    return [octets[at : at + size] for at in range(0, len(octets), size)]


def _session(role: Role) -> Entry:
    def run(octets: bytes) -> None:
        session = Session(role, SessionConfig(window=100), 0.0)
        bind = BindTransceiver(1, system_id="esme")
        if role is Role.ESME:
            session.send(bind, 0.0)
            session.receive_data(encode(BindTransceiverResp(1)), 0.0)
        else:
            session.receive_data(encode(bind), 0.0)
            session.respond(BindTransceiverResp(1), 0.0)
        for piece in _pieces(octets, 16 * KIB):
            for event in session.receive_data(piece, 0.0):
                if isinstance(event, RequestReceived):
                    answer = response_class(event.request.command_id)
                    if answer is not None:
                        session.respond(answer(event.request.sequence_number), 0.0)
            session.data_to_send()
            session.next_timer()
        session.connection_lost()

    numbers = count(2)
    submit = _frame(CommandId.SUBMIT_SM, _EMPTY_SM, next(numbers))
    return Entry(
        name=f"SMPP session, we the {role.name}",
        run=run,
        tokens=(
            submit, _frame(CommandId.ENQUIRE_LINK, b"", next(numbers)), _frame(0x10, b"", next(numbers)),
            _frame(CommandId.DELIVER_SM, _EMPTY_SM, next(numbers)), _frame(CommandId.GENERIC_NACK, b"", 99),
            _frame(CommandId.SUBMIT_SM_RESP, b"id\0", 77), _frame(CommandId.SUBMIT_SM, b"", next(numbers)),
            _frame(CommandId.BIND_TRANSCEIVER, b"a\0b\0\0\x34\0\0\0", next(numbers)), b"\0", b"\xff",
            b"\0\0\0\x10", _frame(CommandId.UNBIND_RESP, b"", 55),
        ),
        reach_octets=256 * KIB,
        call_ms=50,  # 16 KiB at a time: smpp.* lets the others have their turn in between
    )  # fmt: skip


def _receipt(octets: bytes) -> None:
    for coding in (0, 8):
        pdu = DeliverSm(esm_class=0x04, data_coding=coding, short_message=octets)
        found = receipt.parse(pdu)
        receipt.told(pdu)
        if found is not None:
            receipt.normalise(found.message_id)
            for form in receipt.IdForm:
                receipt.keys(found.message_id, form)


def _receipt_id(octets: bytes) -> None:
    pdu = DeliverSm(esm_class=0x04, tlvs=((int(Tag.RECEIPTED_MESSAGE_ID), octets),))
    told = receipt.told(pdu)
    for form in receipt.IdForm:
        receipt.keys(told.message_id if told else "", form)


def _segments(octets: bytes) -> None:
    written = octets.decode("utf-8", "replace")
    for alphabet in text.Alphabet:
        for call in (text.segments, text.split):
            with suppress(text.TextError):
                call(written, alphabet=alphabet)


def _decoded(octets: bytes) -> None:
    for coding in range(16):
        text.decode(octets, coding)
    text.decode(octets, 0, udhi=True)


def _parts(octets: bytes) -> None:
    collector = concatenation.Reassembler()
    for payload in _pieces(octets, 140):
        found = concatenation.parse_user_data(payload)
        if found.concatenation is not None:
            collector.add(("a",), found.concatenation, found.octets, 0.0)
    collector.expire(1e9)


def _number(octets: bytes) -> None:
    for country in ("", "CH", "US", "AR", "IT"):
        phone.parse.__wrapped__(text_of(octets), country)  # past the cache: it would answer the second run


def _sender(octets: bytes) -> None:
    sender_name.decide(text_of(octets), "CH", table=_COUNTRIES, approved=frozenset({"ACME"}))


_COUNTRIES = shipped_countries()
_NUMBER = (
    b"+", b"0", b"00", b"41", b"79", b"1", b"9", b" ", b"-", b"(", b")", b".", b"/", b"\xc2\xa0", b"x", b";",
    b"+41791234567", "٤".encode(), "＋".encode(), b"\n", b"#", b"~", b"ext", b"tel:", b";phone-context=",
)  # fmt: skip
_SMS = (
    b"a", b"@", "€".encode(), b"[", "é".encode(), "e\u0301".encode(), "\u0301".encode(), "✓".encode(),
    "😀".encode(), b"\n", b"\x1b", "\u1100\u1161\u11a8".encode(), "\u0f71\u0f72".encode(), b"\0",
    "\u0327\u0301".encode(), "\u0f73".encode(), "\u0f73\u0301".encode(), "ﷺ".encode(),
)  # fmt: skip
_SENSITIVE = (
    b"4", b"4 ", b"4-", b"4111", b"4111 ", b"4111111111111111 ", b"41111111111111111111 ", b"CH", b"CH93",
    b"CH93 ", b"A", b"A1", b"AA99", b"AA 99", b"a", b" ", b"-", b"9", b"CH9300762011623852957", b".",
    "é".encode(), b"4111.4111", b"AA99AA99A", b"3", b"0",
)  # fmt: skip

ENTRIES = (
    Entry(
        name="SMPP frames",
        run=refusing(_split, PduError),
        tokens=(_frame(CommandId.ENQUIRE_LINK, b""), b"\0", b"\0\0\0\x10", b"\xff",
                b"\0\0\0\x11" + b"\0" * 13),
        reach_octets=256 * KIB,
        call_ms=50,
    ),
    _pdu(CommandId.SUBMIT_SM, _EMPTY_SM),
    _pdu(CommandId.DELIVER_SM, _EMPTY_SM[:8] + b"\x04" + _EMPTY_SM[9:]),
    _pdu(CommandId.DATA_SM, b"\0" * 10),
    *(_pdu(command) for command in (CommandId.SUBMIT_SM_RESP, CommandId.BIND_TRANSCEIVER,
                                    CommandId.SUBMIT_MULTI, CommandId.QUERY_SM, CommandId.GENERIC_NACK)),
    _session(Role.SMSC),
    _session(Role.ESME),
    Entry(
        name="receipt",
        run=_receipt,
        tokens=(
            b"id:", b"1", b"a", b" ", b"sub:", b"stat:", b"err:", b"text:", b"submit date:", b"submit",
            b"submit ", b"done_date:2601011200 ", b":", b"\0", b"\xff", b"id:1 ", b"stat:DELIVRD ", b"0",
            b"i", b"done", b",;",
        ),
        before=b"id:1 ",
        after=b" stat:DELIVRD err:000 text:",
        reach_octets=_PDU_OCTETS,
        call_ms=10,  # four readings of it
    ),
    Entry(
        name="receipted_message_id",
        run=_receipt_id,
        tokens=(b"1", b"f", b"0", b" ", b"\0", b"a", b"g", b"\xb2"),
        reach_octets=65_535,
    ),
    Entry(
        name="SMS segments",
        run=_segments,
        tokens=_SMS,
        reach_octets=160 * KIB,  # 40,000 characters, which is what the API lets through
        call_ms=50,  # six cuts of it
    ),
    Entry(
        name="SMS decoded",
        run=_decoded,
        tokens=(b"a", b"\x1b", b"\x1b\x1b", b"\x1be", b"\0", b"\xff", b"\xd8\0", b"\x1b$B", b"\x1b(J",
                b"\x0e",
                b"\x05\0\3\1\2\1", b"\x8e", b"\x81"),
        reach_octets=_PDU_OCTETS,
        call_ms=60,  # seventeen readings of it
        memory_multiple=64,
    ),
    Entry(
        name="user data headers",
        run=_parts,
        tokens=(b"\x05\0\3\1\2\1", b"\0", b"\xff", b"\x8b", b"\0\0", b"\x08\4\0\1\2\1", b"\x8b\0\3\1\2\1"),
        reach_octets=_PDU_OCTETS,
    ),
    Entry(
        name="phone number",
        run=_number,
        tokens=_NUMBER,
        nested=((b"(", b")"),),
        before=b"+41",
        reach_octets=1024 * KIB,
        call_ms=10,  # five readings of it
    ),
    Entry(name="phone number, national", run=_number, tokens=_NUMBER, before=b"0", reach_octets=64 * KIB),
    Entry(
        name="SMPP address",
        run=lambda octets: smpp_submit._destination(0, text_of(octets), "CH"),
        tokens=_NUMBER,
        reach_octets=20,
    ),
    Entry(
        name="SMPP time",
        run=refusing(lambda octets: smpp_submit.parse_time(text_of(octets), 0), ValueError),
        tokens=(b"0", b"9", b"R", b"+", b"-", b"99"),
        reach_octets=16 * KIB,
    ),
    Entry(
        name="sender of an SMS",
        run=_sender,
        tokens=(b"A", b"1", b"+", b" ", b".", "é".encode(), b"\0", b"+41"),
        before=b"A",
        reach_octets=1024 * KIB,
        call_ms=20,
    ),
    Entry(
        name="card numbers",
        run=lambda octets: acceptable_use.has_card_number(octets.decode("utf-8", "replace")),
        tokens=_SENSITIVE,
        before=b"4111111111111 ",
        reach_octets=256 * KIB,  # more of a mail is not judged
        call_ms=10,
    ),
    Entry(
        name="IBANs",
        run=lambda octets: acceptable_use.has_iban(octets.decode("utf-8", "replace")),
        tokens=_SENSITIVE,
        before=b"AA99 ",
        reach_octets=256 * KIB,  # more of a mail is not judged
        call_ms=10,
    ),
)  # fmt: skip
