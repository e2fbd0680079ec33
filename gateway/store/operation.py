"""An operation: one thing to write, and how many of a kind are written in one go."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from gateway.store.locks import NOTHING, Conflict, Locks
from gateway.store.tx import Tx

T = TypeVar("T")

LAST = 9
"""The priority of what takes rows without having locked them first, and therefore may wait for none."""


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
    def locks(cls, tx: Tx, operations: Sequence[Any]) -> Locks:
        """What `operations` must have locked before anything is changed (`gateway.store.locks`).

        Asked where several processes write, in the batch's own transaction, which holds nothing yet: it may
        read what tells, and must change nothing.
        """
        del tx, operations
        return NOTHING

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

    def __init__(self, function: Callable[[Tx], T], locks: Locks = NOTHING) -> None:
        self.function = function
        self.wanted = locks

    @classmethod
    def locks(cls, tx: Tx, operations: "Sequence[Call[Any]]") -> Locks:
        del tx
        return Locks.all_of(operation.wanted for operation in operations)

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[Call[Any]]") -> list[Any]:
        results: list[Any] = []
        for operation in operations:
            try:
                with tx.connection.begin_nested():
                    results.append(operation.function(tx))
            except Exception as error:
                tx.remembered.forget()
                if tx.is_database_error(error) or isinstance(error, Conflict):
                    raise
                results.append(error)  # it belongs to the caller, who gets it whole
        return results


class Sweep(Call[T]):
    """A function that takes rows which nobody else is at (`Tx.skip_locked`), after all else of its batch."""

    priority = LAST
