"""Targets of `smpp/`: frames and PDUs, sessions in both roles, texts, parts of long messages, receipts."""

# ruff: noqa: PT017 - a refusal that was caught is looked at, too

import struct
import unicodedata
from itertools import chain

from smpp import concatenation, receipt, text
from smpp.constants import CommandId, CommandStatus, Tag
from smpp.events import Closed, Event, RequestReceived
from smpp.operations import (
    BindTransceiver,
    DataSm,
    DeliverSm,
    Pdu,
    QuerySm,
    Response,
    SubmitSm,
    Tlvs,
    Unbind,
)
from smpp.pdu import PduError, Splitter, decode, encode, response_class
from smpp.session import Role, Session, SessionConfig, StateError, WindowFull
from tests.fuzz.octets import Octets

_MAX_PDU_OCTETS = 5_000
_COMMANDS = [*CommandId, 0, 0x80000000, 0xFFFFFFFF, 0x10]
_STATUSES = [0, *(int(status) for status in CommandStatus), 0xFFFFFFFF]

# --- frames and PDUs --------------------------------------------------------------------------------------

BODIES = (
    b"\0", b"\1", b"\x05", b"esme\0", b"secret\0", b"41791234567\0", b"\x04text", b"\0\1\0\1x",
    b"\x04\x24\xff\xff", b"\0\x1e\0\x04id1\0", b"\x04\x27\0\x01\x02", b"\x02\x0c\0\x02\0\1", b"\xff" * 20,
    b"x" * 70,
)  # fmt: skip


def _frame(octets: Octets) -> bytes:
    """A frame whose header is mostly right; its length is sometimes a lie."""
    command, status = octets.choice(_COMMANDS), octets.choice(_STATUSES)
    number = octets.choice([1, 2, 3, 9, 0, 0xFFFFFFFF])
    lie = octets.number(256)
    body = b"".join(octets.choice(BODIES) for _ in range(octets.number(8))) + octets.sized(20)
    length = 16 + len(body)
    if lie > 240:
        length += octets.choice([1, -1, 2, 100, 10_000, -length, 0xFFFFFFFF - length])
    return struct.pack(">IIII", max(0, length), command, status, number) + body


def smpp_pdus(data: bytes) -> None:
    """Any stream is cut into the same frames wherever it is cut; any frame decodes or raises `PduError`."""
    octets = Octets(data)
    cuts = octets.cut()
    stream = b"".join(_frame(octets) for _ in range(octets.number(6))) + octets.sized(40)
    frames = _frames([stream] if stream else [])
    assert _frames(cuts.pieces(stream)) == frames
    for frame in frames[0]:
        try:
            pdu = decode(frame)
        except PduError as error:
            assert error.command_id == int.from_bytes(frame[4:8], "big")
            continue
        if pdu.status:
            continue  # a refusal is written without its body
        try:
            again = encode(pdu)
        except PduError:
            continue  # read with tolerance, and not to be written like that
        assert decode(again) == pdu


def _frames(pieces: list[bytes]) -> tuple[list[bytes], str]:
    splitter, frames = Splitter(_MAX_PDU_OCTETS), []
    try:
        for piece in pieces:
            for frame in splitter.feed(piece):
                frames.append(frame)  # noqa: PERF402 - those before an error count
            assert splitter.buffered <= _MAX_PDU_OCTETS
    except PduError as error:
        assert error.framing
        return frames, str(error)
    return frames, ""


# --- sessions ---------------------------------------------------------------------------------------------

_OURS: list[Pdu] = [
    BindTransceiver(system_id="esme", password="secret"),
    SubmitSm(destination_addr="41791234567", short_message=b"hello"),
    DeliverSm(short_message=b"hello"),
    DataSm(),
    QuerySm(message_id="1"),
    Unbind(),
]
_WINDOW = 3


def smpp_esme(data: bytes) -> None:
    """Any octets from an SMSC to our session towards it."""
    _session(Role.ESME, data)


def smpp_smsc(data: bytes) -> None:
    """Any octets from a client to our session towards it."""
    _session(Role.SMSC, data)


