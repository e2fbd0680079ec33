"""AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): the conversation is aiosmtpd's, the verdict the application's.

aiosmtpd's session class is not the connection here: a task for each client, an await and a timer for each
command cost several times what the commands themselves do, and its constructor looks up every hook for each
client anew. What it knows of AUTH lives in `Conversation`, made for the client that logs in.

Passwords travel under TLS, or in clear where the configuration allows it. Each refused password waits for the
configured delay, a few of them close the connection.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, cast

import structlog
from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword

from smtp import server_replies as say
from smtp.codes import Code, Permanent, Reply
from smtp.server_api import Identity
from smtp.server_tls import TlsConnection

log = structlog.get_logger(__name__)


class Conversation(SMTP):
    """aiosmtpd's mechanisms, speaking through a connection of ours."""

    AuthLoginUsernameChallenge = "Username:"
    AuthLoginPasswordChallenge = "Password:"

    def __init__(self, connection: AuthConnection) -> None:
        # SMTP.__init__ is left out on purpose: it makes a whole session.
        self._connection = connection

    async def push(self, status: str | bytes) -> None:
        """Queue a reply line given as text."""
        self._connection.queue_line(status.encode("ascii") if isinstance(status, str) else status)

    def _authenticate(self, _mechanism: str, auth_data: LoginPassword) -> AuthResult:
        """Called by the mechanisms with what the client sent; it is verified by `AuthConnection`."""
        return AuthResult(success=True, auth_data=auth_data)

    async def challenge_auth(
        self,
        challenge: str | bytes,
        encode_to_b64: bool = True,
        log_client_response: bool = False,  # noqa: ARG002 - never: it holds a password
    ) -> Any:
        """Ask the client one question of the AUTH exchange; MISSING once it was answered with an error."""
        octets = challenge.encode() if isinstance(challenge, str) else challenge
        await self.push(b"334 " + (b64encode(octets) if encode_to_b64 else octets))
        line = await self._connection.next_line()
        blob = line.removesuffix(b"\n").removesuffix(b"\r")
        if not line:
            reply = say.AUTH_LINE_TOO_LONG
        elif blob == b"*":
            reply = say.AUTH_CANCELLED
        else:
            try:
                return b64decode(blob, validate=True)
            except ValueError:
                reply = say.BAD_BASE64
        await self.push(reply.render().removesuffix(b"\r\n"))
        return MISSING


class AuthConnection(TlsConnection):
    """A connection that can log in."""

    _auth_failures = 0

    def queue_line(self, line: bytes) -> None:
        """Queue a reply line that has no line end yet."""
        self._queue(line + b"\r\n")

    def _decline(self, reply: Reply) -> None:
        """Pass on the application's refusal, which is no error of the protocol."""
        self._answer(reply)
        if reply.code == Code.UNAVAILABLE:  # RFC 5321 section 3.8
            self._closing = True

    def _may_authenticate(self) -> bool:
        """Whether passwords may travel on this connection."""
        config = self._config
        if self.client.tls is not None or not config.require_tls_for_auth:
            return True
        return config.allow_plain_auth_on_loopback and self.client.is_loopback

    def _command_auth(self, argument: bytes) -> None:
        if not self.client.esmtp:
            raise say.bad_sequence("Send EHLO first")
        if not self._may_authenticate():
            raise Permanent(say.AUTH_NEEDS_TLS)
        if self.client.identity is not None or self.in_transaction:  # RFC 4954 section 4
            raise say.bad_sequence(
                "Already authenticated" if self.client.identity else "Not during a transaction"
            )
        words = argument.decode("ascii", "replace").split()
        if not 1 <= len(words) <= 2:
            raise say.bad_argument("Syntax: AUTH mechanism [initial-response]")
        if words[0].upper() not in ("PLAIN", "LOGIN"):
            raise Permanent(say.AUTH_MECHANISM)
        self._run(self._log_in(words))

    async def _log_in(self, words: list[str]) -> None:
        conversation = Conversation(self)
        mechanism = conversation.auth_PLAIN if words[0].upper() == "PLAIN" else conversation.auth_LOGIN
        result = await mechanism(None, words)
        if not result.success:  # answered already: cancelled, or not base64
            return self._count_auth_failure()
        return await self._verify(cast("LoginPassword", result.auth_data))

    async def _verify(self, credentials: LoginPassword) -> None:
        verdict: Identity | Reply
        try:
            username, password = credentials.login.decode(), credentials.password.decode()
        except UnicodeDecodeError:
            verdict = say.CREDENTIALS_INVALID
        else:
            try:
                verdict = await self._state.application.authenticate(self.client, username, password)
            except Exception as error:  # noqa: BLE001 - logged there, and answered
                verdict = self._failure("authenticate", error)
        if isinstance(verdict, Identity):
            self.client.identity = verdict
            self._state.door.recognise(self, verdict.owner or verdict.name)
            return self._answer(say.AUTHENTICATED)
        if not isinstance(verdict, Reply) or verdict.is_positive:
            verdict = say.CREDENTIALS_INVALID  # anything but an identity is a refusal
        if verdict.is_permanent:
            await self._state.sleep(self._config.auth_failure_delay_s)  # guessing is slowed
        self._decline(verdict)
        return self._count_auth_failure()

    def _count_auth_failure(self) -> None:
        self._auth_failures += 1
        if self._auth_failures >= self._config.auth_failure_limit and not self._closing:
            log.info("smtp_login_failures_cut", session=self.client.id, failures=self._auth_failures)
            self._answer(say.TOO_MANY_FAILURES)
            self._closing = True
