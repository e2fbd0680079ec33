"""AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): the conversation is aiosmtpd's, the verdict the application's.

aiosmtpd's session class is not the connection here: a task for each client, an await and a timer for each
command cost several times what the commands themselves do, and its constructor looks up every hook for each
client anew. What it knows of AUTH lives in `Conversation`, made for the client that logs in.

Passwords travel under TLS, or in clear where the configuration allows it. Each refused password waits for the
configured delay, a few of them close the connection.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, Protocol, cast

import structlog
from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword

from smtp import server_replies as say
from smtp.codes import Reply
from smtp.server_api import Identity
from smtp.server_session import Login, SubmissionSession

log = structlog.get_logger(__name__)


class Dialogue(Protocol):
    """The connection, as far as a conversation needs it."""

    async def next_line(self) -> bytes:
        """Let the replies leave, and wait for a line. Raises `ConnectionClosed`."""

    def recognised(self, identity: Identity) -> None:
        """The client has logged in."""


class Conversation(SMTP):
    """aiosmtpd's mechanisms, speaking through a session of ours."""

    AuthLoginUsernameChallenge = "Username:"
    AuthLoginPasswordChallenge = "Password:"

    def __init__(self, session: SubmissionSession, dialogue: Dialogue) -> None:
        # SMTP.__init__ is left out on purpose: it makes a whole session.
        self._session = session
        self._dialogue = dialogue

    async def push(self, status: str | bytes) -> None:
        """Queue a reply line given as text."""
        line = status.encode("ascii") if isinstance(status, str) else status
        self._session.out.append(line + b"\r\n")

    def _authenticate(self, _mechanism: str, auth_data: LoginPassword) -> AuthResult:
        """Called by the mechanisms with what the client sent; it is verified by `log_in`."""
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
        line = await self._dialogue.next_line()
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


async def log_in(session: SubmissionSession, login: Login, dialogue: Dialogue) -> None:
    """Hold the conversation that AUTH has begun, and answer it. Raises `ConnectionClosed`."""
    conversation = Conversation(session, dialogue)
    words = login.words
    mechanism = conversation.auth_PLAIN if words[0].upper() == "PLAIN" else conversation.auth_LOGIN
    result = await mechanism(None, words)
    if not result.success:  # answered already: cancelled, or not base64
        return _count_failure(session)
    verdict = await _verify(session, cast("LoginPassword", result.auth_data))
    if isinstance(verdict, Identity):
        session.logged_in(verdict, login.then)
        dialogue.recognised(verdict)
        return session.answer(say.AUTHENTICATED)
    if verdict.is_permanent:
        await session.server.sleep(session.config.auth_failure_delay_s)  # guessing is slowed
    session.pass_on(verdict)
    return _count_failure(session)


async def _verify(session: SubmissionSession, credentials: LoginPassword) -> Identity | Reply:
    try:
        username, password = credentials.login.decode(), credentials.password.decode()
    except UnicodeDecodeError:
        return say.CREDENTIALS_INVALID
    try:
        verdict = await session.server.application.authenticate(session.client, username, password)
    except Exception as error:  # noqa: BLE001 - logged there, and answered
        verdict = session.failure("authenticate", error)
    if isinstance(verdict, Identity) or (isinstance(verdict, Reply) and not verdict.is_positive):
        return verdict
    return say.CREDENTIALS_INVALID  # anything but an identity is a refusal


def _count_failure(session: SubmissionSession) -> None:
    session.auth_failures += 1
    if session.auth_failures >= session.config.auth_failure_limit and not session.over:
        log.info("smtp_login_failures_cut", session=session.client.id, failures=session.auth_failures)
        session.answer(say.TOO_MANY_FAILURES)
        session.close()
