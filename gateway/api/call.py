"""One request and its answer: what a handler gets, and what it gives back.

Reading a body is bounded three ways: its size while it streams in, the memory of all bodies together (A6),
and the time it takes to arrive. Raises `Problem`; `Gone` when the client has left.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from config.schema import Settings
from gateway.accounts.auth import Principal
from gateway.api.parts import Parts
from gateway.api.pointers import FieldError, of_validation, path_of
from gateway.api.problems import Header, Problem

T = TypeVar("T")
JSON = b"application/json"
_SMALL_OCTETS = 65_536  # bodies up to here are not counted: connections are limited
_NUMBERS = frozenset({"limit"})  # the parameters of the address that are numbers; the others are texts
_DIGITS = re.compile(r"[0-9]{1,9}")
_LENGTH_DIGITS = 18  # of a Content-Length; no body has more octets
_encode = msgspec.json.Encoder().encode


class Gone(Exception):
    """The client closed the connection; nobody waits for an answer."""


@dataclass(slots=True)
class Reply:
    """An answer."""

    status: int = 200
    body: bytes = b""
    content_type: bytes = JSON
    headers: list[Header] = field(default_factory=list)


def json_reply(value: Any, status: int = 200, headers: list[Header] | None = None) -> Reply:
    """`value` as JSON."""
    return Reply(status, _encode(value), JSON, headers or [])


NO_CONTENT = 204


class Call:
    """One request, from its header to its answer."""

    __slots__ = (
        "_more", "_receive", "_reserved", "headers", "octets", "params", "parts", "principal", "rate_headers",
        "request_id", "scope",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, parts: Parts) -> None:
        self.scope = scope
        self.parts = parts
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.params: Mapping[str, str] = scope.get("path_params", {})
        self.rate_headers: list[Header] = []
        self.octets = b""
        """The body, once it has been read."""
        self.request_id = ""
        self.principal: Principal | None = None
        self._receive = receive
        self._more = True
        self._reserved = 0

    @property
    def account_id(self) -> str:
        """Whose request it is; operations without a key have none."""
        if self.principal is None:
            raise RuntimeError("this operation asks for no key")
        return self.principal.account_id

    @property
    def settings(self) -> Settings:
        """The configuration."""
        return self.parts.settings

    @property
    def peer(self) -> str:
        """The client's IP address; behind a proxy, what the proxy says (the last entry is its own)."""
        if self.settings.http.behind_proxy:
            forwarded = self.headers.get(b"x-forwarded-for", b"").decode("latin-1")
            address = forwarded.rpartition(",")[2].strip()
            if address:
                return address
        client = self.scope.get("client")
        return client[0] if client else "127.0.0.1"

    def text_header(self, name: bytes) -> str | None:
        """A header field as text, None where it is missing or empty."""
        value = self.headers.get(name)
        return value.decode("latin-1").strip() or None if value else None

    # --- the address -----------------------------------------------------------------------------------

    def query(self, wanted: type[T]) -> T:
        """The parameters of the address as a `wanted`. Raises Problem 422 that names the parameter."""
        raw = self.scope["query_string"].decode("latin-1")
        pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=100) if raw else []
        values: dict[str, str | int] = {}
        for name, value in pairs:
            if name in values:
                raise _bad_query(name, "stands twice")
            if "\0" in value or "\ufffd" in value:
                raise _bad_query(name, "is not valid text")
            values[name] = int(value) if name in _NUMBERS and _DIGITS.fullmatch(value) else value
        try:
            return msgspec.convert(values, wanted)
        except msgspec.ValidationError as error:
            fault = of_validation(error)
            raise _bad_query(path_of(fault.pointer), fault.detail) from error

    # --- the body --------------------------------------------------------------------------------------

    async def json(self, decoder: "msgspec.json.Decoder[T]") -> T:
        """The body, decoded. Raises Problem 400, 408, 413, 415 and 422."""
        self.check_content_type()
        return decoded(decoder, await self.body())

    def check_content_type(self) -> None:
        """Raises Problem 415 unless the body is said to be plain JSON."""
        kind = self.headers.get(b"content-type")
        if kind is not None and kind != JSON:
            name = kind.partition(b";")[0].strip().lower()
            if name != JSON and not (name.startswith(b"application/") and name.endswith(b"+json")):
                raise Problem("unsupported_media_type")
        if self.headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise Problem("unsupported_media_type", headers=[(b"accept-encoding", b"identity")])

    async def body(self) -> bytes:
        """The whole body, never more than `http.max_body_octets`."""
        limit = self.settings.http.max_body_octets
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit() and (len(announced) > _LENGTH_DIGITS or int(announced) > limit):
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self.settings.http.request_timeout_s):
                self.octets = await self._read(limit)
        except TimeoutError:
            raise Problem("request_timeout", headers=[(b"connection", b"close")]) from None
        return self.octets

    async def _read(self, limit: int) -> bytes:
        body = await self._next()
        if not self._more and len(body) <= limit:
            return body
        chunks, size = [body], len(body)
        while size <= limit:
            self._reserve(size)
            if not self._more:
                return b"".join(chunks)
            chunks.append(await self._next())
            size += len(chunks[-1])
        raise _too_large(limit)

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        self._more = message["more_body"]
        octets: bytes = message["body"]
        return octets

    def _reserve(self, size: int) -> None:
        wanted = size - self._reserved if size > _SMALL_OCTETS else 0
        if wanted > 0:
            if not self.parts.budget.take(wanted):
                raise Problem(
                    "busy",
                    "Too many large requests at once. Nothing was stored; try again in a moment.",
                    headers=[(b"connection", b"close")],
                    retry_after_s=1,
                )
            self._reserved += wanted

    async def discard(self, seconds: float) -> None:
        """Reads on and forgets, so that a client that still sends gets to see the answer (RFC 9112, 9.6)."""
        try:
            async with asyncio.timeout(seconds):
                while self._more:
                    await self._next()
        except (TimeoutError, Gone):
            return

    @property
    def expects_continue(self) -> bool:
        """Whether the client holds its body back until we ask for it (RFC 9110 section 10.1.1)."""
        return self.headers.get(b"expect", b"").lower() == b"100-continue"

    def release(self) -> None:
        """Gives back the memory that the body was counted for."""
        if self._reserved:
            self.parts.budget.give(self._reserved)
            self._reserved = 0


def decoded(decoder: "msgspec.json.Decoder[T]", octets: bytes | msgspec.Raw) -> T:
    """`octets` decoded. Raises Problem 400 for what is no JSON, 422 for what does not fit."""
    try:
        return decoder.decode(octets)
    except msgspec.ValidationError as error:
        fault = of_validation(error)
        where = path_of(fault.pointer)
        text = f"{where}: {fault.detail}" if where else fault.detail
        raise Problem("invalid", f"{text}.", errors=[fault]) from error
    except UnicodeDecodeError as error:
        raise Problem("invalid_json", "The body is not valid UTF-8.") from error
    except RecursionError as error:
        raise Problem("invalid_json", "The body is nested too deeply.") from error
    except msgspec.DecodeError as error:
        raise Problem("invalid_json", f"The body cannot be read as JSON: {error}.") from error


def _too_large(limit: int) -> Problem:
    return Problem(
        "too_large",
        f"The request is larger than {limit} octets. Send smaller attachments, or fewer items at once.",
        headers=[(b"connection", b"close")],
    )


def _bad_query(name: str, detail: str) -> Problem:
    where = f"#query/{name}"
    return Problem("invalid", f"{name}: {detail}.", errors=[FieldError(pointer=where, detail=detail)])
