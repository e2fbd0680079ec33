"""Leases: what may exist only once is a row with a holder and an expiry.

A process's own lease (`process:<holder>`) says that the deliveries it holds are alive; when it runs out,
anyone may take them over, and marks it in the same transaction: a lease with an epoch above 0 is nobody's any
more, and the process that comes back finds that out when it renews (`gateway.store.tenure`). Upstream binds
and schedulers are leased by name the same way, without an epoch.
"""

from gateway.store.locks import Locks, named
from gateway.store.tx import Tx

_TAKE = """
INSERT INTO lease (name, holder, expires_ms) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_ms = excluded.expires_ms
WHERE lease.holder = excluded.holder OR lease.expires_ms <= ?
"""

_RENEW = "UPDATE lease SET expires_ms = ? WHERE name = ? AND epoch = 0"
_EXPIRES = "SELECT expires_ms FROM lease WHERE name = ? AND epoch = 0"
_TAKE_OVER = "UPDATE lease SET epoch = epoch + 1 WHERE name = ?"
_PURGE = """
DELETE FROM lease WHERE name IN (SELECT name FROM lease WHERE expires_ms < ? LIMIT ?{skip_locked})
"""
_CLOCK = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"


def locks(*names: str) -> Locks:
    """What is locked before the leases `names` are taken or given back."""
    return named(*(f"lease:{name}" for name in names))


def agreed_ms(tx: Tx, own_ms: int) -> int:
    """The time by which everybody on this database judges a lease: the database's, where machines share it.

    A machine whose own clock is ahead would take what another still holds. Alone, our own (`own_ms`) will do.
    """
    if not tx.shared:
        return own_ms
    ((now_ms,),) = tx.rows(_CLOCK)
    return int(now_ms)


def take(tx: Tx, name: str, holder: str, *, now_ms: int, lease_ms: int) -> bool:
    """Takes or renews the lease `name`; False when another holder has it."""
    tx.require(locks(name))
    return tx.run(_TAKE, (name, holder, now_ms + lease_ms, now_ms)) == 1


def drop(tx: Tx, name: str, holder: str) -> None:
    """Gives the lease back, if we still hold it."""
    tx.require(locks(name))
    tx.run("DELETE FROM lease WHERE name = ? AND holder = ?", (name, holder))


def drop_all(tx: Tx, holder: str) -> None:
    """Gives back every lease of a dead `holder`; which they are is known only now (`Tx.require`)."""
    names = [name for (name,) in tx.rows("SELECT name FROM lease WHERE holder = ?", (holder,))]
    tx.require(locks(*names))
    tx.run("DELETE FROM lease WHERE holder = ?", (holder,))


def process_lease(holder: str) -> str:
    """The name of a process's own lease."""
    return f"process:{holder}"


def renew_process(tx: Tx, holder: str, *, expires_ms: int) -> bool:
    """Renews a process's own lease; False when it was taken over, or is gone."""
    tx.require(locks(process_lease(holder)))
    return tx.run(_RENEW, (expires_ms, process_lease(holder))) == 1


def take_over(tx: Tx, holder: str, *, expires_ms: int) -> bool:
    """Ends the lease of `holder`, unless it has been renewed beyond `expires_ms`; whether it is dead.

    It stays so: from this transaction on, whatever it renews is not this lease.
    """
    tx.require(locks(process_lease(holder)))
    row = tx.one(_EXPIRES, (process_lease(holder),))
    if row is None:
        return True
    if int(row[0]) > expires_ms:
        return False
    tx.run(_TAKE_OVER, (process_lease(holder),))
    return True


def live_processes(tx: Tx, *, now_ms: int) -> list[str]:
    """The holders whose process lease has not run out: daemons at work on this database."""
    rows = tx.rows(
        "SELECT DISTINCT holder FROM lease WHERE name LIKE 'process:%' AND expires_ms > ?", (now_ms,)
    )
    return [str(holder) for (holder,) in rows]


def purge(tx: Tx, *, before_ms: int, limit: int) -> int:
    """Deletes up to `limit` leases that ran out before `before_ms`; how many it were. It is a sweep."""
    return tx.run(_PURGE.format(skip_locked=tx.skip_locked), (before_ms, limit))


def expiry(tx: Tx, holder: str) -> int:
    """Until when the lease of the process `holder` says that it lives; 0: it is dead."""
    row = tx.one(_EXPIRES, (process_lease(holder),))
    return 0 if row is None else int(row[0])
