"""Every table of the gateway: importing this module fills `gateway.store.metadata.metadata`."""

from gateway.accounts import tables as accounts
from gateway.credits import tables as credits_
from gateway.domains import tables as domains
from gateway.messages import tables as messages
from gateway.messages.receipts import tables as ingress
from gateway.sendernames import tables as sendernames
from gateway.store import tables as store
from gateway.upstreams import tables as upstreams
from gateway.webhooks import tables as webhooks

__all__ = [
    "accounts",
    "credits_",
    "domains",
    "ingress",
    "messages",
    "sendernames",
    "store",
    "upstreams",
    "webhooks",
]
