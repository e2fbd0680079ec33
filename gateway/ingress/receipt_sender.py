"""Offers kept receipts to clients that can receive; only deliver_sm_resp ESME_ROK makes one forgotten.

Delivery is at least once: what was sent and not answered is offered again, to the next bind. Each system_id
has its own window, and every one that has room gets its share in each round, so a client that does not answer
delays nobody (A5). A client is served by one process at a time, by lease, unless the store is ours alone.

A receipt whose row was just committed here is offered from memory (`offer`), if its client has room and is
not behind; the others are read back in rounds. Acknowledgements are written in bulk, every 0.2 s or 500: so
many receipts may come again after a crash.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from gateway.clock import Clock
from gateway.jobs.loop import Job, Loop, Watch
from gateway.messages.receipts import client as client_receipts
from gateway.messages.receipts.client import Client, Due, Key
from gateway.store import leases
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.store import Store
from gateway.store.tx import Tx
from smpp.application import Bound
from smpp.link import RequestOutcome, Result

log = structlog.get_logger(__name__)

POLL_S = 0.2
_GATHER_S = 0.01  # between two rounds at least
_ANSWERS_AT_ONCE = 500  # else they are written with the next round
_AFTER_FAILURE_S = 1.0
_TRIM_S = 10.0
_DROPPED_AT_ONCE = 1000
_REST_S = 1.0
_AGAIN_FIRST_S = 5.0
_AGAIN_MAX_S = 300.0


@dataclass(slots=True, eq=False)
class Receiver:
    """One bind that may receive; `unanswered` deliver_sm of ours wait for its answer."""

    bound: Bound
    tlvs: bool
    unanswered: int = 0
    rests_until_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Served:
    """One system_id: its receiving binds, and what must not be offered again just now."""

    receivers: list[Receiver] = field(default_factory=list)
    held: set[Key] = field(default_factory=set)
    """Sent and not answered, or answered and the answer not yet written."""
    ours_until_ms: int = 0
    behind: bool = True
    """More wait in the store than were read: what is new waits its turn there."""


class ReceiptSender:
    """One per process. `add` and `remove` follow the binds; `wake` says that there may be something new."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        holder: str,
        window: int,
        kept: int,
        lease_s: float = 15.0,
        poll_s: float = POLL_S,
        watch: Watch | None = None,
    ) -> None:
        """`kept` receipts wait at most per account; `holder` names this process in its leases."""
        self._store = store
        self._clock = clock
        self._holder = holder
        self._window = window
        self._kept = kept
        self._lease_ms = int(lease_s * 1000)
        self._poll_s = poll_s
        self._clients: dict[Client, _Served] = {}
        self._acknowledged: list[Key] = []
        self._postponed: list[tuple[int, Key]] = []
        self._read_at_s = 0.0
        self._loop = Loop(
            Job(
                name="receipts_send",
                work=self._rounds,
                every_s=poll_s,
                gap_s=_GATHER_S,
                retry_first_s=_AFTER_FAILURE_S,
                failed="receipt_round_failed",
            ),
            watch,
        )
        self._renew_at_s = self._trim_at_s = clock.monotonic_s()
        self.acknowledged = 0
        """How many receipts clients have taken since the start."""

    async def start(self) -> None:
        """Begins to offer receipts."""
        await self._loop.start()

    def wake(self) -> None:
        """Looks now instead of at the next poll."""
        self._read_at_s = 0.0
        self._loop.wake()

    def offer(self, receipts: Sequence[Due]) -> None:
        """Sends receipts that were just queued here, as far as there is room; the rest is read back later."""
        now_ms = self._clock.now_ms()
        for one in receipts:
            served = self._clients.get(one.key[:2])
            if served is None or served.behind or served.ours_until_ms <= now_ms:
                continue
            receiver = self._free(served)
            if receiver is None:
                served.behind = True
            elif one.key not in served.held:
                self._send(served, receiver, one)

    def add(self, client: Client, bound: Bound, *, tlvs: bool) -> Receiver:
        """A bind that can receive is up."""
        served = self._clients.get(client)
        if served is None:
            served = self._clients[client] = _Served()
            self._renew_at_s = self._clock.monotonic_s()
        receiver = Receiver(bound, tlvs)
        served.receivers.append(receiver)
        served.behind = True
        self.wake()
        return receiver

    def remove(self, client: Client, receiver: Receiver) -> None:
        """The bind is over."""
        self._clients[client].receivers.remove(receiver)
        self.wake()

    @property
    def unanswered(self) -> int:
        """deliver_sm under way."""
        return sum(one.unanswered for served in self._clients.values() for one in served.receivers)

    async def pause(self) -> None:
        """Offers nothing more; answers to what is under way still count."""
        await self._loop.stop()

    async def stop(self) -> None:
        """Writes the last acknowledgements and gives the leases back."""
        await self.pause()
        names = [] if self._store.exclusive else [_lease(client) for client in self._clients]

        def release(tx: Tx) -> None:
            for name in names:
                leases.drop(tx, name, self._holder)

        try:
            await self._write_answers()
            if names:
                await self._store.write(release, locks=leases.locks(*names), urgent=True)
        except (StoreBusy, StoreFailed) as error:
            log.warning("receipt_answers_lost", reason=str(error), receipts=len(self._acknowledged))

    # --- rounds ----------------------------------------------------------------------------------------

    async def _rounds(self) -> bool:
        more = await self._round()
        if more:
            await asyncio.sleep(_GATHER_S)
        return more

    async def _round(self) -> bool:
        """Writes what was answered, offers what is due; whether there may be more at once."""
        await self._write_answers()
        await self._take_leases()
        await self._trim()
        loop_s, now_ms = asyncio.get_running_loop().time(), self._clock.now_ms()
        poll = loop_s >= self._read_at_s
        wanted = [
            (client, frozenset(served.held), room)
            for client, served in self._clients.items()
            if (served.behind or poll) and (room := self._room(served, now_ms)) > 0
        ]
        if poll:
            self._read_at_s = loop_s + self._poll_s
        if not wanted:
            return False

        def read(tx: Tx) -> list[list[Due]]:
            return [
                client_receipts.due(tx, client, held, room, now_ms=now_ms) for client, held, room in wanted
            ]

        found = await self._store.read(read)
        for (client, _held, room), receipts in zip(wanted, found, strict=True):
            self._catch_up(client, receipts, behind=len(receipts) == room)
        return any(len(receipts) == room for (_, _, room), receipts in zip(wanted, found, strict=True))

    def _room(self, served: _Served, now_ms: int) -> int:
        if served.ours_until_ms <= now_ms:
            return 0
        return sum(max(0, self._window - one.unanswered) for one in served.receivers if one.bound.can_receive)

    def _catch_up(self, client: Client, receipts: Sequence[Due], *, behind: bool) -> None:
        """Sends what was read back."""
        served = self._clients.get(client)
        if served is None:
            return
        served.behind = behind
        for one in receipts:
            receiver = self._free(served)
            if receiver is None:
                served.behind = True  # binds have ended since, or what is new took their room
                return
            if one.key not in served.held:
                self._send(served, receiver, one)

    def _send(self, served: _Served, receiver: Receiver, one: Due) -> None:
        pdu = client_receipts.deliver_sm(one.receipt, tlvs=receiver.tlvs)
        served.held.add(one.key)
        receiver.unanswered += 1
        receiver.bound.deliver_told(pdu, partial(self._answered, served, receiver, one))

    def _free(self, served: _Served) -> Receiver | None:
        """The bind with the most room."""
        if len(served.receivers) == 1:
            only = served.receivers[0]
            return only if self._may_send(only) else None
        free = [one for one in served.receivers if self._may_send(one)]
        return min(free, key=lambda one: one.unanswered, default=None)

    def _may_send(self, one: Receiver) -> bool:
        if one.unanswered >= self._window or not one.bound.can_receive:
            return False
        return not one.rests_until_s or one.rests_until_s <= self._clock.monotonic_s()

    def _answered(self, served: _Served, receiver: Receiver, one: Due, result: Result) -> None:
        receiver.unanswered -= 1
        if result.outcome is RequestOutcome.OK:
            self.acknowledged += 1
            self._acknowledged.append(one.key)
            if not served.behind and len(self._acknowledged) < _ANSWERS_AT_ONCE:
                return  # nothing waits for the room
        elif not receiver.bound.can_receive or result.outcome is RequestOutcome.NOT_SENT:
            # For another bind, at once; this one is over, is being unbound, or has asked for a pause.
            served.held.discard(one.key)
            served.behind = True
            receiver.rests_until_s = self._clock.monotonic_s() + _REST_S
        else:
            wait_s = min(_AGAIN_MAX_S, _AGAIN_FIRST_S * 2.0 ** min(one.attempts, 16))
            self._postponed.append((self._clock.now_ms() + int(wait_s * 1000), one.key))
            log.info(
                "receipt_not_taken", message_id=one.key[2], reason=result.detail, attempts=one.attempts + 1
            )
        self._loop.wake()

    # --- the store -------------------------------------------------------------------------------------

    async def _write_answers(self) -> None:
        """Until they are written, answered receipts stay held, so that a full disk repeats nothing."""
        acknowledged, postponed = self._acknowledged[:], self._postponed[:]
        if not acknowledged and not postponed:
            return
        await self._store.submit(client_receipts.SettleReceipts(acknowledged, postponed), urgent=True)
        del self._acknowledged[: len(acknowledged)]
        del self._postponed[: len(postponed)]
        for key in (*acknowledged, *(key for _, key in postponed)):
            served = self._clients.get(key[:2])
            if served is not None:
                served.held.discard(key)

    async def _take_leases(self) -> None:
        """Renews the leases of the clients that are bound here; gives back those that are not any more."""
        idle = [one for one, served in self._clients.items() if not served.receivers and not served.held]
        for client in idle:
            del self._clients[client]
        now_s, now_ms = self._clock.monotonic_s(), self._clock.now_ms()
        if now_s < self._renew_at_s and not idle:
            return
        self._renew_at_s = now_s + self._lease_ms / 3000
        clients = [client for client, served in self._clients.items() if served.receivers]
        ours = await self._leased(clients, idle, now_ms)
        for client in clients:
            served = self._clients.get(client)
            if served is not None:
                served.ours_until_ms = now_ms + self._lease_ms if client in ours else 0

    async def _leased(self, clients: Sequence[Client], idle: Sequence[Client], now_ms: int) -> Any:
        """Those of `clients` that are ours until the lease ends."""
        if self._store.exclusive or not (clients or idle):
            return clients

        def take(tx: Tx) -> set[Client]:
            for client in idle:
                leases.drop(tx, _lease(client), self._holder)
            return {
                client
                for client in clients
                if leases.take(tx, _lease(client), self._holder, now_ms=now_ms, lease_ms=self._lease_ms)
            }

        names = [_lease(client) for client in (*idle, *clients)]
        return await self._store.write(take, locks=leases.locks(*names), urgent=True)

    async def _trim(self) -> None:
        """Drops the oldest receipts of accounts that have let too many pile up (A6)."""
        now_s = self._clock.monotonic_s()
        if now_s < self._trim_at_s:
            return
        self._trim_at_s = now_s + _TRIM_S
        for account_id, over in await self._store.read(lambda tx: client_receipts.crowded(tx, self._kept)):
            left = over
            while left > 0:
                count = min(left, _DROPPED_AT_ONCE)
                left -= count
                await self._store.sweep(_dropper(account_id, count), urgent=True)
            log.warning("receipts_dropped", account_id=account_id, receipts=over, kept=self._kept)


def _dropper(account_id: str, count: int) -> Callable[[Tx], int]:
    return lambda tx: client_receipts.drop_oldest(tx, account_id, count)


def _lease(client: Client) -> str:
    return f"receipts:{client[0]}:{client[1]}"
