"""One request and its answer: what a handler gets, and what it gives back.

A body is bounded three ways: its size while it streams in, the memory of all bodies together (A6), and the
time it takes to arrive. Until a handler asks for it, no more than 64 KiB (and what one read brings) are
taken from the client. Raises `Problem`; `Gone` when the client has left.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec

from config.schema import Settings
from gateway.clock import Clock
from gateway.http.wire import kinds, outline
from gateway.http.wire.header import FORWARDED_FOR, announces_body
from gateway.http.wire.pointers import FieldError, of_validation, path_of
from gateway.http.wire.problem import CLOSE, Header, Problem
from gateway.http.wire.site import Site
from gateway.peers import forwarded_peer

T = TypeVar("T")
JSON = b"application/json"
_SMALL_OCTETS = outline.SMALL_OCTETS  # bodies up to here are not counted: connections are limited
_NUMBERS = frozenset({"limit"})  # the parameters of the address that are numbers; the others are texts
_PARAMETERS_MAX = 100
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


class Principal(Protocol):
    """Who is asking, through which credential."""

    @property
    def account_id(self) -> str: ...

    @property
    def credential_id(self) -> str: ...

    @property
    def username(self) -> str:
        """Of an API key, its prefix."""
        ...

    @property
    def scopes(self) -> frozenset[str]: ...

    @property
    def rate_per_s(self) -> int | None:
        """How many requests a second the account may make; None: what is configured."""
        ...

    def allows(self, scope: str) -> bool:
        """Whether the credential may do what `scope` names."""
        ...


class Client(Protocol):
    """The connection that a request came over."""

    @property
    def address(self) -> str:
        """Its IP address."""
        ...

    @property
    def stranger(self) -> bool:
        """Whether no request over it has had a good key yet."""
        ...

    def recognise(self, account_id: str) -> None:
        """A request had one."""
        ...

    def more(self, *, ask: bool) -> None:
        """Wants more of the body; with `ask` the client waits to be told so."""
        ...

    def enough(self) -> None:
        """Wants no more for now."""
        ...


class Call:
    """One request, from its header to its answer."""

    __slots__ = (
        "_chunks", "_client", "_fault", "_reserved", "_waiting", "closes", "complete", "headers", "method",
        "octets", "params", "path", "principal", "rate_fields", "request_id", "site", "size", "target",
    )  # fmt: skip

    def __init__(
        self, site: Site, client: Client, method: str, target: bytes, headers: dict[bytes, bytes]
    ) -> None:
        self.site = site
        self.method = method
        self.target = target
        """The address as it came, with its query."""
        self.headers = headers
        """By their names in lower case; of several with one name, the last."""
        self.path = ""
        self.params: Mapping[str, str] = {}
        self.octets = b""
        """The body, once it has been read."""
        self.size = 0
        """So many octets of the body have come."""
        self.complete = False
        """Whether the body is here to its end."""
        self.closes = False
        """Whether the connection ends with the answer."""
        self.rate_fields = b""
        self.request_id = ""
        self.principal: Principal | None = None
        self._client = client
        self._chunks: list[bytes] | None = []  # None: whatever comes is dropped
        self._reserved = 0
        self._fault: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    @property
    def account_id(self) -> str:
        """Whose request it is; operations without a key have none."""
        if self.principal is None:
            raise RuntimeError("this operation asks for no key")
        return self.principal.account_id

    def service(self, wanted: type[T]) -> T:
        """The service of this type (`gateway.ground`)."""
        return self.site.ground[wanted]

    @property
    def clock(self) -> Clock:
        """The time."""
        return self.site.ground.clock

    @property
    def settings(self) -> Settings:
        """The configuration."""
        return self.site.ground.settings

    @property
    def peer(self) -> str:
        """The client's IP address; behind proxies that are trusted, what those say."""
        address, proxies = self._client.address, self.site.proxies
        if address not in proxies:
            return address
        return forwarded_peer(address, self.headers.get(FORWARDED_FOR, b"").decode("latin-1"), proxies)

    def let_in(self, principal: Principal) -> None:
        """Its key is good."""
        self.principal = principal
        if self._client.stranger:
            self._client.recognise(principal.account_id)

    # --- the address -----------------------------------------------------------------------------------

    def query(self, wanted: type[T]) -> T:
        """The parameters of the address as a `wanted`. Raises Problem 422 that names the parameter."""
        raw = self.target.partition(b"#")[0].partition(b"?")[2].decode("latin-1")
        try:
            pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=_PARAMETERS_MAX) if raw else []
        except ValueError:
            raise Problem(kinds.INVALID, f"The address has more than {_PARAMETERS_MAX} parameters.") from None
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
        """Raises Problem 415 unless the body, where there is one, is said to be plain JSON."""
        kind = self.headers.get(b"content-type")
        if kind is None:
            if self.size or announces_body(self.headers):
                raise Problem(kinds.UNSUPPORTED_MEDIA_TYPE)
        elif kind != JSON:
            name = kind.partition(b";")[0].strip().lower()
            if name != JSON and not (name.startswith(b"application/") and name.endswith(b"+json")):
                raise Problem(kinds.UNSUPPORTED_MEDIA_TYPE)
        if self.headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise Problem(kinds.UNSUPPORTED_MEDIA_TYPE, headers=[(b"accept-encoding", b"identity")])

    async def body(self) -> bytes:
        """The whole body, never more than `http.max_body_octets`. Raises Problem 408, 413, 503, and Gone."""
        if not self.complete or self.size > _SMALL_OCTETS or self.size > self.settings.http.max_body_octets:
            await self._arrive()
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            self.octets = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return self.octets

    async def _arrive(self) -> None:
        """Returns when the body is here to its end, within its limits."""
        limit = self.settings.http.max_body_octets
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit() and (len(announced) > _LENGTH_DIGITS or int(announced) > limit):
            raise _too_large(limit)
        self._waiting = asyncio.get_running_loop().create_future()
        self._bound()
        if self._fault is None and not self.complete:
            self._client.more(ask=self.expects_continue and not self.size)
            try:
                async with asyncio.timeout(self.settings.http.request_timeout_s):
                    await self._waiting
            except TimeoutError:
                self._chunks = None
                raise Problem(kinds.REQUEST_TIMEOUT, headers=[CLOSE]) from None
        if self._fault is not None:
            raise self._fault

    def _bound(self) -> None:
        """Looks at the body's limits while a handler waits for it."""
        limit, size = self.settings.http.max_body_octets, self.size
        wanted = size - self._reserved if size > _SMALL_OCTETS else 0
        if size > limit:
            self._fail(_too_large(limit))
        elif wanted > 0:
            if self.site.budget.take(wanted):
                self._reserved += wanted
            else:
                self._fail(
                    Problem(
                        kinds.BUSY,
                        "Too many large requests at once. Nothing was stored; try again in a moment.",
                        headers=[CLOSE],
                        retry_after_s=1,
                    )
                )

    def _fail(self, fault: Exception) -> None:
        self._chunks = None
        self._fault = fault
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    @property
    def expects_continue(self) -> bool:
        """Whether the client holds its body back until we ask for it (RFC 9110 section 10.1.1)."""
        return self.headers.get(b"expect", b"").lower() == b"100-continue"

    @property
    def sending(self) -> bool:
        """Whether the client still sends its body, asked or not."""
        return not self.complete and (self._waiting is not None or not self.expects_continue)

    # --- from the connection -----------------------------------------------------------------------------

    def feed(self, octets: bytes) -> None:
        """The next piece of the body is here."""
        self.size += len(octets)
        if self._chunks is None:
            return
        self._chunks.append(octets)
        if self.size > _SMALL_OCTETS:
            if self._waiting is None:
                self._client.enough()
            else:
                self._bound()

    def end(self) -> None:
        """The body is here to its end."""
        self.complete = True
        self._wake()

    def leave(self) -> None:
        """The client is gone."""
        if not self.complete:
            self._fail(Gone())

    def release(self) -> None:
        """Forgets the body, whatever of it still comes, and gives back the memory that it was counted for."""
        self._chunks = None
        self.octets = b""
        if self._reserved:
            self.site.budget.give(self._reserved)
            self._reserved = 0


