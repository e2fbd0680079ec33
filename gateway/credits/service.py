"""Credits as the API, the command line and the road use them: balances, purchases, recharges, grants.

Orders that a debit created (R13) are charged here, after the commit; those that a crash left behind are
charged at the next start. Charging is repeatable, because an order leaves the open states only once.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import structlog
from sqlalchemy import select

from gateway.clock import Clock
from gateway.credits import ledger, orders
from gateway.credits.orders import Order, OrderError
from gateway.credits.providers import PaymentProvider
from gateway.credits.tables import OPEN, OrderStatus, credit_setting, lot, posting
from gateway.credits.terms import PRODUCTS, Terms
from gateway.store import idempotency
from gateway.store.idempotency import IdempotencyKey
from gateway.store.locks import NOTHING
from gateway.store.store import Store
from gateway.store.tx import Tx

log = structlog.get_logger(__name__)

_SET = """
INSERT INTO credit_setting (account_id, product, recharge_enabled, recharge_threshold, recharge_amount,
  recharge_daily_cap, low_balance)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account_id, product) DO UPDATE SET recharge_enabled = excluded.recharge_enabled,
  recharge_threshold = excluded.recharge_threshold, recharge_amount = excluded.recharge_amount,
  recharge_daily_cap = excluded.recharge_daily_cap, low_balance = excluded.low_balance
