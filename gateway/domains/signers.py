"""The hot path's view of domains: who may send from which, and with what it is signed.

Both are look-ups in memory (`gateway.store.cache`). Parsed keys outlive the emptying of the caches.
"""

from dataclasses import dataclass

from gateway.domains.keys import parsed
from gateway.store.cache import Caches
from gateway.store.tx import Tx
from smtp.dkim import Signer

_ACCOUNTS_CACHED = 10_000
_SIGNERS_CACHED = 4096
_OWNERS_CACHED = 16  # of the domain that notices come from, and those that it was before a restart

_VERIFIED = "SELECT name FROM domain WHERE account_id = ? AND status = 'verified'"
_ACTIVE = """
SELECT private_pem, domain, selector FROM dkim_key
WHERE account_id = ? AND domain = ? AND active_ms IS NOT NULL AND retired_ms IS NULL
ORDER BY algorithm DESC, selector
"""


_OWNER = """
SELECT d.account_id FROM domain d JOIN dkim_key k ON k.account_id = d.account_id AND k.domain = d.name
WHERE d.name = ? AND d.status = 'verified' AND k.active_ms IS NOT NULL AND k.retired_ms IS NULL
ORDER BY d.verified_ms, d.account_id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class _Held:
    """What is known of a domain: that it has no signer is worth holding too."""

    signer: Signer | None


class Signers:
    """Look-ups by account and domain; a domain is given as lower-case A-labels."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self._verified = caches.cache(_load_verified, _ACCOUNTS_CACHED)
        self._signers = caches.cache(_load_signer, _SIGNERS_CACHED)
        self._owners = caches.cache(owner_of, _OWNERS_CACHED)

    def peek_allowed(self, account_id: str, domain: str) -> bool:
        """Whether the account may send from the domain, as far as is known without a read; if not, ask."""
        verified = self._verified.peek(account_id)
        return verified is not None and domain in verified

    async def allowed(self, account_id: str, domain: str) -> bool:
        """Whether the account may send from the domain: it is verified. A "no" is checked to be current."""
        verified = await self.verified(account_id)
        if domain not in verified and await self._caches.fresh():
            verified = await self.verified(account_id)
        return domain in verified

    async def verified(self, account_id: str) -> frozenset[str]:
        """The account's verified domains."""
        return await self._verified.get(account_id) or frozenset()

    def known(self, account_id: str, domain: str) -> bool:
        """Whether `peek` has the last word."""
        return self._signers.peek((account_id, domain)) is not None

    def peek(self, account_id: str, domain: str) -> Signer | None:
        """The signer, if it is known without a read; None: ask `known`, or `get`."""
        held = self._signers.peek((account_id, domain))
        return None if held is None else held.signer

    async def of_domain(self, domain: str) -> Signer | None:
        """The signer of whichever account has verified the domain: for the gateway's own notices alone."""
        owner = await self._owners.get(domain)
        return None if owner is None else await self.get(owner, domain)

    async def get(self, account_id: str, domain: str) -> Signer | None:
        """The signer with the active keys of the domain; None when it has none: the mail goes unsigned."""
        held = await self._signers.get((account_id, domain))
        return None if held is None else held.signer


def owner_of(tx: Tx, domain: str) -> str | None:
    """The account whose keys sign what the gateway itself sends from `domain`: the first that verified it."""
    row = tx.one(_OWNER, (domain,))
    return None if row is None else row[0]


def _load_verified(tx: Tx, account_id: str) -> frozenset[str]:
    return frozenset(name for (name,) in tx.rows(_VERIFIED, (account_id,)))


def _load_signer(tx: Tx, key: tuple[str, str]) -> _Held:
    # The RSA key first ("rsa…" sorts behind "ed…"): verifiers that stop at the first signature know it.
    keys = [parsed(pem, domain, selector) for pem, domain, selector in tx.rows(_ACTIVE, key)]
    return _Held(Signer(keys) if keys else None)
