"""Every operation that a process serves: the verticals', those about the API itself, and the description."""

from collections.abc import Sequence

from gateway.http.describe import changelog, docs, health, openapi
from gateway.http.gate.operation import Operation
from gateway.http.wire.kinds import Kind


def everything(
    operations: Sequence[Operation], kinds: Sequence[Kind], *, server: str
) -> tuple[Operation, ...]:
    """`operations`, in the order in which paths are matched, with the documents made of them.

    `kinds` are those of the problems that are explained; `server` is the API's public address.
    """
    described = about(operations)
    document = openapi.document(described, server=server)
    return (
        *described,
        openapi.operation(document),
        *docs.operations(described, kinds),
    )


def about(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """All that the documents describe."""
    return (*operations, *changelog.OPERATIONS, *health.OPERATIONS)
