"""What two processes may write at once, over the same rows: a scene per kind of operation (test_lock_order).

Each of the world's messages has four deliveries: one held by each process, one that awaits the receipts of
its two parts, one that waits in the queue.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count, product
from typing import Any

from config.sections.credits import Credit
from gateway.accounts import known
from gateway.accounts.known import Remember
from gateway.credits import ledger, orders, recharge
from gateway.credits.terms import Terms
from gateway.events import record as events
from gateway.ids import IdFactory
from gateway.messages import retention
from gateway.messages.accept.accepting import AcceptMessages
from gateway.messages.events import EventKind
from gateway.messages.model import Channel, Delivery, Message, SmsEnvelope, Status, Submitted, Work
from gateway.messages.notices import _Told
from gateway.messages.notices import _write as write_notices
from gateway.messages.queue import cancel, claim, clock_set_back, held
from gateway.messages.queue.claim import LaneKey
from gateway.messages.receipts import apply as receipts
from gateway.messages.receipts import client as client_receipts
from gateway.messages.receipts.apply import ApplyReceipts, PartReceipt
from gateway.messages.receipts.client import SettleReceipts
from gateway.messages.receipts.late import TakeLateAnswer
from gateway.messages.settle.operation import SettleDeliveries, note_waiting
from gateway.messages.settle.settlement import Settlement
from gateway.notices import queue as notices
from gateway.store import chain, idempotency, leases, revision
from gateway.store.idempotency import IdempotencyKey
from gateway.store.locks import NOTHING, Locks
from gateway.store.operation import Call, Operation, Sweep
from gateway.store.probe import WriteProbe
from gateway.store.store import Store
from gateway.store.tx import Row, Tx
from gateway.upstreams.sandbox.mail import _Capture
from gateway.webhooks import outbox, queue

NOW_MS = 1_790_000_000_000
ACCOUNTS = ("0" * 26, "1" * 26)
HOLDERS = ("a" * 26, "b" * 26)
HOOK = "w" * 26
CREDENTIAL = "c" * 26
UPSTREAM = "fake"
_LOT = "l" * 26
_REFUND_ON = frozenset({"rejected", "undelivered", "cancelled"})
_TABLES = (
    *("message", "delivery", "content", "event", "sms_part", "parked_receipt", "client_receipt", "lot"),
    *("posting", "credit_order", "webhook", "webhook_delivery", "idempotency", "captured_mail", "lease"),
    *("known_login", "credential", "account", "chain", "notice"),
)
_MESSAGE = """
INSERT INTO message (account_id, id, channel, ingress, sender, status, recipients, size_octets, price_credits,
  refunded_credits, lots, envelope, accepted_ms, expires_ms)
VALUES (?, ?, 'sms', 'smpp', 'x', 'queued', 4, 1, 4, 0, ?, ?, ?, ?)
"""
_DELIVERY = """
INSERT INTO delivery (account_id, message_id, n, address, destination, status, price_credits,
  refunded_credits, attempts, next_attempt_ms, holder, updated_ms)