"""
_BALANCES_REMEMBERED = 100_000
_UNANSWERED = ("created", "unknown")
_UNDER_WAY_MS = 30_000  # a charge may take so long


class Credits:
    """The service. Balances that it remembers are hints for early refusals, never the basis of a debit."""

    def __init__(
        self, store: Store, clock: Clock, terms: Terms, providers: Mapping[str, PaymentProvider]
    ) -> None:
        self._store = store
        self._clock = clock
        self.terms = terms
        self._providers = providers
        self._known: dict[tuple[str, str], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- balances ------------------------------------------------------------------------------------

    async def balances(self, account_id: str) -> dict[str, int]:
        """What can be spent now, a number for every product (R2)."""
        now_ms = self._clock.now_ms()
        found = await self._store.read(lambda tx: ledger.balances(tx, account_id, now_ms=now_ms))
        return {product: found.get(product, 0) for product in PRODUCTS}

    def learn_balance(self, account_id: str, product: str, balance: int) -> None:
        """Remembers a balance that a commit reported."""
        if len(self._known) >= _BALANCES_REMEMBERED:
            self._known.clear()
        self._known[account_id, product] = balance

    def peek_covers(self, account_id: str, product: str, credits: int) -> bool:
        """Whether a price is known to be covered; False: ask `covers`."""
        known = self._known.get((account_id, product))
        return known is not None and known >= credits

    async def covers(self, account_id: str, product: str, credits: int) -> bool:
        """Whether a price would be covered, as far as is known; a doubtful no is checked in the store."""
        known = self._known.get((account_id, product))
        if known is not None and known >= credits:
            return True
        balance = (await self.balances(account_id))[product]
        self.learn_balance(account_id, product, balance)
        return balance >= credits

    async def lots(self, account_id: str, product: str | None = None) -> list[dict[str, Any]]:
        """The account's lots with something left, oldest release first (R3)."""
        query = (
            select(lot)
            .where(lot.c.account_id == account_id, lot.c.remaining > 0)
            .order_by(lot.c.product, lot.c.released_ms, lot.c.id)
            .limit(1000)
        )
        if product is not None:
            query = query.where(lot.c.product == product)
        return await self._store.read(lambda tx: [dict(row) for row in tx.mappings(query)])

    async def postings(
        self, account_id: str, *, product: str | None, before: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """Postings, the newest first, from before the id `before` (R8)."""
        query = select(posting).where(posting.c.account_id == account_id)
        if product is not None:
            query = query.where(posting.c.product == product)
        if before is not None:
            query = query.where(posting.c.id < before)
        query = query.order_by(posting.c.id.desc()).limit(limit)
        return await self._store.read(lambda tx: [dict(row) for row in tx.mappings(query)])

    # --- releasing -----------------------------------------------------------------------------------

    async def grant(self, account_id: str, product: str, credits: int, *, note: str | None = None) -> str:
        """The operator releases credits without an order; the lot's id. Raises OrderError."""
        if product not in PRODUCTS:
            raise OrderError(f"product: {product!r} is none of {', '.join(PRODUCTS)}")
        if credits <= 0:
            raise OrderError(
                f"credits: {credits} is not a positive number; credits are spent by sending only"
            )
        now_ms = self._clock.now_ms()
        return await self._store.write(
            lambda tx: ledger.grant(
                tx,
                account_id,
                product,
                credits,
                source="grant",
                now_ms=now_ms,
                expires_ms=self.terms.expires_ms(product, now_ms),
                note=note,
            )
        )

    def welcome(self, tx: Tx, account_id: str) -> None:
        """The free credits of a new account (R11), in the transaction that makes it."""
        credits = self.terms.settings.free_mail_credits
        if credits:
            now_ms = self._clock.now_ms()
            ledger.grant(
                tx,
                account_id,
                "mail",
                credits,
                source="free",
                now_ms=now_ms,
                expires_ms=self.terms.expires_ms("mail", now_ms),
            )

    async def purchase(
        self, account_id: str, product: str, credits: int, *, provider: str = "invoice"
    ) -> Order:
        """One-click purchase (R15): orders and charges at once. Raises OrderError."""
        order, _ = await self.purchase_once(account_id, product, credits, provider=provider, key=None)
        return order

    async def purchase_once(
        self, account_id: str, product: str, credits: int, *, provider: str, key: IdempotencyKey | None
    ) -> tuple[Order, bool]:
        """A purchase, and whether it was made before under the same key: then it is that order as it is now.

        Raises OrderError and KeyReused.
        """
        if provider not in self._providers:
            raise OrderError(f"provider: {provider!r} is none of {', '.join(self._providers)}")
        now_ms = self._clock.now_ms()

        def create(tx: Tx) -> tuple[str, bool]:
            earlier = None if key is None else idempotency.find(tx, account_id, key, now_ms=now_ms)
            if earlier is not None:
                return earlier, True
            order_id = orders.create(
                tx,
                account_id,
                product,
                credits,
                provider=provider,
                now_ms=now_ms,
                terms=self.terms,
            )
            if key is not None:
                idempotency.keep(tx, account_id, key, order_id, now_ms=now_ms)
            return order_id, False

        # The key's, too: it may have been given to a message of either product.
        locks = NOTHING if key is None else ledger.locks([(account_id, one) for one in PRODUCTS])
        order_id, replayed = await self._store.write(create, locks=locks)
        return await (self._order if replayed else self._charge)(account_id, order_id), replayed

    async def settle_order(self, account_id: str, order_id: str, *, confirmed: bool) -> Order:
        """The operator's word on an open order: the money is there, or will not come. Raises OrderError."""
        order = await self._order(account_id, order_id)
        return await self._move(order, "confirmed" if confirmed else "declined")

    async def orders(self, account_id: str | None = None, *, open_only: bool = False) -> list[Order]:
        """Orders, the newest first."""
        statuses = OPEN if open_only else ()
        return await self._store.read(lambda tx: orders.listing(tx, account_id, statuses=statuses))

    # --- recharge ------------------------------------------------------------------------------------

    async def recharge_settings(self, account_id: str) -> dict[str, dict[str, Any]]:
        """Auto-recharge and low-balance settings of each product, defaults filled in (R8, R13)."""
        query = select(credit_setting).where(credit_setting.c.account_id == account_id)
        rows = await self._store.read(lambda tx: {row["product"]: dict(row) for row in tx.mappings(query)})
        return {product: self._setting(rows.get(product, {})) for product in PRODUCTS}

    def _setting(self, row: Mapping[str, Any]) -> dict[str, Any]:
        defaults = self.terms.settings

        def value(column: str, default: int) -> int:
            found = row.get(column)
            return default if found is None else int(found)

        return {
            "enabled": bool(row.get("recharge_enabled", 0)),
            "threshold": value("recharge_threshold", defaults.recharge_threshold),
            "amount": value("recharge_amount", defaults.recharge_amount),
            "daily_cap": value("recharge_daily_cap", defaults.recharge_daily_cap),
            "low_balance": value("low_balance", defaults.low_balance_threshold),
        }

    async def set_recharge(
        self,
        account_id: str,
        product: str,
        *,
        enabled: bool,
        threshold: int | None = None,
        amount: int | None = None,
        daily_cap: int | None = None,
        low_balance: int | None = None,
    ) -> None:
        """Sets auto-recharge of a product; None takes the configured default. Raises OrderError."""
        if product not in PRODUCTS:
            raise OrderError(f"product: {product!r} is none of {', '.join(PRODUCTS)}")
        for name, number, least in (
            ("threshold", threshold, 0),
            ("amount", amount, 1),
            ("daily_cap", daily_cap, 1),
            ("low_balance", low_balance, 0),
        ):
            if number is not None and number < least:
                raise OrderError(f"{name}: {number} is less than {least}")
        row = (account_id, product, int(enabled), threshold, amount, daily_cap, low_balance)
        await self._store.write(lambda tx: tx.run(_SET, row), locks=ledger.locks([(account_id, product)]))

    def charge_soon(self, account_id: str, order_id: str) -> None:
        """Charges an order that a debit has just created, without keeping the debit waiting."""
        task = asyncio.get_running_loop().create_task(self._charge_quietly(account_id, order_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reconcile(self) -> None:
        """Asks the providers again for the orders that a crash left uncharged, or that had no answer.

        Younger ones are left to whoever is charging them just now.
        """
        before_ms = self._clock.now_ms() - _UNDER_WAY_MS
        for order in await self._store.read(lambda tx: orders.listing(tx, statuses=_UNANSWERED)):
            if order.created_ms <= before_ms:
                await self._charge_quietly(order.account_id, order.id)

    async def void_expired(self) -> None:
        """Voids lots whose life is over, so that the books show it even without traffic (R4)."""
        now_ms = self._clock.now_ms()
        for account_id, product in await self._store.read(lambda tx: ledger.with_expired(tx, now_ms=now_ms)):
            await self._store.write(
                partial(ledger.void_expired, account_id=account_id, product=product, now_ms=now_ms),
                locks=ledger.locks([(account_id, product)]),
            )

    async def unbalanced(self) -> list[tuple[Any, ...]]:
        """Lots whose postings do not sum to what remains; always empty (A2)."""
        return await self._store.read(ledger.unbalanced)

    async def stop(self) -> None:
        """Waits for charges under way."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=10.0)

    # --- inside --------------------------------------------------------------------------------------

    async def _charge_quietly(self, account_id: str, order_id: str) -> None:
        try:
            order = await self._charge(account_id, order_id)
        except Exception:
            log.exception("charge_broke", order_id=order_id)
            return
        log.info("recharge_charged", order_id=order_id, product=order.product, status=order.status)

    async def _charge(self, account_id: str, order_id: str) -> Order:
        order = await self._order(account_id, order_id)
        return await self._move(order, await self._providers[order.provider].charge(order))

    async def _move(self, order: Order, status: OrderStatus) -> Order:
        now_ms = self._clock.now_ms()
        moved = await self._store.write(
            lambda tx: orders.move(tx, order, status, now_ms=now_ms, terms=self.terms),
            locks=ledger.locks([(order.account_id, order.product)]),
        )
        if not moved:
            raise OrderError(f"order {order.id} is {order.status} and cannot become {status}")
        self._known.pop((order.account_id, order.product), None)
        return await self._order(order.account_id, order.id)

    async def _order(self, account_id: str, order_id: str) -> Order:
        order = await self._store.read(lambda tx: orders.find(tx, account_id, order_id))
        if order is None:
            raise OrderError(f"order {order_id} does not exist for this account")
        return order
