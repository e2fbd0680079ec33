"""The ledger under any order of grant, debit, refund, expiry and recharge: it balances (A2, R2–R6, R12)."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine

from config.sections.credits import Credit
from gateway.credits import ledger, orders
from gateway.credits.tables import OrderStatus
from gateway.credits.terms import Terms
from gateway.store import postgresql, schema, sqlite
from gateway.store.tx import Tx
from tests.postgres_server import PostgresServer
from tests.support.databases import fresh_database
from tests.world import ACCOUNT

DAY_MS = 86_400_000
PRODUCT = "mail"


@contextmanager
def on_sqlite() -> Iterator[Engine]:
    """A new SQLite database."""
    with tempfile.TemporaryDirectory() as folder:
        engine, readers = sqlite.open_engines(Path(folder) / "ledger.db", busy_timeout_s=5)
        schema.upgrade(engine)
        yield engine
        engine.dispose()
        readers.dispose()


class LedgerMachine(RuleBasedStateMachine):
    """Drives the real ledger on a real database beside a model of a few numbers."""

    database = staticmethod(on_sqlite)

    @initialize()
    def open(self) -> None:
        self.opened = self.database()
        self.engine = self.opened.__enter__()
        self.connection = self.engine.connect()
        self.tx = Tx(self.connection)
        self.now_ms = 1_790_000_000_000
        self.terms = Terms(
            settings=replace(
                Credit(), mail_life_days=3, recharge_amount=50, recharge_threshold=20, recharge_daily_cap=200
            )
        )
        self.granted = self.spent = self.refunded = 0
        self.debits: list[tuple[list[tuple[str, int]], int]] = []

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()
            self.opened.__exit__(None, None, None)

    def balance(self) -> int:
        return ledger.balances(self.tx, ACCOUNT, now_ms=self.now_ms).get(PRODUCT, 0)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A transaction that begins as a batch of the writer does."""
        with self.connection.begin():
            self.tx.lock(ledger.locks([(ACCOUNT, PRODUCT)]))
            yield

    @rule(credits=st.integers(1, 60))
    def grant(self, credits: int) -> None:
        with self.connection.begin():
            ledger.grant(
                self.tx,
                ACCOUNT,
                PRODUCT,
                credits,
                source="grant",
                now_ms=self.now_ms,
                expires_ms=self.terms.expires_ms(PRODUCT, self.now_ms),
            )
        self.granted += credits

    @rule(prices=st.lists(st.integers(1, 30), min_size=1, max_size=5))
    def debit(self, prices: list[int]) -> None:
        with self.locked():
            before = self.balance()
            done = ledger.debit(self.tx, ACCOUNT, PRODUCT, prices, now_ms=self.now_ms, terms=self.terms)
            after = self.balance()
        taken = 0
        left = before
        for price, parts in zip(prices, done.parts, strict=True):
            if parts is None:
                assert price > left, "refused though the balance covered it"
                continue
            assert sum(credits for _, credits in parts) == price
            taken += price
            left -= price
            self.debits.append((parts, self.now_ms))
        assert after == before - taken == done.balance
        self.spent += taken

    @precondition(lambda self: bool(getattr(self, "debits", None)))
    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        parts, at_ms = self.debits.pop(data.draw(st.integers(0, len(self.debits) - 1)))
        total = sum(credits for _, credits in parts)
        with self.locked():
            before = self.balance()
            ledger.refund(self.tx, ACCOUNT, PRODUCT, parts, debited_ms=at_ms, now_ms=self.now_ms, note="test")
            assert self.balance() == before + total  # R6: even from a lot that has expired since
        self.refunded += total

    @rule(hours=st.integers(1, 60))
    def time_passes(self, hours: int) -> None:
        self.now_ms += hours * 3_600_000

    @rule()
    def void(self) -> None:
        with self.locked():
            for account_id, product in ledger.with_expired(self.tx, now_ms=self.now_ms):
                ledger.void_expired(self.tx, account_id, product, now_ms=self.now_ms)
            assert ledger.with_expired(self.tx, now_ms=self.now_ms) == []

    @rule(enabled=st.booleans())
    def switch_recharge(self, enabled: bool) -> None:
        with self.connection.begin():
            self.tx.run(
                "INSERT INTO credit_setting (account_id, product, recharge_enabled) VALUES (?, ?, ?) "
                "ON CONFLICT (account_id, product) "
                "DO UPDATE SET recharge_enabled = excluded.recharge_enabled",
                (ACCOUNT, PRODUCT, int(enabled)),
            )

    @rule(confirmed=st.booleans())
    def settle_orders(self, confirmed: bool) -> None:
        with self.locked():
            for order in orders.listing(self.tx, ACCOUNT, statuses=("created",)):
                status: OrderStatus = "confirmed" if confirmed else "declined"
                assert orders.move(self.tx, order, status, now_ms=self.now_ms, terms=self.terms)
                assert not orders.move(self.tx, order, status, now_ms=self.now_ms, terms=self.terms)
                self.granted += order.credits if confirmed else 0

    @invariant()
    def the_books_balance(self) -> None:
        """Postings sum to what remains, nothing is made or lost, one recharge is open at most."""
        if not hasattr(self, "tx"):
            return
        with self.connection.begin():
            unbalanced = ledger.unbalanced(self.tx)
            expired = self.tx.one("SELECT coalesce(sum(credits), 0) FROM posting WHERE kind = 'expired'")
            lots = self.tx.one("SELECT coalesce(sum(remaining), 0), coalesce(min(remaining), 0) FROM lot")
            open_orders = orders.listing(self.tx, ACCOUNT, statuses=("created", "pending", "unknown"))
        assert unbalanced == []
        assert expired is not None
        assert lots is not None
        assert lots[0] == self.granted - self.spent + self.refunded + expired[0]
        assert lots[1] >= 0
        assert len(open_orders) <= 1


_SETTINGS = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_ledger_balances_on_sqlite() -> None:
    run_state_machine_as_test(LedgerMachine, settings=_SETTINGS)


def test_the_ledger_balances_on_postgresql(postgresql: PostgresServer) -> None:
    run_state_machine_as_test(on_postgresql(postgresql), settings=settings(_SETTINGS, max_examples=15))


def on_postgresql(server: PostgresServer) -> type[LedgerMachine]:
    """The machine on a new database of `server` for every run."""

    @contextmanager
    def database() -> Iterator[Engine]:
        with fresh_database(server) as url:
            engine, readers = store_engines(url)
            yield engine
            engine.dispose()
            readers.dispose()

    class OnPostgresql(LedgerMachine):
        """On PostgreSQL."""

    OnPostgresql.database = staticmethod(database)
    return OnPostgresql


def store_engines(url: str) -> tuple[Engine, Engine]:
    """The engines of a PostgreSQL database."""
    return postgresql.open_engines(url, password=None, holder="ledger")
