"""The writer's connection: one batch is one transaction, and its end is always known.

What SQLite adds (statements and COMMIT on two threads) is in `gateway.store.sqlite`; what PostgreSQL adds
(locks first, deadlocks, lost connections, and the COMMIT whose answer never came) in
`gateway.store.postgresql`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine

from gateway.store.locks import Locks
from gateway.store.tx import Listener, Tx

Work = Callable[[Tx], list[Any]]
Plan = Callable[[Tx], Locks]


class Lost(Exception):
    """The connection broke. `committing`: while it committed, so that the batch may be in or not.

    `results` are those of the batch, should it be in.
    """

    def __init__(self, cause: Exception, *, committing: bool, results: list[Any]) -> None:
        super().__init__(str(cause))
        self.committing = committing
        self.results = results


class WriterSession(ABC):
    """The writer's one open connection."""

    def __init__(self, engine: Engine, listeners: Sequence[Listener] = ()) -> None:
        self._engine = engine
        self._listeners = listeners
        self._connection: Connection | None = None
        self._tx: Tx | None = None

    @property
    def shared(self) -> bool:
        """Whether other processes write into the same database at the same time."""
        return self.tx.shared

    @property
    def tx(self) -> Tx:
        """The transaction's view of the connection; `open` comes first."""
        if self._tx is None:
            raise RuntimeError("the session is not open")
        return self._tx

    def forget(self) -> None:
        """Has the next transaction read again what it remembers; from any thread."""
        if self._tx is not None:
            self._tx.remembered.forget()

    def open(self) -> None:
        """Connects. Raises what the driver raises."""
        self._connection = self._engine.connect()
        self._tx = Tx(self._connection, self._listeners)

    def reopen(self) -> bool:
        """Connects again after a loss; False: it is to be tried later."""
        raise NotImplementedError

    def confirmed(self) -> bool:
        """After `reopen`: whether the batch is in whose COMMIT got no answer."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @abstractmethod
    def run(self, work: Work, plan: Plan) -> list[Any]:
        """Runs `work` in a transaction and commits it; its results.

        Raises what `work` or COMMIT raised, after a rollback, and Lost when the connection broke. `plan` says
        what is to be locked before anything else, where several processes write.
        """
