"""One mail transaction, MAIL to the final dot, as the client sees it: commands out, replies in, outcomes at
the end.

Knows neither sockets nor the session around it. With PIPELINING all commands leave in one write (RFC 2920
section 3.1), without it one at a time, and those that have lost their point are not sent. Recipients fail one
by one (RFC 5321 section 3.3); what is left goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from smtp.codes import Reply, Status
from smtp.outcome import Envelope, Outcome, Recipient, Result, Stage, judge
from smtp.reply_parser import ProtocolError


class Phase(Enum):
    """How far the transaction is."""

    COMMANDS = auto()  # RSET, MAIL, RCPT and DATA, until all are answered
    CONTENT = auto()  # 354 came: the content may go out
    FINAL = auto()  # the final dot is out: from here on only a reply tells
    EMPTY = auto()  # 354 came though nobody was accepted: a lone dot ends it (RFC 2920 section 3.1)
    DONE = auto()


class Transaction:
    """The state of one transaction. `phase` says what to do next, `outcomes` is complete in phase DONE."""

    __slots__ = (
        "_accepted",
        "_answered",
        "_envelope",
        "_first_rcpt",
        "_lines",
        "_mail_reply",
        "_outcomes",
        "_sent",
        "needs_rset",
        "phase",
    )

    def __init__(
        self, envelope: Envelope, size_octets: int, capabilities: Mapping[str, str], *, rset_first: bool
    ) -> None:
        self._envelope = envelope
        self._outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        self._accepted = 0
        self._mail_reply: Reply | None = None
        self._sent = self._answered = 0  # of the lines
        self._first_rcpt = 2 if rset_first else 1
        self._lines: list[str] = []  # RSET, MAIL, RCPT …, DATA; cut short where the rest has lost its point
        self.needs_rset = False  # whether MAIL was accepted and DATA did not end it
        self.phase = Phase.COMMANDS
        smtputf8 = envelope.needs_smtputf8
        refusal = _refusal(envelope, size_octets, capabilities, smtputf8=smtputf8)
        if refusal is not None:
            self._settle_open(judge(refusal), refusal, Stage.MAIL)
            self.phase = Phase.DONE
            return
        with_dsn = "DSN" in capabilities
        lines = ["RSET"] if rset_first else []
        lines.append(_mail(envelope, size_octets, capabilities, smtputf8=smtputf8))
        lines += [_rcpt(recipient, with_dsn=with_dsn) for recipient in envelope.recipients]
        lines.append("DATA")
        self._lines = lines

    @property
    def outcomes(self) -> list[Outcome]:
        """An outcome for each recipient, in the order of the envelope, once the phase is DONE."""
        return [outcome for outcome in self._outcomes if outcome is not None]

    @property
    def has_unsent(self) -> bool:
        """Whether `next_commands` may have something."""
        return self._sent < len(self._lines)

    def next_commands(self, *, pipelining: bool) -> bytes:
        """What to write now: everything, or without pipelining the next command once the last is answered."""
        lines, sent = self._lines, self._sent
        if sent == len(lines):
            return b""
        if pipelining:
            self._sent = len(lines)
            return ("\r\n".join(lines[sent:]) + "\r\n").encode()
        if sent > self._answered:
            return b""
        self._sent = sent + 1
        return f"{lines[sent]}\r\n".encode()

    def content_sent(self) -> None:
        """The final dot has been handed to the transport."""
        self.phase = Phase.FINAL

    def receive(self, reply: Reply) -> None:
        """Take the next reply.

        Raises `ProtocolError` for one that makes no sense; then `lost` settles the rest.
        """
        if self.phase is Phase.COMMANDS:
            at = self._answered
            if at == self._sent:
                raise ProtocolError(f"a reply to no command: {reply.line()[:100]}")
            self._answered = at + 1
            stage = self._stage_of(at)
            if stage is Stage.RCPT:
                self._on_rcpt(at - self._first_rcpt, reply)
            elif stage is Stage.MAIL:
                self._on_mail(reply)
            elif stage is Stage.DATA:
                self._on_data(reply)
            elif reply.code != 250:
                raise ProtocolError(f"RSET was answered {reply.line()[:100]}")
            if self._answered == len(self._lines) and self.phase is Phase.COMMANDS:
                self.phase = Phase.DONE
        elif self.phase is Phase.EMPTY:  # whatever the answer, DATA has ended the transaction
            self.needs_rset = False
            self.phase = Phase.DONE
        else:
            self._on_content(reply)

    def lost(self, reply: Reply) -> None:
        """The connection is gone; `reply` says how. Recipients without an outcome get theirs."""
        result = Result.UNKNOWN if self.phase is Phase.FINAL else Result.DEFERRED
        self._settle_open(result, reply, self._stage())
        self.phase = Phase.DONE

    def withheld(self, reply: Reply) -> None:
        """The final dot was not sent: who would have got the message gets `reply`."""
        self._settle_open(Result.DEFERRED, reply, Stage.WITHHELD)
        self.phase = Phase.DONE

    def _stage(self) -> Stage:
        if self.phase in (Phase.CONTENT, Phase.FINAL):
            return Stage.CONTENT
        return self._stage_of(self._answered) if self._answered < self._sent else Stage.MAIL

    def _stage_of(self, line: int) -> Stage:
        """What the line at this place is for."""
        number = line - self._first_rcpt
        if number >= len(self._outcomes):
            return Stage.DATA
        if number >= 0:
            return Stage.RCPT
        return Stage.MAIL if number == -1 else Stage.CONNECT

    def _forget_unsent(self) -> None:
        """What has not been sent has lost its point."""
        del self._lines[self._sent :]

    def _settle_open(self, result: Result, reply: Reply, stage: Stage) -> None:
        for number, recipient in enumerate(self._envelope.recipients):
            if self._outcomes[number] is None:
                self._outcomes[number] = Outcome(recipient.address, result, reply, stage)

    def _on_mail(self, reply: Reply) -> None:
        if reply.code < 300:
            self.needs_rset = True
            return
        self._mail_reply = reply
        self._settle_open(judge(reply), reply, Stage.MAIL)
        self._forget_unsent()

    def _on_rcpt(self, number: int, reply: Reply) -> None:
        if self._mail_reply is None:
            if reply.code < 300:
                self._accepted += 1
            else:
                if reply.code == 552 and self._accepted and not reply.enhanced.startswith("5.2."):
                    # RFC 5321 section 4.5.3.1.10: an old way to say "too many recipients"
                    reply = Reply(452, Status.TOO_MANY_RECIPIENTS, reply.text)
                address = self._envelope.recipients[number].address
                self._outcomes[number] = Outcome(address, judge(reply), reply, Stage.RCPT)
        if not self._accepted and number == len(self._outcomes) - 1:
            self._forget_unsent()  # nobody to send to

    def _on_data(self, reply: Reply) -> None:
        if reply.code == 354:
            self.phase = Phase.CONTENT if self._accepted else Phase.EMPTY
        elif reply.code < 400:
            raise ProtocolError(f"DATA was answered {reply.line()[:100]}")
        else:
            self._settle_open(judge(reply), reply, Stage.DATA)

    def _on_content(self, reply: Reply) -> None:
        if 300 <= reply.code < 400 or (reply.code < 300 and self.phase is Phase.CONTENT):
            raise ProtocolError(f"the content was answered {reply.line()[:100]}")
        self._settle_open(judge(reply), reply, Stage.CONTENT)
        self.needs_rset = False
        self.phase = Phase.DONE


def _refusal(
    envelope: Envelope, size_octets: int, capabilities: Mapping[str, str], *, smtputf8: bool
) -> Reply | None:
    """Our own verdict where the server has already said that it cannot take such a message."""
    if smtputf8 and "SMTPUTF8" not in capabilities:
        return Reply(550, Status.NON_ASCII_ADDRESS, "The server does not take internationalised mail")
    if envelope.body_8bit and "8BITMIME" not in capabilities:  # RFC 6152 section 3: convert or fail
        return Reply(554, "5.6.3", "The server does not take 8-bit content")
    limit = capabilities.get("SIZE", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit[:18]) < size_octets:  # RFC 1870 section 5
        return Reply(552, Status.SYSTEM_TOO_BIG, f"The server takes no more than {int(limit[:18])} octets")
    return None


def _mail(envelope: Envelope, size_octets: int, capabilities: Mapping[str, str], *, smtputf8: bool) -> str:
    line = f"MAIL FROM:<{envelope.mail_from}>"
    if "SIZE" in capabilities:  # RFC 1870 section 6
        line += f" SIZE={size_octets}"
    if envelope.body_8bit:
        line += " BODY=8BITMIME"
    if smtputf8:
        line += " SMTPUTF8"
    if "DSN" in capabilities:
        if envelope.ret:
            line += f" RET={envelope.ret}"
        if envelope.envid:
            line += f" ENVID={envelope.envid}"
    return line


def _rcpt(recipient: Recipient, *, with_dsn: bool) -> str:
    line = f"RCPT TO:<{recipient.address}>"
    if with_dsn and recipient.notify:
        line += f" NOTIFY={recipient.notify}"
    if with_dsn and recipient.orcpt:
        line += f" ORCPT={recipient.orcpt}"
    return line
