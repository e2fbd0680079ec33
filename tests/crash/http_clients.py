"""Clients of the HTTP API: single messages, batches, scheduled ones, cancellations.

A request without an answer, or put off (409, 429, 503), is told by None.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.crash.accounts import SENDER_NAME, Account
from tests.crash.daemons import Daemons
from tests.crash.plans import text
from tests.crash.tally import Refused, Sent, Tally

_BUSY = frozenset({429, 503})
_LATER = _BUSY | {409}


class HttpClient:
    """One application with its connections and its account."""

    def __init__(self, daemons: Daemons, account: Account, domain: str, tally: Tally) -> None:
        self._daemons = daemons
        self._account = account
        self._domain = domain
        self._tally = tally
        self._http = httpx.AsyncClient(trust_env=False, timeout=5)
        self._send_at: dict[str, str] = {}  # by token: a key is bound to its payload

    async def send(self, sent: Sent) -> str | None:
        """The id of the message. Raises Refused."""
        answer = await self._ask("POST", f"/v1/{sent.channel}", self._body(sent), sent.keyed and sent.token)
        if answer is None:
            return None
        if answer.status_code == 202:
            return str(answer.json()["id"])
        raise Refused(_reason(answer.json()))

    async def send_batch(self, batch: Sequence[Sent]) -> list[str | Refused] | None:
        """What became of each, None without an answer."""
        items = [self._body(one) | {"type": one.channel} for one in batch]
        answer = await self._ask("POST", "/v1/batch", {"items": items}, batch[0].token)
        if answer is None:
            return None
        body = answer.json()
        if "items" not in body:
            return [Refused(_reason(body))] * len(batch)
        return [
            str(item["id"]) if item["accepted"] else Refused(_reason(item["problem"]))
            for item in body["items"]
        ]

    async def cancel(self, message_id: str) -> bool | None:
        """Whether at least one recipient was cancelled just now; None without an answer."""
        answer = await self._ask("DELETE", f"/v1/messages/{message_id}", None, None, later=_BUSY)
        return None if answer is None else answer.status_code == 200

    async def make_webhook(self, url: str, events: Sequence[str]) -> None:
        """Has the account's events told to `url`."""
        answer = await self._ask("POST", "/v1/webhooks", {"url": url, "events": list(events)}, None)
        if answer is None or answer.status_code >= 300:
            raise RuntimeError(f"no webhook: {answer and answer.text}")

    def _body(self, sent: Sent) -> dict[str, Any]:
        addresses = [one.address for one in sent.wanted]
        body: dict[str, Any] = {"to": addresses, "metadata": {"token": sent.token}}
        if sent.channel == "mail":
            body |= {"from": f"crash@{self._domain}", "subject": sent.token, "text": sent.token}
        else:
            body |= {"from": SENDER_NAME, "text": text(sent)}
        if sent.validity_s is not None:
            body["validity_s"] = sent.validity_s
        if sent.delay_s is not None:
            at = datetime.now(UTC) + timedelta(seconds=sent.delay_s)
            self._tally.due_s.setdefault(sent.token, time.monotonic() + sent.delay_s)
            body["send_at"] = self._send_at.setdefault(sent.token, at.isoformat())
        return body

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        key: str | bool | None,
        *,
        later: frozenset[int] = _LATER,
    ) -> httpx.Response | None:
        daemon = await self._daemons.any()
        headers = {"Authorization": f"Bearer {self._account.key}"}
        if key:
            headers["Idempotency-Key"] = str(key)
        url = f"http://127.0.0.1:{daemon.http_port}{path}"
        try:
            answer = await self._http.request(method, url, json=body, headers=headers)
        except httpx.HTTPError:
            return None
        if answer.status_code in later:
            await asyncio.sleep(0.05)
            return None
        return answer


def _reason(problem: dict[str, Any]) -> str:
    return str(problem.get("reason", problem))
