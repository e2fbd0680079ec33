"""An operation: one thing to write, and how many of a kind are written in one go."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from gateway.store.tx import Conflict, Tx

T = TypeVar("T")


class Operation(Generic[T]):
    """One thing to write. Subclasses say how many of them are written in one go.

    `committed` or `failed` runs on the event loop, before the future resolves and even when the caller has
    gone away: what a commit obliges us to do must not depend on who still listens.
    """

    priority: ClassVar[int] = 1  # lower runs first within a batch
    account_id: str = ""
    """Whose it is, for fairness; "": nobody's."""
    future: "asyncio.Future[T] | None" = None
    urgent = False
    weight = 1_000
    """How long it takes, as a number of deliveries whose few small rows are written by their keys, or of
    16 KiB of content.
    """

    @classmethod
    def locks(cls, operations: Sequence[Any]) -> Collection[str]:
        """What `operations` must have locked before the batch begins; asked where several processes write."""
        del operations
        return ()

    @classmethod
    def run_batch(cls, tx: Tx, operations: Sequence[Any]) -> list[Any]:
        """Runs all `operations` inside the open transaction: one result (or exception) each, in order.

        May be run again after a rollback: it must not keep anything but its last results.
        """
        raise NotImplementedError

    def committed(self, result: T) -> None:
        """Called on the event loop after COMMIT with the operation's own result."""

    def failed(self, error: Exception) -> None:
        """Called on the event loop when the operation was not written, or raised `error` itself."""


class Call(Operation[T]):
    """Any function of a transaction, in a savepoint of its own; what it raises reaches its caller alone."""

    def __init__(self, function: Callable[[Tx], T]) -> None:
        self.function = function

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[Call[Any]]") -> list[Any]:
        results: list[Any] = []
        for operation in operations:
            try:
                with tx.connection.begin_nested():
                    results.append(operation.function(tx))
            except Exception as error:
                if tx.is_database_error(error) or isinstance(error, Conflict):
                    raise
                results.append(error)  # it belongs to the caller, who gets it whole
        return results
