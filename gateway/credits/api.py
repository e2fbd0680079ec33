"""/v1/credits: balances, lots, postings, purchases and auto-recharge (R2–R9, R13, R15)."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.credits import examples
from gateway.credits.orders import Order
from gateway.credits.service import Credits
from gateway.credits.terms import PRODUCTS
from gateway.http.gate import cursors
from gateway.http.gate.idempotency import REPLAYED, bound_key, given_key
from gateway.http.gate.operation import Operation
from gateway.http.gate.paging import Page, given, one_of
from gateway.http.gate.times import moment, moment_or_none
from gateway.http.wire import kinds
from gateway.http.wire.call import Call, Reply, json_reply
from gateway.http.wire.problem import Problem

_POSTINGS = "postings"
_CREDITS_MAX = 1_000_000_000_000

Product = Literal["mail", "sms", "validation", "query"]
_Credits = Annotated[int, msgspec.Meta(ge=0, le=_CREDITS_MAX)]
_SomeCredits = Annotated[int, msgspec.Meta(ge=1, le=_CREDITS_MAX)]


class ProductQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Of which product."""

    product: Product | UnsetType = UNSET


class PostingQuery(Page, kw_only=True, forbid_unknown_fields=True):
    """Which postings to list."""

    product: Product | UnsetType = UNSET


class Recharge(msgspec.Struct, frozen=True, kw_only=True):
    """Auto-recharge of a product: below `threshold`, buy `amount`. `low_balance`: when to tell."""  # R8, R13

    enabled: bool
    threshold: int
    amount: int
    daily_cap: int
    low_balance: int


class RechargeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The settings; what is left out takes the gateway's default."""

    enabled: bool
    threshold: _Credits | None = None
    amount: _SomeCredits | None = None
    daily_cap: _SomeCredits | None = None
    low_balance: _Credits | None = None


class CreditsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What can be spent, by product, and the recharge settings of each."""

    balances: dict[Product, int]
    recharge: dict[Product, Recharge]


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """Credits released together, with an expiry of their own."""  # R2

    id: str
    product: Product
    source: str
    granted: int
    remaining: int
    released_at: datetime
    expires_at: datetime | None
    order_id: str | None


class LotList(msgspec.Struct, frozen=True, kw_only=True):
    """The lots with something left, in the order they are burnt."""  # R3

    items: list[Lot]
    next: str | None


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the books; `credits` has a sign. `messages`: how many a debit paid for."""

    id: str
    product: Product
    lot_id: str
    kind: Literal["grant", "debit", "refund", "expired"]
    credits: int
    messages: int
    note: str | None
    at: datetime


class PostingList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of postings, the newest first."""

    items: list[Posting]
    next: str | None


class PurchaseRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A one-click purchase."""  # R15

    product: Product
    credits: _SomeCredits
    provider: Annotated[str, msgspec.Meta(max_length=24)] = "invoice"


class OrderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase or recharge; its credits are there once it is confirmed."""  # R5

    id: str
    product: Product
    credits: int
    provider: str
    reason: Literal["purchase", "recharge"]
    status: str
    note: str | None
    created_at: datetime
    settled_at: datetime | None


class OrderList(msgspec.Struct, frozen=True, kw_only=True):
    """Orders, the newest first."""

    items: list[OrderAnswer]
    next: str | None


_PURCHASE = msgspec.json.Decoder(PurchaseRequest)
_RECHARGE = msgspec.json.Decoder(RechargeRequest)


async def get_credits(call: Call) -> Reply:
    """Balances and recharge settings."""
    credits = call.service(Credits)
    balances = await credits.balances(call.account_id)
    settings = await credits.recharge_settings(call.account_id)
    return json_reply(
        {
            "balances": balances,
            "recharge": {product: Recharge(**setting) for product, setting in settings.items()},
        }
    )


async def list_lots(call: Call) -> Reply:
    """Lots with something left."""
    query = call.query(ProductQuery)
    rows = await call.service(Credits).lots(call.account_id, given(query.product))
    lots = [
        Lot(
            id=row["id"],
            product=row["product"],
            source=row["source"],
            granted=row["granted"],
            remaining=row["remaining"],
            released_at=moment(row["released_ms"]),
            expires_at=moment_or_none(row["expires_ms"]),
            order_id=row["order_id"],
        )
        for row in rows
    ]
    return json_reply(LotList(items=lots, next=None))


async def list_postings(call: Call) -> Reply:
    """A page of the books."""
    query = call.query(PostingQuery)
    before = cursors.decode(_POSTINGS, call.account_id, given(query.cursor))
    rows = await call.service(Credits).postings(
        call.account_id, product=given(query.product), before=before, limit=query.limit + 1
    )
    items = [
        Posting(
            id=row["id"],
            product=row["product"],
            lot_id=row["lot_id"],
            kind=row["kind"],
            credits=row["credits"],
            messages=row["messages"],
            note=row["note"],
            at=moment(row["at_ms"]),
        )
        for row in rows[: query.limit]
    ]
    more = len(rows) > query.limit
    cursor = cursors.encode(_POSTINGS, call.account_id, items[-1].id) if more else None
    return json_reply(PostingList(items=items, next=cursor))


async def purchase(call: Call) -> Reply:
    """Orders credits and charges at once."""
    key = given_key(call)
    request = await call.json(_PURCHASE)
    order, replayed = await call.service(Credits).purchase_once(
        call.account_id,
        request.product,
        request.credits,
        provider=request.provider,
        key=bound_key(call, key),
    )
    return json_reply(_order(order), 201, [REPLAYED] if replayed else [])


async def list_orders(call: Call) -> Reply:
    """The account's orders."""
    orders = await call.service(Credits).orders(call.account_id)
    return json_reply(OrderList(items=[_order(order) for order in orders], next=None))


