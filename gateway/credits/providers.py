"""Payment providers: a port, and `invoice`, the embedded one. The gateway never sees card data (R17)."""

from typing import Literal, Protocol

from gateway.credits.orders import Order
from gateway.credits.tables import OrderStatus


class PaymentProvider(Protocol):
    """Charges an order. Asked again for the same order id, it must not charge again."""

    name: str

    async def charge(self, order: Order) -> OrderStatus:
        """The state of the charge; "unknown" when the provider did not answer: it is asked before a retry."""
        ...


class Invoice:
    """The operator confirms by hand (`gateway credit confirm`), or configuration confirms at once (R18)."""

    name = "invoice"

    def __init__(self, confirm: Literal["operator", "at-once"]) -> None:
        self._confirm = confirm

    async def charge(self, order: Order) -> OrderStatus:
        """Pending until the operator has the money, unless invoices are trusted beforehand."""
        del order
        return "confirmed" if self._confirm == "at-once" else "pending"
