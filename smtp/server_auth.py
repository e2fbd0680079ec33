"""AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): the conversation is aiosmtpd's, the verdict the application's.

Passwords travel under TLS, or in clear where the configuration allows it. Each refused password waits for the
configured delay, a few of them close the connection.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, cast

import structlog
from aiosmtpd.smtp import MISSING, AuthResult, LoginPassword

from smtp import server_replies as say
from smtp.codes import Code, Permanent, Reply
from smtp.server_api import Identity
from smtp.server_connection import Connection

log = structlog.get_logger(__name__)

LONGEST_LINE_OCTETS = 12_288  # RFC 4954 section 4


class AuthConnection(Connection):
    """A connection that can log in."""

    AuthLoginUsernameChallenge = "Username:"
    AuthLoginPasswordChallenge = "Password:"
    _auth_failures = 0

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

    async def _command_auth(self, argument: bytes) -> None:
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
        mechanism = {"PLAIN": self.auth_PLAIN, "LOGIN": self.auth_LOGIN}.get(words[0].upper())
        if mechanism is None:
            raise Permanent(say.AUTH_MECHANISM)
        result = await mechanism(self, words)
        if not result.success:  # answered already: cancelled, or not base64
            return self._count_auth_failure()
        return await self._verify(cast("LoginPassword", result.auth_data))

    def _authenticate(self, _mechanism: str, auth_data: LoginPassword) -> AuthResult:
        """Called by the inherited mechanisms with what the client sent; it is verified in `_command_auth`."""
        return AuthResult(success=True, auth_data=auth_data)

    async def _verify(self, credentials: LoginPassword) -> None:
        verdict: Identity | Reply
        try:
            username, password = credentials.login.decode(), credentials.password.decode()
        except UnicodeDecodeError:
            verdict = say.CREDENTIALS_INVALID
        else:
            question = self._state.application.authenticate(self.client, username, password)
            verdict = await self._ask(question, "authenticate")
        if isinstance(verdict, Identity):
            self.client.identity = verdict
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

    async def challenge_auth(
        self,
        challenge: str | bytes,
        encode_to_b64: bool = True,
        log_client_response: bool = False,  # noqa: ARG002  never: it holds a password
    ) -> Any:
        """Ask the client one question of the AUTH exchange; MISSING once it was answered with an error."""
        octets = challenge.encode() if isinstance(challenge, str) else challenge
        await self.push(b"334 " + (b64encode(octets) if encode_to_b64 else octets))
        line = await self._next_line(LONGEST_LINE_OCTETS)
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
        self._answer(reply)
        return MISSING
