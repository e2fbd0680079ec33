"""Tables of the store itself: hash chains, leases, idempotency keys, the counter that tells caches."""

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table

from gateway.store.metadata import CLUSTERED, id_column, int_column, metadata, ms_column, text_column

chain = Table(  # see gateway.store.chain
    "chain",
    metadata,
    Column("name", String(80), primary_key=True),
    int_column("seq", None, key=True),  # from 1, without a gap
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of what is sealed
    Column("prev", LargeBinary, nullable=False),  # the hash of the row before
    Column("hash", LargeBinary, nullable=False),  # over name, seq, digest, prev and at_ms
    ms_column("at_ms"),
    **CLUSTERED,
)

lease = Table(
    "lease",
    metadata,
    Column("name", String(80), primary_key=True),  # process:<id>, upstream:<name>:<bind>, retention, …
    id_column("holder"),
    ms_column("expires_ms"),
    # Of a process's own lease: counted up by whoever takes over what it held. It is never current again.
    Column("epoch", Integer, nullable=False, server_default="0"),
)

idempotency = Table(
    "idempotency",
    metadata,
    id_column("account_id", key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    text_column("answer"),  # JSON list of verdicts
    ms_column("expires_ms"),
    **CLUSTERED,
)
Index("ix_idempotency_expires_ms", idempotency.c.expires_ms)

revision = Table(  # one row; counted up by every change to what caches hold
    "revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    int_column("value"),
)

write_probe = Table(  # empty; while writes fail, room is tried here until there is some
    "write_probe",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

writer_batch = Table(  # PostgreSQL: the last batch of each writer, should its COMMIT get no answer
    "writer_batch",
    metadata,
    id_column("holder", key=True),
    int_column("number", None),
    ms_column("at_ms"),
)

EVERY = (chain, lease, idempotency, revision, write_probe, writer_batch)
