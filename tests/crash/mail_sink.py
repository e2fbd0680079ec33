"""The mail sink: a server that does at each try what the recipient's address says, and can die and come back.

What it took stays in `Seen`, whoever dies. `answer_s` is how long it thinks before each answer to a mail.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from tests.crash.fates import AFTER_DOT, Word, word
from tests.crash.seen import SENDER, Seen, Senders

_EHLO = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n"
_RCPT = {
    Word.BUSY: b"451 4.2.1 later\r\n",
    Word.CLOSING: b"421 4.3.2 closing\r\n",
    Word.UNKNOWN_USER: b"550 5.1.1 no such user\r\n",
}


class MailSink:
    """Listens on 127.0.0.1, from `start` to `die`; a restart has the same port."""

    def __init__(self, seen: Seen, senders: Senders, *, answer_s: float = 0.0) -> None:
        self.seen = seen
        self.port = 0
        self._senders = senders
        self._answer_s = answer_s
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens; the first time on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def die(self) -> None:
        """Closes everything at once, in the middle of whatever goes on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._sessions):
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def close(self) -> None:
        """The same."""
        await self.die()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        pid = self._senders.pid(writer.get_extra_info("peername")[1], self.port)
        session = _Session(self.seen, pid, reader, writer, self._answer_s)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await session.run()
        finally:
            self._sessions.discard(task)
            writer.transport.abort() if session.broken else writer.close()


class _Session:
    """One connection."""

    def __init__(
        self,
        seen: Seen,
        pid: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer_s: float,
    ) -> None:
        self.broken = True
        self._seen, self._pid = seen, pid
        self._reader, self._writer = reader, writer
        self._answer_s = answer_s
        self._rcpts: list[str] = []
        self._words: dict[str, Word] = {}

    async def run(self) -> None:
        """Until QUIT, or until a word ends it."""
        self._writer.write(b"220 sink.example\r\n")
        while line := await self._reader.readline():
            match line[:4].upper():
                case b"EHLO":
                    self._writer.write(_EHLO)
                case b"MAIL":
                    self._rcpts, self._words = [], {}
                    self._writer.write(b"250 2.1.0 ok\r\n")
                case b"RCPT":
                    if not self._rcpt(line.decode().partition("<")[2].partition(">")[0]):
                        return
                case b"DATA":
                    if not await self._data():
                        return
                case b"QUIT":
                    self.broken = False
                    self._writer.write(b"221 2.0.0 bye\r\n")
                    return
                case _:
                    self._writer.write(b"250 2.0.0 ok\r\n")
        self.broken = False

    def _rcpt(self, address: str) -> bool:
        """Answers RCPT; whether the connection goes on."""
        tries = self._seen.tries
        told = self._words[address] = word(address, tries[address, 0])
        if told not in AFTER_DOT and told is not Word.OK:
            tries[address, 0] += 1
            self._seen.refusals[address] += told is Word.UNKNOWN_USER
            self._writer.write(_RCPT[told])
            self.broken = told is not Word.CLOSING
            return told is not Word.CLOSING
        self._rcpts.append(address)
        self._writer.write(b"250 2.1.5 ok\r\n")
        return True

    async def _data(self) -> bool:
        """Takes the content, and does what the worst word of its recipients says; whether it goes on."""
        if not self._rcpts:
            self._writer.write(b"554 5.5.1 no valid recipients\r\n")
            return True
        self._writer.write(b"354 go\r\n")
        content = await self._reader.readuntil(b"\r\n.\r\n")
        for address in self._rcpts:
            self._seen.tries[address, 0] += 1
        if self._answer_s:
            await asyncio.sleep(self._answer_s)
        after = {self._words[address] for address in self._rcpts} & AFTER_DOT
        match min(after, default=Word.OK, key=lambda one: list(Word).index(one)):
            case Word.OK:
                self._take(content, self._rcpts, answered=True)
                self._writer.write(b"250 2.0.0 taken\r\n")
                return True
            case Word.REFUSED:
                self._seen.refusals.update(self._rcpts)
                self._writer.write(b"554 5.7.1 not this\r\n")
                return True
            case Word.TOOK:
                self._take(content, self._rcpts, answered=False)
            case Word.KEPT:
                self._take(content, self._rcpts, answered=False)
                await self._reader.read()
            case Word.MUTE:
                await self._reader.read()
        return False

    def _take(self, content: bytes, rcpts: Sequence[str], *, answered: bool) -> None:
        for address in rcpts:
            if address.startswith(f"{SENDER}@"):
                self._seen.took_report(content)
            else:
                self._seen.took(address, 0, self._pid, answered=answered)