VALUES (?, ?, ?, '+41791234567', 'fake', ?, 1, 0, 0, 0, ?, 0)
"""
_PART = "INSERT INTO sms_part VALUES (?, ?, ?, ?, ?, ?, 'sent', 0)"
_RECEIPT = "INSERT INTO client_receipt VALUES (?, ?, ?, '{}', 0, 0, 0)"
_WEBHOOK = "INSERT INTO webhook VALUES (?, ?, 'https://x.example/', '[\"*\"]', 's', 'active', NULL, 0)"
_TELLING = "INSERT INTO webhook_delivery VALUES (?, ?, ?, '{}', ?, 0, 0, NULL, 0)"
_LOT_ROW = "INSERT INTO lot VALUES (?, 'sms', ?, 'grant', 1000000000, 100000000, 0, NULL, NULL)"
_EXPIRED_LOT = "INSERT INTO lot VALUES (?, 'sms', ?, 'grant', 10, 5, 0, 1, NULL)"
_ORDER = "INSERT INTO credit_order VALUES (?, ?, 'sms', 5, 'invoice', 'recharge', 'created', NULL, 0, NULL)"
_ACCOUNT = "INSERT INTO account (id, name, status, created_ms) VALUES (?, 'x', 'active', 0)"
_CREDENTIAL = """
INSERT INTO credential (account_id, id, kind, username, secret_hash, scopes, created_ms)
VALUES (?, ?, 'smpp', ?, 'x', '[]', 0)
"""
_KNOWN = "INSERT INTO known_login VALUES (?, ?, ?, 'd', 0)"
_EXPIRED_KEY = "INSERT INTO idempotency VALUES (?, ?, ?, '[]', 1)"
_NOTICE = "INSERT INTO notice VALUES (?, ?, 'credits.low', NULL, '{}', ?, 0, NULL, NULL, NULL)"

Key = tuple[str, str]


@dataclass
class World:
    """The rows that everybody wants."""

    messages: list[Key]
    ids: IdFactory = field(default_factory=IdFactory)
    numbers: Iterator[int] = field(default_factory=count)
    terms: Terms = field(default_factory=lambda: Terms(settings=Credit()))

    @classmethod
    async def make(cls, store: Store) -> "World":
        """A world with nothing written yet."""
        ids = IdFactory()
        world = cls([(account, ids.new(NOW_MS)) for account in ACCOUNTS for _ in range(4)])
        await store.write(revision.bump, locks=revision.LOCK)
        return world

    async def reset(self, store: Store) -> None:
        """Every row as it was at first."""
        await store.write(self._reset)

    def _reset(self, tx: Tx) -> None:
        for table in _TABLES:
            tx.run(f"DELETE FROM {table}")
        envelope = '{"requested_source": "x", "client": "esme", "client_source": "x"}'
        lots = f'[["{_LOT}", 4]]'
        tx.run_many(_MESSAGE, [(*key, lots, envelope, NOW_MS, NOW_MS * 2) for key in self.messages])
        states = (("queued", HOLDERS[0]), ("queued", HOLDERS[1]), ("sent", None), ("queued", None))
        tx.run_many(_DELIVERY, [(*key, n, *state) for key in self.messages for n, state in enumerate(states)])
        tx.run_many(
            _PART,
            [(UPSTREAM, part_id(key, 2, part), *key, 2, part) for key in self.messages for part in (0, 1)],
        )
        clients = ("esme", "other")
        tx.run_many(_RECEIPT, [(key[0], client, key[1]) for key in self.messages for client in clients])
        for account in ACCOUNTS:
            tx.run(_ACCOUNT, (account,))
            tx.run(_CREDENTIAL, (account, CREDENTIAL, account))
            tx.run_many(_KNOWN, [(account, CREDENTIAL, prefix) for prefix in ("p1", "p2")])
            tx.run(_WEBHOOK, (account, HOOK))
            tx.run(_LOT_ROW, (account, _LOT))
            tx.run(_EXPIRED_LOT, (account, "m" * 26))
            tx.run(_ORDER, (account, "o" * 26))
            tx.run_many(
                _NOTICE, [(account, f"n{number}".ljust(26, "0"), f"n{number}") for number in range(4)]
            )
            tx.run_many(_EXPIRED_KEY, [(account, f"key{number}", b"old") for number in range(4)])
            for status in ("waiting", "delivered"):
                tx.run_many(_TELLING, [(account, telling(status, n), HOOK, status) for n in range(6)])

    def turned(self, side: int) -> list[Key]:
        """The messages, for the second process in the opposite order."""
        return self.messages if side == 0 else self.messages[::-1]

    def message(self, account_id: str, channel: Channel) -> Message:
        """One that is to be accepted."""
        return Message(
            account_id=account_id,
            id=self.ids.new(NOW_MS),
            channel=channel,
            ingress="test",
            sender="x",
            envelope=SmsEnvelope(requested_source="x"),
            content=b"x",
            accepted_ms=NOW_MS,
            expires_ms=NOW_MS * 2,
            deliveries=[Delivery(n=0, address="+41791234567", destination="gone", price_credits=1)],
        )


def part_id(key: Key, n: int, part: int) -> str:
    return f"{key[1]}/{n}/{part}"


def telling(status: str, number: int) -> str:
    return f"{status[0]}{number}".ljust(26, "0")


def work(key: Key, n: int) -> Work:
    delivery = Delivery(n=n, address="+41791234567", destination=UPSTREAM, price_credits=1)
    message = Message(
        account_id=key[0], id=key[1], channel=Channel.SMS, ingress="smpp", sender="x",
        envelope=SmsEnvelope(requested_source="x"), content=b"x", accepted_ms=NOW_MS, expires_ms=NOW_MS * 2,
        deliveries=[delivery], recipients=4,
    )  # fmt: skip
    return Work(message, UPSTREAM, [delivery])


# --- the road -------------------------------------------------------------------------------------------


def accept(world: World, side: int) -> Iterable[Operation[Any]]:
    """Both accounts, both products, keys that the other process uses as well."""
    for account, channel in list(product(ACCOUNTS, Channel))[:: 1 if side == 0 else -1]:
        for number in range(2):
            name = f"key{number}" if channel is Channel.SMS else f"key{number}m"
            yield AcceptMessages(
                account_id=account,
                slots=[world.message(account, channel), world.message(account, Channel.SMS)],
                now_ms=NOW_MS,
                started_s=0.0,
                holder=HOLDERS[side],
                key=IdempotencyKey(name, b"digest", NOW_MS * 2),
                terms=world.terms,
                on_commit=lambda _operation, _verdicts: None,
                on_failure=lambda _operation, _error: None,
            )


def settle(world: World, side: int) -> Iterable[Operation[Any]]:
    """Each process its own delivery of the same messages: submitted, or failed with a refund."""
    for number, key in enumerate(world.turned(side)):
        sent = number % 2 == 0
        yield SettleDeliveries(
            work(key, side),
            [
                Settlement(
                    account_id=key[0],
                    message_id=key[1],
                    n=side,
                    address="+41790000000",
                    status=Status.SENT if sent else Status.FAILED,
                    attempts=1,
                    next_attempt_ms=NOW_MS,
                    at_ms=NOW_MS,
                    kind=EventKind.SUBMITTED if sent else EventKind.FAILED,
                    detail={} if sent else {"reason": "rejected"},
                    refund=not sent,
                    upstream=UPSTREAM,
                    upstream_ids=(part_id(key, side, 0), f"same{number // 2}") if sent else (),
                    sms=True,
                    ingress="smpp",
                    recipients=4,
                )
            ],
            holder=HOLDERS[side],
            keep_content=False,
            refund_on=_REFUND_ON,
            on_commit=lambda _operation: None,
            on_failure=lambda _operation, _error: None,
        )


def receipt(world: World, side: int) -> Iterable[Operation[Any]]:
    """Parts that are recorded (each process tells another one), that are just being recorded, and unknown.

    A refund that nobody can foresee (of parts that disagree, of a parked receipt) has a test of its own.
    """
    for key in world.turned(side):
        fails = world.messages.index(key) % 2 == 1
        ids = (part_id(key, 2, side), part_id(key, 1 - side, 0), f"unknown{next(world.numbers)}")
        for number, one in enumerate(ids):
            yield ApplyReceipts(
                PartReceipt(
                    upstream=UPSTREAM if number < 2 else f"other{side}",
                    ids=(one, f"{one}x"),
                    delivered=number > 0 or not fails,
                    state="DELIVRD" if number > 0 or not fails else "UNDELIV",
                    received_ms=NOW_MS + next(world.numbers),
                ),
                refund_on=_REFUND_ON,
                keep_content=False,
                parked_max=10,
            )


def late(world: World, side: int) -> Iterable[Operation[Any]]:
    for key in world.turned(side):
        yield TakeLateAnswer(
            work(key, 3),
            Submitted(upstream=UPSTREAM, upstream_ids=(part_id(key, 3, 0), "same0")),
            now_ms=NOW_MS,
            receipt_timeout_ms=1000,
            refund_on=_REFUND_ON,
            keep_content=False,
        )


def cancelling(world: World, side: int) -> Iterable[Operation[Any]]:
    """Cancels every other message; tries the rest at once."""
    for number, key in enumerate(world.turned(side)):
        change = partial(cancel.retry_now, account_id=key[0], message_id=key[1], now_ms=NOW_MS)
        if number % 2:
            change = partial(
                cancel.cancel, account_id=key[0], message_id=key[1], now_ms=NOW_MS,
                refund_on=_REFUND_ON, keep_content=False,
            )  # fmt: skip
        yield Call(change, cancel.locks(*key, Channel.SMS))


def client(world: World, side: int) -> Iterable[Operation[Any]]:
    """What one process has had acknowledged the other puts off."""
    for number, (account, message_id) in enumerate(world.turned(side)):
        keys = [(account, system_id, message_id) for system_id in ("esme", "other")[:: 1 - 2 * side]]
        done = number % 2 == side
        yield SettleReceipts(keys if done else [], [] if done else [(NOW_MS, one) for one in keys])


def claiming(_world: World, side: int) -> Iterable[Operation[Any]]:
    """Claims what waits, frees what each other holds, makes room everywhere."""
    lanes = [LaneKey(UPSTREAM, account) for account in ACCOUNTS]
    for lane in lanes[:: 1 - 2 * side]:
        yield Sweep(partial(claim.claim, lane=lane, holder=HOLDERS[side], now_ms=NOW_MS, limit=3))
    for holder in HOLDERS[:: 1 - 2 * side]:
        yield Sweep(
            partial(held.release, holder=holder, limit=5),
            leases.locks(leases.process_lease(holder)),
        )


def purging(_world: World, side: int) -> Iterable[Operation[Any]]:
    slices = [
        partial(idempotency.purge, before_ms=NOW_MS),
        partial(receipts.purge_parts, before_ms=1),
        partial(receipts.purge_parked, before_ms=NOW_MS * 2),
        partial(known.purge, before_ms=NOW_MS * 2),
        partial(leases.purge, before_ms=NOW_MS * 2),
        *(partial(events.purge, account_id=account, before_ms=NOW_MS * 2) for account in ACCOUNTS),
        *(partial(notices.purge, account_id=account, before_ms=NOW_MS * 2) for account in ACCOUNTS),
    ]
    for purge in slices[:: 1 - 2 * side]:
        yield Sweep(partial(purge, limit=500))
    yield Sweep(partial(outbox.purge, before_ms=NOW_MS * 2, limit=4))
    yield Sweep(partial(client_receipts.purge, before_ms=1, limit=3))
    for account in ACCOUNTS[:: 1 - 2 * side]:
        yield Sweep(partial(client_receipts.drop_oldest, account_id=account, count=3))


def deleting(world: World, side: int) -> Iterable[Operation[Any]]:
    """Retention of messages: those that are final by now."""
    keys = world.turned(side)[:4]
    tables: dict[str, list[tuple[Any, ...]]] = {
        "content": [*keys],
        "delivery": [(*key, n) for key in keys for n in range(4)],
        "message": [*keys],
    }
    for table, rows in tables.items():
        sql = retention._DELETE[table]
        yield Call(partial(Tx.run_many, sql=sql, rows=rows), Locks(messages=frozenset(keys)))


def moving(world: World, side: int) -> Iterable[Operation[Any]]:
    """A note on an attempt under way; a clock that was set back."""
    keys = world.turned(side)
    messages = Locks(messages=frozenset(keys))
    rows: list[Row] = [(*key, 3) for key in keys]
    yield Call(partial(clock_set_back._move, keys=rows, now_ms=NOW_MS, back_ms=1000), messages)
    for key in keys:
        waiting = work(key, side)
        waiting.message.holder = HOLDERS[side]
        yield Call(partial(note_waiting, work=waiting, reply="slow"), Locks(messages=frozenset([key])))


def probe(_world: World, side: int) -> Iterable[Operation[Any]]:
    for octets in (10, 0, 10)[side:]:
        yield WriteProbe(octets, lambda *, written: None)


def capture(_world: World, side: int) -> Iterable[Operation[Any]]:
    _Capture._since_prune.clear()
    for account in ACCOUNTS[:: 1 - 2 * side]:
        for number in range(3):
            row = (f"{number}" * 26, "a@example.org", "[]", "x", "x", 1, NOW_MS, b"x")
            yield _Capture(account, row, NOW_MS, 2)


def login(_world: World, side: int) -> Iterable[Operation[Any]]:
    """Logins of credentials that are just being revoked."""
    turn = 1 - 2 * side
    for account, prefix in list(product(ACCOUNTS, ("p1", "p2", "p3")))[::turn]:
        yield Remember(account, CREDENTIAL, prefix, f"d{side}", NOW_MS)
        yield Call(partial(_still_there, account=account, prefix=prefix), revision.LOCK)
    for account in ACCOUNTS[::turn]:
        yield Call(partial(known.forget, account_id=account, credential_id=CREDENTIAL), revision.LOCK)


def _still_there(tx: Tx, account: str, prefix: str) -> None:
    known.touch(tx, account, CREDENTIAL, prefix, NOW_MS * 2)


# --- around it ------------------------------------------------------------------------------------------


def credit(_world: World, side: int) -> Iterable[Operation[Any]]:
    """Voids lots, confirms a recharge, purchases under keys that messages use, too."""
    terms = Terms(settings=Credit())
    for account in ACCOUNTS[:: 1 - 2 * side]:
        lots = ledger.locks([(account, "sms")])
        yield Call(partial(ledger.void_expired, account_id=account, product="sms", now_ms=NOW_MS), lots)
        yield Call(partial(_confirm, account=account, terms=terms), lots)
        for number in (0, 1)[:: 1 - 2 * side]:
            key = IdempotencyKey(f"key{number}", b"digest", NOW_MS * 2)
            both = ledger.locks([(account, "sms"), (account, "mail")])
            yield Call(partial(_purchase, account=account, key=key), both)


def _confirm(tx: Tx, account: str, terms: Terms) -> None:
    order = orders.find(tx, account, "o" * 26)
    assert order is not None
    orders.move(tx, order, "confirmed", now_ms=NOW_MS, terms=terms)


def _purchase(tx: Tx, account: str, key: IdempotencyKey) -> None:
    if idempotency.find(tx, account, key, now_ms=NOW_MS) is None:
        idempotency.keep(tx, account, key, "[]", now_ms=NOW_MS)


def lease(_world: World, side: int) -> Iterable[Operation[Any]]:
    names = [f"bind:{number}" for number in range(4)][:: 1 - 2 * side]
    for name in names:
        take = partial(leases.take, name=name, holder=HOLDERS[side], now_ms=NOW_MS, lease_ms=side)
        yield Call(take, leases.locks(name))
    yield Call(partial(_drop, names=names, holder=HOLDERS[side]), leases.locks(*names))


def _drop(tx: Tx, names: list[str], holder: str) -> None:
    for name in names:
        leases.drop(tx, name, holder)


def telling_accounts(world: World, side: int) -> Iterable[Operation[Any]]:
    """Debits that queue the notices of the day, and both processes at those that wait."""
    turn = 1 - 2 * side
    for account in ACCOUNTS[::turn]:
        for name in ("sms", "mail")[::turn]:
            low = {"product": name, "balance": side, "below": 9}
            tell = partial(recharge._tell_low, account_id=account, detail=low, now_ms=NOW_MS)
            yield Call(tell, ledger.locks([(account, name)]))
    yield Sweep(partial(_send, world=world, turn=turn))


def _send(tx: Tx, world: World, turn: int) -> None:
    waiting = notices.waiting(tx, 100)[::turn]
    told = [_Told(one, world.message(one.account_id, Channel.MAIL)) for one in waiting]
    write_notices(tx, told, NOW_MS)


def sealing(_world: World, side: int) -> Iterable[Operation[Any]]:
    """The chains that both write, one under its owner's lock and one under its own alone."""
    for account in ACCOUNTS[:: 1 - 2 * side]:
        for name, owner in ((f"posting:{account}", ledger.locks([(account, "sms")])), ("audit", NOTHING)):
            digests = [chain.digest([side, number]) for number in range(3)]
            seal = partial(chain.seal, name=name, digests=digests, now_ms=NOW_MS)
            yield Call(seal, Locks.all_of([chain.locks(name), owner]))


