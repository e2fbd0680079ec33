"""Clients bind over real sockets: our own ESME, smpplib, and bare clients that misbehave."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import smpplib.client
import smpplib.consts
import smpplib.gsm

from bench.ports import free_port
from config.schema import Settings
from smpp.constants import CommandStatus
from smpp.esme import RequestOutcome
from smpp.pdu import (
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    GenericNack,
    SubmitSmResp,
    Unbind,
)
from smpp.states import BindMode
from tests.ingress.smpp_rig import Login, bind, door, numbered_as, submit_sm
from tests.smpp.certificate import self_signed
from tests.smpp.servers import bare_client, soon
from tests.support.fakes import FakeClock

OK = int(CommandStatus.ESME_ROK)


# --- binds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_class", "response_class"),
    [
        (BindTransmitter, BindTransmitterResp),
        (BindReceiver, BindReceiverResp),
        (BindTransceiver, BindTransceiverResp),
    ],
)
async def test_a_client_binds_in_every_mode(tmp_path: Path, request_class: Any, response_class: Any) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        answer = await client.ask(request_class(1, one.login.system_id, one.login.password))
        assert isinstance(answer, response_class)
        assert (answer.command_status, answer.system_id) == (OK, "gateway")
        assert one.ingress.binds == 1


async def test_a_wrong_password_and_an_unknown_system_id_look_the_same(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        for system_id in (one.login.system_id, "nobody"):
            answer = await client.ask(BindTransceiver(1, system_id, "wrong"))
            assert answer == BindTransceiverResp(1, CommandStatus.ESME_RINVPASWD)
        answer = await client.ask(BindTransceiver(1, "", "wrong"))
        assert answer == BindTransceiverResp(1, CommandStatus.ESME_RINVSYSID)
        assert one.observer.logins == ["credentials", "credentials", "malformed"]


async def test_guessing_is_slowed_even_for_the_right_password(tmp_path: Path) -> None:
    def impatient(settings: Settings) -> Settings:
        return replace(settings, limits=replace(settings.limits, auth_free_failures=1, auth_delay_first_s=5))

    async with door(tmp_path, change=impatient) as one:
        async with bare_client(one.ingress.port) as client:
            for _ in range(2):
                await client.ask(BindTransceiver(1, one.login.system_id, "guess"))
            answer = await client.ask(BindTransceiver(1, one.login.system_id, one.login.password))
            assert answer == BindTransceiverResp(1, CommandStatus.ESME_RBINDFAIL)
        assert isinstance(one.rig.clock, FakeClock)
        one.rig.clock.advance(6)
        async with bare_client(one.ingress.port) as client:
            await bind(client, one.login)


async def test_a_suspended_account_cannot_bind(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await one.accounts.suspend(one.login.account_id, "unpaid")
        answer = await client.ask(BindTransceiver(1, one.login.system_id, one.login.password))
        assert answer == BindTransceiverResp(1, CommandStatus.ESME_RBINDFAIL)


async def test_a_suspension_ends_open_binds_and_refuses_what_they_submit(tmp_path: Path) -> None:  # R40
    async with door(tmp_path) as one, one.client() as client:
        await one.accounts.suspend(one.login.account_id, "unpaid")
        status, _ = await client.send()
        assert status == CommandStatus.ESME_RSUBMITFAIL
        async with asyncio.timeout(5):
            while one.ingress.binds:
                await asyncio.sleep(0.005)
        assert one.upstream.works == []


async def test_a_revoked_credential_ends_a_bind_that_only_listens(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client(mode=BindMode.RX, reconnect_initial_s=60):
        await one.credentials.revoke(one.login.account_id, one.login.credential_id)
        async with asyncio.timeout(5):
            while one.ingress.binds:
                await asyncio.sleep(0.005)


async def test_one_account_cannot_take_all_connections(tmp_path: Path) -> None:
    async with door(tmp_path, max_connections=4) as one, one.client(), one.client():
        async with bare_client(one.ingress.port) as client:
            answer = await client.ask(BindTransceiver(1, one.login.system_id, one.login.password))
            assert answer == BindTransceiverResp(1, CommandStatus.ESME_RBINDFAIL)
        async with one.client(await one.new_login("other")):
            assert one.ingress.binds == 3


async def test_a_place_is_free_again_after_the_bind(tmp_path: Path) -> None:
    async with door(tmp_path, max_connections=2) as one:
        for _ in range(3):
            async with bare_client(one.ingress.port) as client:
                await bind(client, one.login)
                await client.ask(Unbind(2))
                assert await client.receive() is None
        assert one.ingress.binds == 0


async def test_clients_bind_over_tls_on_a_port_of_its_own(tmp_path: Path) -> None:
    server_tls, client_tls = self_signed(tmp_path)
    port = free_port()
    async with (
        door(tmp_path, tls_port=port, tls_context=server_tls) as one,
        one.client(port=port, tls=client_tls) as client,
        one.client() as plain,
    ):
        assert one.ingress.tls_port == port
        _, message_id = await client.send()
        got = await asyncio.wait(
            [asyncio.create_task(each.receipt()) for each in (client, plain)],
            return_when=asyncio.FIRST_COMPLETED,
            timeout=5,
        )
        assert [task.result().message_id for task in got[0]] == [message_id]
        for task in got[1]:
            task.cancel()


async def test_a_taken_tls_port_leaves_nothing_open(tmp_path: Path) -> None:
    server_tls, _ = self_signed(tmp_path)
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        smpp = {"port": port, "tls_port": taken.getsockname()[1]}
        with pytest.raises(OSError, match="in use"):
            async with door(tmp_path, tls_context=server_tls, **smpp):
                pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


# --- garbage, and a client that is not ours -----------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x04" * 8, b"\xff" * 64])
async def test_garbage_harms_nobody_else(tmp_path: Path, garbage: bytes) -> None:
    async with door(tmp_path) as one, one.client() as client:
        async with bare_client(one.ingress.port) as broken:
            broken.send(garbage)
            assert isinstance(await broken.receive(), GenericNack)
            assert await broken.receive() is None
        assert (await client.send())[0] == OK


async def test_a_broken_submit_sm_is_answered_and_the_bind_stays(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        client.send(b"\x00\x00\x00\x14\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x02abcd")
        answer = await client.receive()
        assert isinstance(answer, SubmitSmResp)
        assert answer.command_status != OK
        answer = await client.ask(numbered_as(submit_sm(), 3))
        assert isinstance(answer, SubmitSmResp)
        assert answer.command_status == OK


async def test_nothing_can_be_submitted_before_a_bind(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        answer = await client.ask(numbered_as(submit_sm(), 2))
        assert answer == SubmitSmResp(2, CommandStatus.ESME_RINVBNDSTS)


async def test_a_stop_answers_what_is_under_way_and_unbinds(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        submits = [client.esme.submit_nowait(submit_sm()) for _ in range(20)]
        await soon(submits[0])
        await one.ingress.stop(5)
        results = await soon(asyncio.gather(*submits))
        answered = [result for result in results if result.outcome is RequestOutcome.OK]
        stored = await one.rig.store.read(lambda tx: tx.rows("SELECT count(*) FROM message"))
        assert stored == [(len(answered),)]
        assert {result.outcome for result in results} <= {
            RequestOutcome.OK,
            RequestOutcome.NOT_SENT,
            RequestOutcome.UNKNOWN,
        }


def smpplib_dialogue(port: int, login: Login) -> tuple[list[str], list[bytes]]:
    """(message ids, texts of receipts) as smpplib sees them, for one UCS-2 text that smpplib itself cuts."""
    ids: list[str] = []
    texts: list[bytes] = []
    client = smpplib.client.Client("127.0.0.1", port, timeout=5, allow_unknown_opt_params=True)
    client.connect()
    try:
        client.set_message_sent_handler(lambda pdu: ids.append(pdu.message_id.decode()))
        client.set_message_received_handler(lambda pdu: texts.append(pdu.short_message))
        client.bind_transceiver(system_id=login.system_id, password=login.password)
        parts, data_coding, esm_class = smpplib.gsm.make_parts("Grüße aus Łódź! " * 10)
        for part in parts:
            client.send_message(
                source_addr_ton=smpplib.consts.SMPP_TON_ALNUM,
                source_addr="Acme",
                dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
                destination_addr="41791234567",
                short_message=part,
                data_coding=data_coding,
                esm_class=esm_class,
                registered_delivery=True,
            )
        while len(ids) < len(parts) or len(texts) < len(parts):
            client.read_once()
        client.unbind()
    finally:
        client.disconnect()
    return ids, texts


async def test_smpplib_sends_a_long_text_in_parts_and_gets_its_receipts(tmp_path: Path) -> None:  # R70
    async with door(tmp_path) as one:
        ids, texts = await soon(asyncio.to_thread(smpplib_dialogue, one.ingress.port, one.login))
        assert len(ids) == 3
        assert sorted(text.decode().partition(" ")[0] for text in texts) == sorted(f"id:{i}" for i in ids)
        assert all(b"stat:DELIVRD" in text for text in texts)
        assert await one.rig.balance("sms", one.login.account_id) == 97
        await one.until_kept(0)


def test_smpplib_is_told_why_it_cannot_bind(tmp_path: Path) -> None:
    async def run() -> None:
        async with door(tmp_path) as one:
            wrong = replace(one.login, password="wrong")
            with pytest.raises(smpplib.exceptions.PDUError) as raised:
                await asyncio.to_thread(smpplib_dialogue, one.ingress.port, wrong)
            assert raised.value.args[1] == CommandStatus.ESME_RINVPASWD

    asyncio.run(run())
