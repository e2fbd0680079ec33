"""Fairness across accounts (A5): what one has waiting puts nobody else's off."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.store.errors import StoreBusy
from gateway.store.gathered import Gathered
from gateway.store.operation import Operation
from gateway.store.store import Store
from gateway.store.tx import Tx

BATCH = 500


class One(Operation[int]):
    """An operation of an account; notes when it was written."""

    weight = 1

    def __init__(self, account_id: str, written: list[str] | None = None, *, urgent: bool = False) -> None:
        self.account_id = account_id
        self.urgent = urgent
        self._written = written

    @classmethod
    def run_batch(cls, tx: Tx, operations: Sequence["One"]) -> list[Any]:
        del tx
        return [len(operations)] * len(operations)

    def committed(self, result: int) -> None:
        if self._written is not None:
            self._written.append(self.account_id)


def gathered(*accounts: str) -> Gathered:
    waiting = Gathered(BATCH)
    for account_id in accounts:
        waiting.put(One(account_id))
    return waiting


def counts(batch: Sequence[Operation[Any]]) -> Counter[str]:
    return Counter(operation.account_id for operation in batch)


def test_with_ten_thousand_of_one_account_anothers_is_in_the_next_batch() -> None:
    waiting = gathered(*["a"] * 10_000, "b")
    batch = waiting.take()
    assert counts(batch)["b"] == 1
    assert counts(batch)["a"] <= BATCH // 2
    assert len(waiting) == 10_001 - len(batch)


def test_no_account_has_more_than_half_of_a_batch_while_others_wait() -> None:
    waiting = gathered(*["a"] * 10_000, *["b"] * 300, *["c"] * 300)
    for _ in range(2):
        batch = waiting.take()
        assert len(batch) == BATCH
        assert max(counts(batch).values()) <= BATCH // 2
        assert set(counts(batch)) == {"a", "b", "c"}


def test_an_account_that_is_alone_has_the_whole_batch() -> None:
    assert counts(gathered(*["a"] * 10_000).take()) == {"a": BATCH}


def test_more_accounts_than_a_batch_holds_all_come_in_turn() -> None:
    accounts = [str(number) for number in range(1200)]
    waiting = gathered(*accounts * 3)
    first, second, third = waiting.take(), waiting.take(), waiting.take()
    assert max(counts(first + second).values()) == 1
    assert set(counts(first + second + third)) == set(accounts)


def test_what_is_urgent_and_nobodys_goes_first() -> None:
    waiting = gathered(*["a"] * 10_000)
    renewal = One("", urgent=True)
    waiting.put(renewal)
    assert waiting.take()[0] is renewal


def test_operations_of_one_account_keep_their_order_and_none_is_lost() -> None:
    rng = random.Random(8)
    waiting = Gathered(7)
    put: list[Operation[Any]] = []
    taken: list[Operation[Any]] = []
    for _ in range(2000):
        if rng.random() < 0.7:
            operation = One(rng.choice(["a", "a", "a", "b", "c", ""]), urgent=rng.random() < 0.2)
            put.append(operation)
            waiting.put(operation)
        elif len(waiting):
            taken += waiting.take()
        assert len(waiting) == len(put) - len(taken) == len(list(waiting))
    while len(waiting):
        taken += waiting.take()
    assert len(taken) == len(set(map(id, taken))) == len(put)
    for account_id in ("a", "b", "c"):
        assert [one for one in taken if one.account_id == account_id] == [
            one for one in put if one.account_id == account_id
        ]


def test_what_is_dropped_is_all_that_can_wait() -> None:
    waiting = gathered("a", "b")
    urgent = One("a", urgent=True)
    waiting.put(urgent)
    assert counts(waiting.drop()) == {"a": 1, "b": 1}
    assert waiting.take() == [urgent]


async def test_one_account_never_fills_the_queue_for_the_others(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:{tmp_path / 'gateway.db'}", upgrade=True, queue_max=100)
    written: list[str] = []
    futures = [store.submit(One("a", written)) for _ in range(50)]
    with pytest.raises(StoreBusy):  # as many wait as are still free for all
        store.submit(One("a", written))
    futures += [store.submit(One("b", written)) for _ in range(20)]
    await asyncio.gather(*futures)
    assert Counter(written) == {"a": 50, "b": 20}
    await store.close()
