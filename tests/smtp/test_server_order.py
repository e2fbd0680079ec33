"""The order of commands: the table held against RFC 5321, and the real server held against the table."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from smtp.server_connection import Connection
from smtp.server_order import COMMAND_STATES, ORDER, Refusal, State, Step
from smtp.server_session import SubmissionSession
from tests.smtp.submission_support import PLAIN, Running, Wire, running, until

EHLO, MAIL, RCPT = b"EHLO c.example\r\n", b"MAIL FROM:<a@a.example>\r\n", b"RCPT TO:<b@b.example>\r\n"
WAY: dict[State, tuple[bytes, ...]] = {
    State.CONNECTED: (),
    State.GREETED: (EHLO,),
    State.READY: (EHLO,),
    State.MAIL: (EHLO, MAIL),
    State.RCPT: (EHLO, MAIL, RCPT),
    State.CHUNKS: (EHLO, MAIL, RCPT, b"BDAT 2\r\nab"),
}
"""What a client says to come there. Nobody logs in: but for GREETED, the server asks for no login."""
SAID = {
    b"EHLO": EHLO,
    b"HELO": b"HELO c.example\r\n",
    b"STARTTLS": b"STARTTLS\r\n",
    b"AUTH": f"AUTH PLAIN {PLAIN}\r\n".encode(),
    b"MAIL": MAIL,
    b"RCPT": RCPT,
    b"DATA": b"DATA\r\n",
    b"BDAT": b"BDAT 3\r\nx\r\n",
    b"RSET": b"RSET\r\n",
    b"NOOP": b"NOOP\r\n",
    b"HELP": b"HELP\r\n",
    b"VRFY": b"VRFY b@b.example\r\n",
    b"EXPN": b"EXPN list\r\n",
    b"QUIT": b"QUIT\r\n",
}
TAKEN = {b"STARTTLS": 220, b"AUTH": 235, b"DATA": 354, b"HELP": 214, b"VRFY": 252, b"QUIT": 221}
"""Where it is not 250 (section 4.3.2)."""
BROKEN = {
    b"EHLO": b"EHLO\r\n",
    b"HELO": b"HELO\r\n",
    b"STARTTLS": b"STARTTLS x\r\n",
    b"AUTH": b"AUTH\r\n",
    b"MAIL": b"MAIL TO:<a@a.example>\r\n",
    b"RCPT": b"RCPT FROM:<b@b.example>\r\n",
    b"DATA": b"DATA x\r\n",
    b"RSET": b"RSET x\r\n",
    b"QUIT": b"QUIT x\r\n",
}
"""With an argument that does not parse; a broken BDAT closes, since nobody knows what follows."""


@asynccontextmanager
async def standing(state: State, **changes: Any) -> AsyncIterator[tuple[Running, Wire]]:
    """A server and a client whose session is in `state`."""
    settings = {"auth_required": state is State.GREETED, "max_errors": 100} | changes
    async with running(**settings) as server, server.client() as wire:
        assert (await wire.reply())[0] == 220
        for said in WAY[state]:
            assert (await wire.ask(said))[0] == 250
        assert session_of(server).state is state
        yield server, wire


def connection_of(server: Running) -> Connection:
    (connection,) = server.server._state.connections
    assert isinstance(connection, Connection)
    return connection


def session_of(server: Running) -> SubmissionSession:
    return connection_of(server).session


def promised(step: Step, session: SubmissionSession) -> Step:
    """What the table says; nobody stays GREETED where no login is due."""
    if step is State.GREETED and not session.config.auth_required:
        return State.READY
    return step


# The server against the table


@pytest.mark.parametrize("command", ORDER, ids=bytes.decode)
@pytest.mark.parametrize("state", COMMAND_STATES, ids=lambda state: state.value)
async def test_each_command_in_each_state_does_what_the_table_says(state: State, command: bytes) -> None:
    async with standing(state) as (server, wire):
        session = session_of(server)
        step = promised(ORDER[command][state], session)
        code, text = await wire.ask(SAID[command])
        if isinstance(step, Refusal):
            assert (code, text) == (step.reply.code, f"{step.reply.enhanced} {step.reply.text}")
            assert session.state is state
            assert (await wire.ask(b"NOOP\r\n"))[0] == 250
            return
        assert code == TAKEN.get(command, 250)
        if step is State.CLOSING:
            assert await wire.closed()
            return
        if command == b"STARTTLS":
            await wire.start_tls()
        assert (await wire.ask(b"x\r\n.\r\n" if step is State.DATA else b"NOOP\r\n"))[0] == 250
        assert session.state is (State.READY if step is State.DATA else step)


@pytest.mark.parametrize("command", BROKEN, ids=bytes.decode)
@pytest.mark.parametrize("state", COMMAND_STATES, ids=lambda state: state.value)
async def test_a_broken_argument_leaves_the_state_as_it_is(state: State, command: bytes) -> None:
    """Section 4.1.4: a 501 failure reply, and the server stays in the same state."""
    async with standing(state) as (server, wire):
        step = ORDER[command][state]
        code, _ = await wire.ask(BROKEN[command])
        assert code == (step.reply.code if isinstance(step, Refusal) and not _argument_first(step) else 501)
        assert session_of(server).state is state


def _argument_first(refusal: Refusal) -> bool:
    """DATA between chunks looks at its argument first; AUTH at the facts, and then at the table."""
    return refusal is ORDER[b"DATA"][State.CHUNKS]


@pytest.mark.parametrize("state", [State.RCPT, State.CHUNKS], ids=lambda state: state.value)
async def test_the_last_chunk_leads_back_to_ready(state: State) -> None:
    async with standing(state) as (server, wire):
        assert await wire.ask(b"BDAT 3 LAST\r\nc\r\n") == (250, "2.0.0 Queued")
        assert session_of(server).state is State.READY


async def test_a_refused_message_leads_back_to_ready() -> None:
    async with standing(State.RCPT, size_limit_octets=3) as (server, wire):
        assert (await wire.ask(b"DATA\r\n"))[0] == 354
        assert session_of(server).state is State.DATA
        assert (await wire.ask(b"too long\r\n.\r\n"))[0] == 552
        assert session_of(server).state is State.READY


async def test_where_a_login_is_due_tls_is_asked_for_first_if_passwords_may_not_travel() -> None:
    async with standing(State.GREETED, allow_plain_auth_on_loopback=False) as (_server, wire):
        for command in (b"MAIL", b"RCPT", b"DATA", b"BDAT"):
            assert await wire.ask(SAID[command]) == (530, "5.7.0 Must issue a STARTTLS command first")


async def test_who_has_logged_in_is_ready_after_a_new_ehlo() -> None:
    async with running() as server, server.logged_in() as wire:
        assert (await wire.ask(EHLO))[0] == 250
        assert session_of(server).state is State.READY


async def test_a_session_that_has_ended_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with running() as server:
            async with server.logged_in() as wire:
                await wire.open_data()
                assert (await wire.ask(b"x\r\n.\r\n"))[0] == 250
                left = weakref.ref(connection_of(server))
                assert (await wire.ask(b"QUIT\r\n"))[0] == 221
            await until(lambda: server.server.connection_count == 0)
            await until(lambda: left() is None)
    finally:
        gc.enable()


# The table against RFC 5321


def refused(command: bytes) -> set[State]:
    return {state for state, step in ORDER[command].items() if isinstance(step, Refusal)}


def test_every_state_has_a_word_for_every_command() -> None:
    assert {frozenset(row) for row in ORDER.values()} == {frozenset(COMMAND_STATES)}
    assert set(SAID) == set(ORDER)
    assert set(WAY) == set(COMMAND_STATES)


def test_commands_out_of_order_are_503_and_those_before_a_login_530() -> None:
    for command, row in ORDER.items():
        for state, step in row.items():
            if isinstance(step, Refusal):
                login_due = state is State.GREETED and command != b"EXPN"
                assert step.reply.code == (502 if command == b"EXPN" else 530 if login_due else 503)


def test_what_may_be_said_at_any_time() -> None:
    """Section 4.1.4: NOOP, HELP, EXPN, VRFY and RSET, without an EHLO too; and QUIT (section 4.1.1.10)."""
    for command in (b"NOOP", b"HELP", b"VRFY", b"RSET", b"QUIT", b"EHLO", b"HELO"):
        assert refused(command) == set()
    for command in (b"NOOP", b"HELP", b"VRFY"):
        assert all(step is state for state, step in ORDER[command].items())
    assert {step.reply.code for step in ORDER[b"EXPN"].values() if isinstance(step, Refusal)} == {502}


def test_a_transaction_begins_with_mail_goes_on_with_rcpt_and_has_one_body() -> None:
    """Sections 3.3 and 4.1.4: MAIL, then RCPT one or more times, then DATA; and no MAIL within."""
    every = set(COMMAND_STATES)
    assert every - refused(b"MAIL") == {State.READY}
    assert every - refused(b"RCPT") == {State.MAIL, State.RCPT}
    assert every - refused(b"DATA") == {State.RCPT}
    assert every - refused(b"BDAT") == {State.RCPT, State.CHUNKS}  # RFC 3030 section 2


def test_ehlo_and_rset_end_a_transaction() -> None:
    """Section 4.1.4: a later EHLO clears all buffers "exactly as if a RSET command had been issued"."""
    for state in (State.MAIL, State.RCPT, State.CHUNKS):
        assert ORDER[b"RSET"][state] is State.READY
        assert {ORDER[b"EHLO"][state], ORDER[b"HELO"][state]} == {State.GREETED}
    for state in (State.CONNECTED, State.GREETED, State.READY):
        assert ORDER[b"RSET"][state] is state


def test_starttls_begins_anew_and_auth_needs_ehlo_and_no_transaction() -> None:
    """RFC 3207 section 4.2, RFC 4954 section 4."""
    assert set(ORDER[b"STARTTLS"].values()) == {State.CONNECTED}
    assert set(COMMAND_STATES) - refused(b"AUTH") == {State.GREETED, State.READY}
