"""The one order of locks, where several processes write into one database (PostgreSQL).

A batch waits for locks in this order, and every process keeps it:

1. **At the start**, before it changes anything, all that its operations declare (`Operation.locks`): first
   the names, sorted (advisory locks, each in the strongest mode that is wanted), then the rows of messages,
   by their keys. Who holds a message's row is alone with all that belongs to it: its deliveries, its
   content, its parts, its receipt to the client.
2. **Afterwards** operations run by their `priority`, and wait only where no lock can be had beforehand: for
   a unique key that another batch has just inserted, and for rows that a sweep has taken. Keys of one table
   are written sorted, by one kind of operation; a later priority holds nothing that waits for an earlier one.
3. **Sweeps** run last. They take rows that nobody is at (SKIP LOCKED) and wait for nothing.

So no batch ever waits for one that waits for it. What turns out to be wanted only later (`Tx.require`) is
never waited for: the batch is rolled back and begins again with that lock among the first.

| name | who holds it is alone with |
|---|---|
| `captures:<account>` | mails that the sandbox has captured |
| `chain:<name>` | appending to a hash chain |
| `lease:<name>` | a lease |
| `lots:<account>:<product>` | lots, orders and settings of credits; also a purchase's idempotency key |
| `parts:<upstream>` | parking receipts; recording parts only shares it |
| `receipts:<account>:<system_id>` | acknowledging a client's receipts |
| `revision` | what caches hold: accounts, credentials and their known logins, domains, names, webhooks |
| `webhook:<account>:<webhook>` | outcomes and replays of a webhook's deliveries |
| `write_probe` | trying whether the store can write again |

On SQLite all of this is nothing: BEGIN IMMEDIATE has locked everything.
"""

from collections.abc import Iterable
from dataclasses import dataclass

_NONE: frozenset[str] = frozenset()

MessageKey = tuple[str, str]
"""(account id, message id)"""


@dataclass(frozen=True, slots=True)
class Locks:
    """What is to be locked before anything is changed. `shared` names may be held by several at once."""

    names: frozenset[str] = _NONE
    shared: frozenset[str] = _NONE
    messages: frozenset[MessageKey] = frozenset()

    @classmethod
    def all_of(cls, several: Iterable["Locks"]) -> "Locks":
        """The locks of all."""
        some = list(several)
        if len(some) == 1:
            return some[0]
        return cls(
            _NONE.union(*(one.names for one in some)),
            _NONE.union(*(one.shared for one in some)),
            frozenset[MessageKey]().union(*(one.messages for one in some)),
        )

    def without(self, held: "Locks") -> "Locks":
        """Those that are not among `held`."""
        return Locks(
            self.names - held.names, self.shared - held.shared - held.names, self.messages - held.messages
        )

    def __bool__(self) -> bool:
        return bool(self.names or self.shared or self.messages)


NOTHING = Locks()
"""For what inserts only rows of its own, or takes only what nobody else is at."""


def named(*names: str) -> Locks:
    """The locks of these names."""
    return Locks(names=frozenset(names))


class Conflict(Exception):
    """Another process wrote the same at the same time: the whole batch is to be run again."""


class Unforeseen(Conflict):
    """A batch wants `locks` that were not taken at its start: it is to be run again with them."""

    def __init__(self, locks: Locks) -> None:
        super().__init__("a lock was wanted that was not foreseen")
        self.locks = locks
