"""Can the store write again? A blob of the size of what failed is written, committed, and taken away."""

from collections.abc import Sequence
from typing import Any, Protocol

from gateway.store.locks import Locks, named
from gateway.store.operation import Operation
from gateway.store.tx import Tx

_PUT = """
INSERT INTO write_probe (id, data) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data
"""
_TAKE_AWAY = "DELETE FROM write_probe"


class Tried(Protocol):
    """Is told what became of it."""

    def __call__(self, *, written: bool) -> None: ...


class WriteProbe(Operation[None]):
    """Writes `octets` octets. Its rows go with the next one's, or with the first that passes (`octets` 0)."""

    def __init__(self, octets: int, tried: Tried) -> None:
        self.octets = octets
        self._tried = tried

    @classmethod
    def locks(cls, tx: Tx, operations: "Sequence[WriteProbe]") -> Locks:
        del tx, operations
        return named("write_probe")

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[WriteProbe]") -> list[Any]:
        for operation in operations:
            tx.run(_TAKE_AWAY)
            if operation.octets:
                tx.run(_PUT, (bytes(operation.octets),))
        return [None] * len(operations)

    def committed(self, result: None) -> None:
        del result
        self._tried(written=True)

    def failed(self, error: Exception) -> None:
        del error
        self._tried(written=False)