def _session(role: Role, data: bytes) -> None:
    octets = Octets(data)
    steps = octets.raw(24)
    cuts = octets.cut()
    frames = [_frame(octets) for _ in range(octets.number(12))]
    stream = b"".join(frames) + octets.sized(20)
    config = SessionConfig(
        window=_WINDOW, response_timeout_s=5, max_pdu_octets=_MAX_PDU_OCTETS, inactivity_s=50
    )
    session = Session(role, config, 0.0)
    if steps[:1] < b"\xc0":
        _bind(session, role)
    written = bytearray(session.data_to_send())
    now = 0.0
    contexts: set[int] = set()
    settled: list[int] = []
    for turn, piece in enumerate(chain(cuts.pieces(stream), [b""] * 3)):
        step = steps[turn % len(steps)] if steps else 0
        _send(session, step, now, contexts)
        _settle(session.receive_data(piece, now), session, step, now, settled)
        now += [0.0, 0.1, 6.0, 60.0][step >> 6]
        timer = session.next_timer()
        assert timer is None or session.finished is False
        _settle(session.handle_timer(now), session, step, now, settled)
        written += session.data_to_send()
        assert session._splitter.buffered <= _MAX_PDU_OCTETS
        assert session.outstanding <= _WINDOW
        assert len(session._control) <= 3
        assert len(session._late) <= 1000
    (closed,) = session.connection_lost()
    assert isinstance(closed, Closed)
    settled += [context for _, context in closed.unanswered]
    assert sorted(settled) == sorted(contexts), "a request of ours has no outcome, or two"
    splitter = Splitter()
    for frame in splitter.feed(bytes(written)):
        decode(frame)
    assert not splitter.buffered


def _bind(session: Session, role: Role) -> None:
    bind = BindTransceiver(1, system_id="esme")
    answer = response_class(bind.command_id)
    assert answer is not None
    if role is Role.ESME:
        session.send(bind, 0.0)
        session.receive_data(encode(answer(1)), 0.0)
    else:
        session.receive_data(encode(bind), 0.0)
        session.respond(answer(1), 0.0)
    assert session.bound


def _send(session: Session, step: int, now: float, contexts: set[int]) -> None:
    """A request of ours where it is allowed; its context tells whether it got an outcome."""
    pdu = _OURS[step % len(_OURS)]
    if isinstance(pdu, Unbind):
        session.unbind(now)
        return
    tracked = isinstance(pdu, SubmitSm | DeliverSm | DataSm | QuerySm)
    context = len(contexts) + 1
    try:
        session.send(pdu, now, context if tracked else None)
    except (StateError, WindowFull):
        return
    if tracked:
        contexts.add(context)


def _settle(events: list[Event], session: Session, step: int, now: float, settled: list[int]) -> None:
    """Notes the outcomes of our requests, and answers or forgoes those of the peer."""
    for event in events:
        if isinstance(event, RequestReceived):
            answer = response_class(event.request.command_id)
            if answer is None:
                continue
            if step & 8:
                session.forgo()
            else:
                _respond(session, answer, event.request, step, now)
        elif type(event).__name__ in {"ResponseReceived", "ResponseTimeout"}:
            context = getattr(event, "context", None)
            if context is not None:
                settled.append(context)


def _respond(session: Session, answer: type[Response], request: Pdu, step: int, now: float) -> None:
    session.respond(answer(request.sequence_number, _STATUSES[step % len(_STATUSES)]), now)


# --- texts ------------------------------------------------------------------------------------------------


def sms_texts(data: bytes) -> None:
    """Every text that is taken arrives as itself, in as many segments as were said; any octets are a text."""
    octets = Octets(data)
    alphabet, reference_octets = octets.choice(list(text.Alphabet)), 1 + octets.number(2)
    coding, udhi = octets.number(256), bool(octets.number(2))
    times = octets.choice([1, 1, 1, 7, 80])
    raw = octets.rest()
    assert isinstance(text.decode(raw, coding, udhi=udhi, alphabet=alphabet), str)
    for written in (
        raw.decode("utf-8", "replace") * times,
        raw.decode("latin-1") * times,
        raw.decode("utf-16", "surrogatepass") if _is_utf_16(raw) else "",
    ):
        try:
            made = text.split(written, reference=7, reference_octets=reference_octets, alphabet=alphabet)
        except text.TextError:
            continue
        assert made.count == text.segments(written, reference_octets=reference_octets, alphabet=alphabet)
        assert all(len(part) <= (160 if made.data_coding == 0 else 140) for part in made.parts)
        read = "".join(
            text.decode(part, made.data_coding, udhi=made.udhi, alphabet=alphabet) for part in made.parts
        )
        assert read in {written, unicodedata.normalize("NFC", written)}
        _check_reassembly(made)


