"""The session of both roles, joined in memory; time is a number that the tests move."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp.constants import CommandId, CommandStatus
from smpp.events import (
    Closed,
    FaultReceived,
    LateResponse,
    RequestReceived,
    ResponseReceived,
    ResponseTimeout,
)
from smpp.pdu import (
    AlertNotification,
    BindReceiver,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    DataSm,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Outbind,
    Pdu,
    QuerySm,
    Response,
    Splitter,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
    decode,
    encode,
)
from smpp.session import Role, Session, SessionConfig, State, StateError, WindowFull
from tests.smpp.pair import Pair, answer
from tests.smpp.strategies import any_pdu


def sent(session: Session) -> list[Pdu]:
    """What the session has to say, decoded."""
    return [decode(frame) for frame in Splitter().feed(session.data_to_send())]


def raw(command_id: int, body: bytes = b"", sequence_number: int = 42) -> bytes:
    return struct.pack(">IIII", 16 + len(body), command_id, 0, sequence_number) + body


@pytest.mark.parametrize(
    ("bind", "state"),
    [
        (BindTransmitter(), State.BOUND_TX),
        (BindReceiver(), State.BOUND_RX),
        (BindTransceiver(), State.BOUND_TRX),
    ],
)
def test_good_bind_leads_both_sides_to_the_state_of_its_kind(bind: BindTransceiver, state: State) -> None:
    pair = Pair().bind(bind)
    assert pair.esme.state is pair.smsc.state is state


def test_refused_bind_leaves_both_sides_open_for_another_try() -> None:
    pair = Pair()
    pair.esme.send(BindTransceiver(system_id="esme"), 0)
    _, (event,) = pair.exchange()
    pair.smsc.respond(answer(event, CommandStatus.ESME_RINVPASWD), 0)
    (result,), _ = pair.exchange()
    assert isinstance(result, ResponseReceived)
    assert result.response.command_status == CommandStatus.ESME_RINVPASWD
    assert pair.esme.state is pair.smsc.state is State.OPEN
    assert pair.bind().esme.bound


def test_submit_sm_and_its_response_carry_number_and_context() -> None:
    pair = Pair().bind()
    number = pair.esme.send(SubmitSm(destination_addr="1"), 0, context="mine")
    _, (event,) = pair.exchange()
    assert isinstance(event, RequestReceived)
    assert event.request == SubmitSm(number, destination_addr="1")
    pair.smsc.respond(SubmitSmResp(number, 0, "id-1"), 0)
    (result,), _ = pair.exchange()
    assert result == ResponseReceived(SubmitSm(destination_addr="1"), SubmitSmResp(number, 0, "id-1"), "mine")
    assert pair.esme.outstanding == 0


@given(st.permutations(range(10)))
def test_responses_in_any_order_find_their_requests(order: list[int]) -> None:
    pair = Pair(window=10).bind()
    for i in range(10):
        pair.esme.send(SubmitSm(destination_addr=str(i)), 0, context=i)
    _, events = pair.exchange()
    for i in order:
        pair.smsc.respond(answer(events[i], message_id=f"id-{i}"), 0)
    results, _ = pair.exchange()
    assert [(e.context, e.response.message_id) for e in results] == [(i, f"id-{i}") for i in order]  # type: ignore[union-attr]  # all are of that kind


def test_window_full_is_raised_and_an_answer_frees_it() -> None:
    pair = Pair(window=2).bind()
    pair.esme.send(SubmitSm(), 0)
    pair.esme.send(SubmitSm(), 0)
    assert pair.esme.window_free == 0
    with pytest.raises(WindowFull):
        pair.esme.send(SubmitSm(), 0)
    _, events = pair.exchange()
    assert len(events) == 2
    pair.smsc.respond(answer(events[1]), 0)
    pair.exchange()
    pair.esme.send(SubmitSm(), 0)


def test_enquire_link_needs_no_window_and_is_answered_under_a_full_one() -> None:
    pair = Pair(window=1).bind()
    pair.esme.send(SubmitSm(), 0)
    pair.esme.receive_data(encode(EnquireLink(7)), 0)
    assert EnquireLinkResp(7) in sent(pair.esme)
    pair.esme.send(EnquireLink(), 0)


@pytest.mark.parametrize("role", Role)
def test_enquire_link_is_answered_even_before_the_bind(role: Role) -> None:
    session = Session(role, SessionConfig(), 0)
    assert session.receive_data(encode(EnquireLink(7)), 0) == []
    assert sent(session) == [EnquireLinkResp(7)]


def test_sequence_numbers_wrap_to_1_and_skip_those_in_flight() -> None:
    pair = Pair(first_sequence_number=0x7FFFFFFE, window=10).bind()
    assert pair.esme.send(SubmitSm(), 0) == 0x7FFFFFFF
    assert pair.esme.send(SubmitSm(), 0) == 1
    assert pair.esme.send(SubmitSm(), 0) == 2
    pair.esme._sequence_number = 0x7FFFFFFE
    assert pair.esme.send(SubmitSm(), 0) == 3  # 0x7FFFFFFF, 1 and 2 are unanswered


def test_request_that_does_not_encode_takes_no_number_and_no_window() -> None:
    pair = Pair().bind()
    before = pair.esme.send(EnquireLink(), 0)
    with pytest.raises(Exception, match="destination_addr"):
        pair.esme.send(SubmitSm(destination_addr="1" * 21), 0)
    assert pair.esme.outstanding == 0
    assert pair.esme.send(SubmitSm(), 0) == before + 1


def test_unanswered_request_times_out_as_unknown_and_frees_the_window() -> None:
    pair = Pair(response_timeout_s=10, enquire_link_s=0, window=1).bind()
    pair.esme.send(SubmitSm(destination_addr="1"), 5.0, context="mine")
    assert pair.esme.next_timer() == 15.0
    assert pair.esme.handle_timer(14.9) == []
    assert pair.esme.handle_timer(15.0) == [ResponseTimeout(SubmitSm(destination_addr="1"), "mine")]
    assert pair.esme.window_free == 1
    assert pair.esme.bound


def test_answer_after_its_timeout_still_tells_its_request() -> None:
    pair = Pair(response_timeout_s=10).bind()
    number = pair.esme.send(SubmitSm(), 0, context="mine")
    pair.esme.handle_timer(10)
    response = SubmitSmResp(number, 0, "late")
    assert pair.esme.receive_data(encode(response), 11) == [LateResponse(SubmitSm(), response, "mine")]
    assert pair.esme.receive_data(encode(response), 12) == [LateResponse(None, response, None)]


def test_late_requests_are_remembered_within_a_bound() -> None:
    pair = Pair(response_timeout_s=1, window=3000).bind()
    for _ in range(2500):
        pair.esme.send(SubmitSm(), 0)
    assert len(pair.esme.handle_timer(1)) == 2500
    assert len(pair.esme._late) == 1000


def test_response_of_another_kind_answers_nothing() -> None:
    pair = Pair().bind()
    number = pair.esme.send(SubmitSm(), 0)
    (event,) = pair.esme.receive_data(encode(DeliverSmResp(number)), 0)
    assert isinstance(event, LateResponse)
    assert pair.esme.outstanding == 1


def test_generic_nack_answers_the_request_it_names() -> None:
    pair = Pair().bind()
    number = pair.esme.send(SubmitSm(), 0)
    nack = GenericNack(number, CommandStatus.ESME_RINVCMDID)
    assert pair.esme.receive_data(encode(nack), 0) == [ResponseReceived(SubmitSm(), nack, None)]


def test_unknown_command_gets_generic_nack_and_the_link_lives() -> None:
    pair = Pair().bind()
    (event,) = pair.smsc.receive_data(raw(0x00000111, b"x"), 0)
    assert isinstance(event, FaultReceived)
    assert sent(pair.smsc) == [GenericNack(42, CommandStatus.ESME_RINVCMDID)]
    assert pair.smsc.bound


def test_unknown_response_is_never_answered() -> None:
    pair = Pair().bind()
    pair.smsc.receive_data(raw(0x80000111, b"x"), 0)
    assert sent(pair.smsc) == []
    assert pair.smsc.bound


def test_broken_submit_sm_is_refused_by_its_own_response() -> None:
    pair = Pair().bind()
    pair.smsc.receive_data(raw(CommandId.SUBMIT_SM, b"no nul"), 0)
    assert sent(pair.smsc) == [SubmitSmResp(42, CommandStatus.ESME_RINVCMDLEN)]
    assert pair.smsc.bound


def test_wrong_command_length_is_nacked_and_ends_the_session() -> None:
    pair = Pair().bind()
    pair.smsc.receive_data(encode(EnquireLink(1)) + b"\0\0\0\x03" + b"\xff" * 12, 0)
    assert sent(pair.smsc) == [EnquireLinkResp(1), GenericNack(0xFFFFFFFF, CommandStatus.ESME_RINVCMDLEN)]
    assert pair.smsc.finished
    assert pair.smsc.receive_data(encode(EnquireLink(2)), 0) == []
    assert sent(pair.smsc) == []


@pytest.mark.parametrize(
    ("bind", "request_pdu"),
    [(None, SubmitSm(5)), (BindReceiver(), SubmitSm(5)), (BindReceiver(), DataSm(5)), (None, Unbind(5))],
)
def test_request_in_the_wrong_state_gets_esme_rinvbndsts(bind: BindReceiver | None, request_pdu: Pdu) -> None:
    pair = Pair().bind(bind) if bind else Pair()
    assert pair.smsc.receive_data(encode(request_pdu), 0) == []
    (response,) = sent(pair.smsc)
    assert isinstance(response, Response)
    assert (response.sequence_number, response.command_status) == (5, CommandStatus.ESME_RINVBNDSTS)


def test_deliver_sm_to_a_transmitter_gets_esme_rinvbndsts() -> None:
    pair = Pair().bind(BindTransmitter())
    assert pair.esme.receive_data(encode(DeliverSm(5)), 0) == []
    assert sent(pair.esme) == [DeliverSmResp(5, CommandStatus.ESME_RINVBNDSTS)]


def test_request_of_the_wrong_side_gets_esme_rinvcmdid() -> None:
    pair = Pair().bind()
    assert pair.esme.receive_data(encode(SubmitSm(5)), 0) == []
    assert sent(pair.esme) == [SubmitSmResp(5, CommandStatus.ESME_RINVCMDID)]


def test_second_bind_gets_esme_ralybnd() -> None:
    pair = Pair()
    pair.esme.send(BindTransceiver(), 0)
    pair.exchange()
    for _ in range(2):  # while the first is being looked at, and once bound
        pair.smsc.receive_data(encode(BindTransceiver(9)), 0)
        assert sent(pair.smsc) == [BindTransceiverResp(9, CommandStatus.ESME_RALYBND)]
        if not pair.smsc.bound:
            pair.smsc.respond(BindTransceiverResp(1), 0)
            pair.exchange()


@pytest.mark.parametrize(
    ("bind", "request_pdu"),
    [
        (None, SubmitSm()),
        (BindReceiver(), SubmitSm()),
        (BindTransceiver(), DeliverSm()),
        (BindTransceiver(), BindTransceiver()),
        (None, Unbind()),
    ],
)
def test_sending_what_the_state_forbids_raises_state_error(
    bind: BindReceiver | None, request_pdu: Pdu
) -> None:
    pair = Pair().bind(bind) if bind else Pair()
    with pytest.raises(StateError):
        pair.esme.send(request_pdu, 0)


def test_smsc_delivers_to_a_receiver_by_deliver_sm_and_data_sm() -> None:
    pair = Pair().bind(BindReceiver())
    pair.smsc.send(DeliverSm(), 0)
    pair.smsc.send(DataSm(), 0)
    pair.smsc.send(AlertNotification(), 0)
    events, _ = pair.exchange()
    assert [event.request.command_id for event in events] == [  # type: ignore[union-attr]  # all are of that kind
        CommandId.DELIVER_SM,
        CommandId.DATA_SM,
        CommandId.ALERT_NOTIFICATION,
    ]
    pair.esme.respond(answer(events[1]), 0)
    pair.esme.respond(answer(events[0]), 0)
    _, responses = pair.exchange()
    assert len(responses) == 2
    assert pair.smsc.outstanding == 0


def test_outbind_is_told_and_not_answered() -> None:
    pair = Pair()
    pair.smsc.send(Outbind(system_id="smsc"), 0)
    assert pair.exchange() == ([RequestReceived(Outbind(1, "smsc"))], [])


def test_unbind_waits_for_what_is_in_flight() -> None:
    pair = Pair().bind()
    pair.esme.send(SubmitSm(), 0)
    pair.esme.unbind(0)
    _, events = pair.exchange()
    assert len(events) == 1
    assert pair.esme.bound
    with pytest.raises(StateError):
        pair.esme.send(SubmitSm(), 0)
    pair.smsc.respond(answer(events[0], message_id="x"), 0)
    (result,), _ = (pair.exchange()[0][:1], None)
    assert isinstance(result, ResponseReceived)
    assert pair.esme.finished
    assert pair.smsc.finished
    assert pair.esme.connection_lost() == [Closed("unbound", ())]
    assert pair.smsc.connection_lost() == [Closed("unbound by the peer", ())]


def test_unbind_waits_for_what_we_owe_the_peer_and_takes_more_meanwhile() -> None:
    pair = Pair().bind()
    pair.smsc.send(DeliverSm(), 0)
    (first,), _ = pair.exchange()
    pair.esme.unbind(0)
    pair.smsc.send(DeliverSm(), 0)
    (second,), _ = pair.exchange()
    for event in (first, second):
        assert not pair.esme.finished
        pair.esme.respond(answer(event), 0)
        pair.exchange()
    assert pair.esme.finished
    assert pair.smsc.finished


def test_unbind_gives_up_waiting_at_its_deadline_and_the_rest_is_unknown() -> None:
    pair = Pair(response_timeout_s=100, enquire_link_s=0).bind()
    pair.esme.send(SubmitSm(), 0, context="mine")
    pair.esme.unbind(0, drain_s=5)
    assert pair.esme.next_timer() == 5
    assert pair.esme.handle_timer(5) == []
    pair.exchange()
    assert pair.esme.state is State.BOUND_TRX  # the SMSC still owes the response, so it holds unbind_resp
    pair.smsc.handle_timer(10)
    pair.exchange()
    assert pair.esme.connection_lost() == [Closed("unbound", ((SubmitSm(), "mine"),))]


def test_peers_unbind_is_answered_after_our_last_response() -> None:
    pair = Pair().bind()
    pair.smsc.receive_data(encode(SubmitSm(5)) + encode(Unbind(6)) + encode(SubmitSm(7)), 0)
    assert sent(pair.smsc) == [SubmitSmResp(7, CommandStatus.ESME_RINVBNDSTS)]
    pair.smsc.respond(SubmitSmResp(5, 0, "x"), 0)
    assert sent(pair.smsc) == [SubmitSmResp(5, 0, "x"), UnbindResp(6)]
    assert pair.smsc.finished
    pair.smsc.respond(SubmitSmResp(5, 0, "x"), 0)  # an answer that comes too late is not sent
    assert sent(pair.smsc) == []


def test_unbind_before_a_bind_just_ends() -> None:
    pair = Pair()
    pair.esme.unbind(0)
    assert pair.esme.finished
    assert sent(pair.esme) == []


def test_idle_link_is_enquired_and_a_dead_one_ends() -> None:
    pair = Pair(enquire_link_s=30, response_timeout_s=10).bind()
    assert pair.esme.next_timer() == 30
    pair.esme.handle_timer(29.9)
    assert sent(pair.esme) == []
    pair.esme.handle_timer(30)
    assert [type(pdu) for pdu in sent(pair.esme)] == [EnquireLink]
    assert pair.esme.next_timer() == 40
    pair.esme.handle_timer(40)
    assert pair.esme.finished
    assert pair.esme.reason == "enquire_link was not answered in time"


def test_octets_of_a_pdu_that_never_ends_are_no_sign_of_life() -> None:
    pair = Pair(enquire_link_s=30, response_timeout_s=10).bind()
    for second in range(1, 30):
        assert pair.smsc.receive_data(b"\0\0\0\x40"[second - 1 : second] or b"\0", second) == []
    assert pair.smsc.next_timer() == 30
    pair.smsc.handle_timer(30)
    assert decode(pair.smsc.data_to_send()).command_id is CommandId.ENQUIRE_LINK
    pair.smsc.handle_timer(40)
    assert pair.smsc.finished


def test_answered_enquire_link_starts_the_timer_again() -> None:
    pair = Pair(enquire_link_s=30).bind()
    pair.esme.handle_timer(30)
    pair.now = 31
    pair.exchange()
    assert pair.esme.next_timer() == 61


def test_link_without_messages_is_unbound_by_the_inactivity_timer() -> None:
    pair = Pair(inactivity_s=60, enquire_link_s=0).bind()
    pair.esme.send(SubmitSm(), 10)
    assert pair.esme.next_timer() == 40
    _, (event,) = pair.exchange()
    pair.now = 20
    pair.smsc.respond(answer(event), 20)
    pair.exchange()
    assert pair.esme.next_timer() == 80
    pair.esme.handle_timer(80)
    pair.exchange()
    assert pair.esme.finished


@pytest.mark.parametrize("role", Role)
def test_no_bind_in_time_ends_the_session(role: Role) -> None:
    session = Session(role, SessionConfig(session_init_s=5), 100.0)
    assert session.next_timer() == 105
    session.handle_timer(105)
    assert (session.finished, session.reason) == (True, "no bind in time")
    assert session.next_timer() is None


def test_unanswered_bind_and_unbind_end_the_session() -> None:
    pair = Pair(response_timeout_s=10)
    pair.esme.send(BindTransceiver(), 0)
    pair.esme.handle_timer(10)
    assert pair.esme.reason == "bind_transceiver was not answered in time"
    pair = Pair(response_timeout_s=10).bind()
    pair.esme.unbind(0)
    pair.esme.handle_timer(10)
    assert pair.esme.reason == "unbind was not answered in time"


def test_lost_connection_tells_every_unanswered_request_once() -> None:
    pair = Pair().bind()
    pair.esme.send(SubmitSm(destination_addr="1"), 0, context=1)
    pair.esme.send(SubmitSm(destination_addr="2"), 0, context=2)
    (closed,) = pair.esme.connection_lost("reset by peer")
    assert isinstance(closed, Closed)
    assert closed.reason == "reset by peer"
    assert [context for _, context in closed.unanswered] == [1, 2]
    assert pair.esme.connection_lost() == []
    assert pair.esme.state is State.CLOSED
    with pytest.raises(StateError):
        pair.esme.send(SubmitSm(), 0)


def test_query_sm_reaches_the_application_like_any_request() -> None:
    pair = Pair().bind(BindTransmitter())
    pair.esme.send(QuerySm(message_id="x"), 0)
    _, (event,) = pair.exchange()
    assert isinstance(event, RequestReceived)


@given(st.binary(max_size=300), st.sampled_from(Role), st.booleans(), st.integers(1, 40))
def test_any_octets_never_raise(data: bytes, role: Role, bound: bool, piece: int) -> None:
    pair = Pair().bind() if bound else Pair()
    session = pair.esme if role is Role.ESME else pair.smsc
    for start in range(0, len(data), piece):
        session.receive_data(data[start : start + piece], 1.0)
    session.handle_timer(1e9)
    session.data_to_send()


@given(st.lists(any_pdu(), max_size=15), st.sampled_from(Role))
def test_any_pdus_in_any_order_never_raise_and_every_request_is_answered_or_told(
    pdus: list[Pdu], role: Role
) -> None:
    pair = Pair().bind()
    session = pair.esme if role is Role.ESME else pair.smsc
    for pdu in pdus:
        if session.finished:
            break
        events = session.receive_data(encode(pdu), 1.0)
        answers = sent(session)
        if not isinstance(pdu, Response | Outbind | AlertNotification) and not session._peer_unbind:
            assert len(events) + len(answers) >= 1


def test_a_flood_of_broken_pdus_leaves_nothing_to_the_garbage_collector() -> None:
    session = Session(Role.SMSC, SessionConfig(), 0.0)
    broken = struct.pack(">IIII", 16, CommandId.SUBMIT_SM, 0, 7)
    for event in session.receive_data(broken * 10, 0.0):
        assert isinstance(event, FaultReceived)
        error = event.error
        assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)
        assert (error.command_id, error.sequence_number) == (CommandId.SUBMIT_SM, 7)
