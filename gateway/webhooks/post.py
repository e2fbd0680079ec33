"""One try: resolve the host anew, judge every address, connect to a judged one, post, read the status.

The connection goes to the address that was judged (no second look-up in between), with the host's name in
SNI, certificate check and Host. Redirects are not followed, cookies and proxies not used, connections not
kept; of the answer only the status and Retry-After count, and at most a few KiB of it are read. Never
raises for what the other side does.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from gateway.dns import DnsUnavailableError
from gateway.webhooks.targets import Target, TargetError, check_addresses, check_url

Resolve = Callable[[str], Awaitable[list[str]]]
"""The addresses of a host name; raises DnsUnavailableError."""

_ADDRESSES_TRIED = 3
_ANSWER_OCTETS_MAX = 4096
_RETRY_AFTER_MAX_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try. `status` None: no HTTP answer; `reply` is one line for the webhook's owner."""

    status: int | None
    reply: str
    retry_after_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the receiver took it (any 2xx)."""
        return self.status is not None and 200 <= self.status < 300


class Poster:
    """Posts to judged targets. `tls` replaces the system's trust, `transport` all of HTTP (tests)."""

    def __init__(
        self,
        resolve: Resolve,
        *,
        timeout_s: float,
        allow_private: bool,
        tls: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._resolve = resolve
        self._timeout_s = timeout_s
        self._allow_private = allow_private
        self._transport = transport or httpx.AsyncHTTPTransport(
            verify=tls or httpx.create_ssl_context(trust_env=False),
            trust_env=False,
            http2=False,
            retries=0,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """One try, within the time-out as a whole."""
        try:
            async with asyncio.timeout(self._timeout_s):
                target = check_url(url, allow_private=self._allow_private)
                return await self._send(target, await self._addresses(target), headers, body)
        except TimeoutError:
            return Answer(None, f"no answer within {self._timeout_s:g} s")
        except TargetError as error:
            return Answer(None, f"not sent: {error}")
        except DnsUnavailableError:
            return Answer(None, "the host's address could not be looked up")

    async def close(self) -> None:
        """Closes what is open."""
        await self._transport.aclose()

    async def _addresses(self, target: Target) -> list[str]:
        if target.is_address:
            return [target.host]
        addresses = await self._resolve(target.host)
        check_addresses(addresses, allow_private=self._allow_private)
        return addresses[:_ADDRESSES_TRIED]

    async def _send(
        self, target: Target, addresses: list[str], headers: dict[str, str], body: bytes
    ) -> Answer:
        answer = Answer(None, "could not connect")
        for address in addresses:
            try:
                return await self._send_to(target, address, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                answer = Answer(None, _why(error))
            except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
                return Answer(None, _why(error))
        return answer

    async def _send_to(self, target: Target, address: str, headers: dict[str, str], body: bytes) -> Answer:
        timeout = {"connect": self._timeout_s / _ADDRESSES_TRIED, "read": None, "write": None, "pool": None}
        extensions: dict[str, object] = {"timeout": timeout}
        if not target.is_address:
            extensions["sni_hostname"] = target.host.removesuffix(".")
        request = httpx.Request(
            "POST",
            target.pinned(address),
            headers={
                "Host": target.host_header,
                "User-Agent": "gateway-webhooks/1",
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",
                **headers,
            },
            content=body,
            extensions=extensions,
        )
        response = await self._transport.handle_async_request(request)
        try:
            await _read_some(response)
        finally:
            await response.aclose()
        return _answer(response)


async def _read_some(response: httpx.Response) -> None:
    """Reads the answer's first octets, so that an honest server ends in peace; never decompresses."""
    read = 0
    if isinstance(response.stream, httpx.AsyncByteStream):
        async for chunk in response.stream:
            read += len(chunk)
            if read > _ANSWER_OCTETS_MAX:
                return


def _answer(response: httpx.Response) -> Answer:
    status = response.status_code
    if 300 <= status < 400:
        return Answer(status, f"{status}: redirects are not followed; give the final address")
    retry_after = response.headers.get("retry-after", "")
    wait_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
    return Answer(status, str(status), min(wait_s, _RETRY_AFTER_MAX_S))


def _why(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "the TLS certificate is not valid for the host"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "could not connect"
    return "the connection ended without an HTTP answer"