async def put_recharge(call: Call) -> Reply:
    """Sets auto-recharge of one product."""
    product = call.params["product"]
    if product not in PRODUCTS:
        raise Problem(kinds.NOT_FOUND, f"There is no such product. Products are {', '.join(PRODUCTS)}.")
    request = await call.json(_RECHARGE)
    credits = call.service(Credits)
    await credits.set_recharge(
        call.account_id,
        product,
        enabled=request.enabled,
        threshold=request.threshold,
        amount=request.amount,
        daily_cap=request.daily_cap,
        low_balance=request.low_balance,
    )
    settings = await credits.recharge_settings(call.account_id)
    return json_reply(Recharge(**settings[product]))


def _order(order: Order) -> OrderAnswer:
    return OrderAnswer(
        id=order.id,
        product=order.product,  # type: ignore[arg-type]  # our own words, of bounded sets
        credits=order.credits,
        provider=order.provider,
        reason=order.reason,  # type: ignore[arg-type]  # our own words, of bounded sets
        status=order.status,
        note=order.note,
        created_at=moment(order.created_ms),
        settled_at=moment_or_none(order.settled_ms),
    )


OPERATIONS = (
    Operation(
        id="getCredits",
        method="GET",
        path="/v1/credits",
        handler=get_credits,
        tag="Credits",
        summary="Balances and recharge settings, by product",
        scope="credits:read",
        answer=CreditsAnswer,
        answer_example=examples.CREDITS,
    ),
    Operation(
        id="listLots",
        method="GET",
        path="/v1/credits/lots",
        handler=list_lots,
        tag="Credits",
        summary="Lots with something left",
        scope="credits:read",
        query=ProductQuery,
        answer=LotList,
        answer_example=one_of(examples.LOT),
    ),
    Operation(
        id="listPostings",
        method="GET",
        path="/v1/credits/postings",
        handler=list_postings,
        tag="Credits",
        summary="The books, the newest posting first",
        scope="credits:read",
        query=PostingQuery,
        answer=PostingList,
        answer_example=one_of(examples.POSTING),
        problems=(400,),
    ),
    Operation(
        id="purchaseCredits",
        method="POST",
        path="/v1/credits/purchases",
        handler=purchase,
        tag="Credits",
        summary="Buy credits",
        description="The credits are there once the order is confirmed; with invoices the operator does "
        "that, unless the gateway trusts them beforehand. A large quantity needs a quote.",  # R9
        scope="credits:write",
        body=PurchaseRequest,
        body_examples={"sms": examples.PURCHASE},
        status=201,
        answer=OrderAnswer,
        answer_example=examples.ORDER,
        problems=(400, 409),
        idempotent=True,
    ),
    Operation(
        id="listOrders",
        method="GET",
        path="/v1/credits/orders",
        handler=list_orders,
        tag="Credits",
        summary="Purchases and recharges, the newest first",
        scope="credits:read",
        answer=OrderList,
        answer_example=one_of(examples.ORDER),
    ),
    Operation(
        id="putRecharge",
        method="PUT",
        path="/v1/credits/recharge/{product}",
        handler=put_recharge,
        tag="Credits",
        summary="Set auto-recharge of a product",
        description="Below `threshold`, `amount` is bought, at most `daily_cap` a day.",
        scope="credits:write",
        params={"product": "One of mail, sms, validation, query."},
        body=RechargeRequest,
        body_examples={"on": {"enabled": True, "threshold": 100, "amount": 2000}},
        answer=Recharge,
        answer_example=examples.RECHARGE,
        problems=(404,),
    ),
)
