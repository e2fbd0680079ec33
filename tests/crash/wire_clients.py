"""Clients of SMTP and SMPP: a session that keeps its connection, and an ESME bound to every daemon."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from smpp.constants import CommandStatus, MessageState
from smpp.esme import Esme, EsmeConfig
from smpp.esme import RequestOutcome as SmppOutcome
from smpp.pdu import DataSm, DeliverSm, SubmitSm
from smpp.receipt import told
from tests.crash.accounts import SENDER_NAME, Account
from tests.crash.daemons import Daemon, Daemons
from tests.crash.seen import SENDER
from tests.crash.tally import Refused, Sent, Tally

_LATER = frozenset({CommandStatus.ESME_RTHROTTLED, CommandStatus.ESME_RSYSERR, CommandStatus.ESME_RMSGQFUL})


class SmtpClient:
    """One application that keeps its connection while it can."""

    def __init__(self, daemons: Daemons, account: Account, domain: str) -> None:
        self._daemons = daemons
        self._account = account
        self._domain = domain
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, sent: Sent) -> str | None:
        """The id of the mail, None without an answer or for 4xx. Raises Refused."""
        try:
            if self._streams is None:
                await self._log_in()
            await self._ask(f"MAIL FROM:<{SENDER}@{self._domain}>")
            notify = "" if sent.reports else " NOTIFY=NEVER"
            for one in sent.wanted:
                await self._ask(f"RCPT TO:<{one.address}>{notify}")
            await self._ask("DATA")
            content = (
                f"From: {SENDER}@{self._domain}\r\nTo: undisclosed:;\r\nSubject: {sent.token}\r\n\r\n"
                f"{sent.token}\r\n."
            )
            return (await self._ask(content)).split()[-1]
        except (OSError, TimeoutError):
            self._close()
            return None
        except Refused:
            self._close()
            raise

    async def _log_in(self) -> None:
        daemon = await self._daemons.any()
        self._streams = await asyncio.open_connection("127.0.0.1", daemon.smtp_port)
        await self._ask("")
        await self._ask("EHLO crash.example")
        login = f"\0{self._account.smtp_user}\0{self._account.smtp_password}"
        await self._ask(f"AUTH PLAIN {base64.b64encode(login.encode()).decode()}")

    async def _ask(self, line: str) -> str:
        """The last line of the reply, 2xx or 3xx. Raises Refused for 5xx, ConnectionError for all else."""
        assert self._streams is not None
        reader, writer = self._streams
        if line:
            writer.write(line.encode() + b"\r\n")
        while True:
            reply = (await asyncio.wait_for(reader.readline(), 10)).decode()
            if reply[3:4] != "-":
                break
        if reply.startswith("5"):
            raise Refused(reply.strip())
        if reply[:1] not in {"2", "3"}:
            raise ConnectionError(reply)
        return reply

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class SmppClient:
    """An ESME bound to every daemon as a transceiver, which notes the receipts it is told."""

    def __init__(self, daemons: Daemons, account: Account, tally: Tally) -> None:
        self._daemons = daemons
        self._tally = tally
        self._links = {
            one.smpp_port: Esme(_config(one, account), on_deliver_many=self._take) for one in daemons.members
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SmppClient"]:
        """Bound, as long as the daemons live."""
        tasks = [asyncio.create_task(link.run()) for link in self._links.values()]
        try:
            yield self
        finally:
            for link in self._links.values():
                await link.unbind_and_close(2)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, sent: Sent) -> str | None:
        """The id of the SMS, None where it may be asked for again. Raises Refused."""
        link = self._links[(await self._daemons.any()).smpp_port]
        result = await link.submit(
            SubmitSm(
                source_addr_ton=5,
                source_addr=SENDER_NAME,
                dest_addr_ton=1,
                dest_addr_npi=1,
                destination_addr=sent.wanted[0].address.removeprefix("+"),
                registered_delivery=1,
                short_message=sent.token.encode(),
            )
        )
        if result.outcome is SmppOutcome.OK:
            return result.message_id
        if result.outcome is SmppOutcome.REFUSED and result.command_status not in _LATER:
            raise Refused(hex(result.command_status))
        await asyncio.sleep(0.05)
        return None

    async def _take(self, pdus: Sequence[DeliverSm | DataSm]) -> Sequence[int]:
        for pdu in pdus:
            receipt = told(pdu)
            if receipt is not None and isinstance(receipt.state, MessageState):
                self._tally.note_receipt(receipt.message_id, receipt.state.name)
        return [0] * len(pdus)


def _config(daemon: Daemon, account: Account) -> EsmeConfig:
    return EsmeConfig(
        host="127.0.0.1",
        port=daemon.smpp_port,
        system_id=account.smpp_system_id,
        password=account.smpp_password,
        reconnect_initial_s=0.1,
        reconnect_max_s=0.3,
        response_timeout_s=5,
    )