def decoded(decoder: "msgspec.json.Decoder[T]", octets: bytes | msgspec.Raw) -> T:
    """`octets` decoded. Raises Problem 400 for what is no JSON, 422 for what does not fit."""
    try:
        if type(octets) is not bytes or len(octets) > _SMALL_OCTETS:
            outline.check(decoder.type, octets)
        return decoder.decode(octets)
    except msgspec.ValidationError as error:
        fault = of_validation(error)
        where = path_of(fault.pointer)
        text = f"{where}: {fault.detail}" if where else fault.detail
        raise Problem(kinds.INVALID, f"{text}.", errors=[fault]) from error
    except UnicodeDecodeError as error:
        raise Problem(kinds.INVALID_JSON, "The body is not valid UTF-8.") from error
    except RecursionError as error:
        raise Problem(kinds.INVALID_JSON, "The body is nested too deeply.") from error
    except msgspec.DecodeError as error:
        raise Problem(kinds.INVALID_JSON, f"The body cannot be read as JSON: {error}.") from error


def _too_large(limit: int) -> Problem:
    return Problem(
        kinds.TOO_LARGE,
        f"The request is larger than {limit} octets. Send smaller attachments, or fewer items at once.",
        headers=[CLOSE],
    )


def _bad_query(name: str, detail: str) -> Problem:
    where = f"#query/{name}"
    return Problem(kinds.INVALID, f"{name}: {detail}.", errors=[FieldError(pointer=where, detail=detail)])