def cached(_world: World, _side: int) -> Iterable[Operation[Any]]:
    for _ in range(3):
        yield Call(revision.bump, revision.LOCK)
    for account in ACCOUNTS:
        yield Call(partial(_disable, hook=(account, HOOK)), revision.LOCK)


def _disable(tx: Tx, hook: queue.Hook) -> None:
    revision.bump(tx)
    queue.disable(tx, hook, "no")


def hook(_world: World, side: int) -> Iterable[Operation[Any]]:
    """Claims, settles what the other may have claimed, replays, drops."""
    for account in ACCOUNTS[:: 1 - 2 * side]:
        due = [
            queue.Due(
                account_id=account, webhook_id=HOOK, id=telling("waiting", number), url="", secret="",
                body="{}", attempts=0, queued_ms=0,
            )
            for number in range(6)
        ][:: 1 - 2 * side]  # fmt: skip
        locks = queue.locks((account, HOOK))
        for one in due[:3]:
            settle_one = partial(queue.settle, claimed=one, status="waiting", next_attempt_ms=1, reply="no")
            yield Call(settle_one, locks)
        yield Sweep(partial(queue.claim, due=due, now_ms=NOW_MS, lease_ms=1000))
        yield Sweep(partial(queue.drop, hooks=[(account, HOOK)], reply="gone"))


Scene = Callable[[World, int], Iterable[Operation[Any]]]
SCENES: dict[str, tuple[type[Operation[Any]], Scene]] = {
    "accept": (AcceptMessages, accept),
    "settle": (SettleDeliveries, settle),
    "receipts": (ApplyReceipts, receipt),
    "late": (TakeLateAnswer, late),
    "cancel": (Call, cancelling),
    "client": (SettleReceipts, client),
    "claim": (Sweep, claiming),
    "purge": (Sweep, purging),
    "delete": (Call, deleting),
    "move": (Call, moving),
    "probe": (WriteProbe, probe),
    "login": (Remember, login),
    "capture": (_Capture, capture),
    "credits": (Call, credit),
    "notices": (Call, telling_accounts),
    "leases": (Call, lease),
    "chains": (Call, sealing),
    "revision": (Call, cached),
    "webhooks": (Call, hook),
}