def _is_utf_16(raw: bytes) -> bool:
    try:
        raw.decode("utf-16", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _check_reassembly(made: text.Segments) -> None:
    if not made.udhi:
        return
    parts = [concatenation.parse_user_data(part) for part in made.parts]
    collector = concatenation.Reassembler()
    for part in reversed(parts):
        assert part.concatenation is not None
        whole = collector.add(("a", "b"), part.concatenation, part.octets, 0.0)
    assert whole == b"".join(part.octets for part in parts)
    assert not len(collector)


def sms_parts(data: bytes) -> None:
    """Any parts of long messages: bounded, and each either completed or given up, never lost."""
    octets = Octets(data)
    collector = concatenation.Reassembler(limit=4, ttl_s=10)
    begun: set[tuple[object, ...]] = set()
    now = 0.0
    while len(octets):
        payload = octets.sized(12)
        pdu = DeliverSm(esm_class=0x40, source_addr=str(octets.number(3)), short_message=payload)
        found = concatenation.user_data(pdu)
        assert found.octets == payload or payload.endswith(found.octets)
        if found.concatenation is not None:
            begun.add((pdu.source_addr, *found.concatenation[:2]))
            collector.add((pdu.source_addr,), found.concatenation, found.octets, now)
        assert len(collector) <= 4
        now += octets.number(4)
        assert len(collector.expire(now)) <= 5
    assert len(collector.expire(now + 100)) <= 4
    assert len(collector) == 0


# --- receipts ---------------------------------------------------------------------------------------------

RECEIPT = (
    b"id:", b"0123456789", b"abcdef", b" sub:", b"001", b" dlvrd:", b" submit date:", b"2601011200",
    b"999999999999", b" done date:", b"20260101120000", b" stat:", b"DELIVRD", b"UNDELIV", b"odd", b" err:",
    b"000", b" text:", b"id:7", b"\0", b" ", b"\xff", "٣".encode(), "²".encode("latin-1"), b"-1", b"1" * 70,
)  # fmt: skip
_TAGS = [Tag.RECEIPTED_MESSAGE_ID, Tag.MESSAGE_STATE, Tag.NETWORK_ERROR_CODE, Tag.MESSAGE_PAYLOAD, 0x1234]


def receipts(data: bytes) -> None:
    """Any deliver_sm is a receipt or none; ids are always keys; what we write we read again."""
    octets = Octets(data)
    esm_class, coding = octets.choice([0x04, 0x20, 0x44, 0x08, 0, 0xFF]), octets.choice([0, 8, 3, 0x18, 0xFF])
    tlvs: Tlvs = tuple((int(octets.choice(_TAGS)), octets.sized(12)) for _ in range(octets.number(4)))
    short_message = octets.words(RECEIPT, most=60)[:254]
    pdu = DeliverSm(esm_class=esm_class, data_coding=coding, short_message=short_message, tlvs=tlvs)
    found = receipt.parse(pdu)
    for message_id in (short_message.decode("latin-1"), found.message_id if found else ""):
        for form in receipt.IdForm:
            receipt.keys(message_id, form)
        assert receipt.normalise(message_id) == receipt.keys(message_id)[0]
    told = receipt.told(pdu)
    assert (told is None) == (found is None)
    if found is None or told is None:
        return
    assert (told.message_id, told.state, told.error) == (found.message_id, found.state, found.error)
    assert told.final == found.final
    answer = receipt.deliver_sm(found, SubmitSm(source_addr="1", destination_addr="2"))
    try:
        frame = encode(answer)
    except PduError:
        return  # an id longer than its field; the gateway writes its own ids
    again = receipt.parse(decode(frame))  # type: ignore[arg-type]  # a deliver_sm was written
    assert again is not None
    assert (again.state or 7) == (found.state or 7)
