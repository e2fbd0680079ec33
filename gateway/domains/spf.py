"""SPF for our egress addresses, judged by pyspf in threads of its own.

pyspf blocks on the DNS, up to the limits of `smtp.spf`; a DNS that hangs must not hold the threads that
others need.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from smtp.dns_client import BlockingDns
from smtp.spf import Lookup, SpfVerdict, egress_verdict

SpfJudge = Callable[[str, Sequence[str]], Awaitable[SpfVerdict]]
"""(domain, egress addresses) to the verdict; may raise TimeoutError."""

_THREADS = 4
_WAIT_S = 30.0
_DNS_TIMEOUT_S = 5.0


async def judge_spf(domain: str, egress_ips: Sequence[str], lookup: Lookup | None = None) -> SpfVerdict:
    """What SPF says of each address; the system's resolvers are asked unless `lookup` is given."""
    ask = lookup or BlockingDns(timeout_s=_DNS_TIMEOUT_S)
    work = asyncio.get_running_loop().run_in_executor(
        _threads(), egress_verdict, domain, egress_ips, domain, ask
    )
    async with asyncio.timeout(_WAIT_S):
        return await work


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="spf")
