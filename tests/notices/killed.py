"""A process that sends the notices of a database and kills itself on the way: `… notices_killed URL WHERE`.

`marked`: the notice is marked, its mail is not written; `written`: both are, without COMMIT; `committed`: the
COMMIT is done, and nobody was told of it.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gateway.clock import SystemClock
from gateway.messages import notices as module
from gateway.messages.notices import Notices
from gateway.messages.route import Router
from gateway.notices import queue
from gateway.store.store import Store
from gateway.verticals import NOTICE_KINDS
from tests.notices.rig import settings
from tests.support.fakes import FakeUpstream


def notices(store: Store, sent: Callable[[], None]) -> Notices:
    """What sends, over a fake upstream."""
    upstream, given = FakeUpstream("sandbox_mail"), settings()
    router = Router(mail=given.mail.route, mail_price_credits=1, sms=(), upstreams={upstream.name: upstream})
    return Notices(given, store=store, clock=SystemClock(), kinds=NOTICE_KINDS, router=router, sent=sent)


def die() -> NoReturn:
    """Ends this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def dying_after(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, and then the end."""

    def called(*arguments: Any) -> Any:
        function(*arguments)
        die()

    return called


async def main(arguments: Sequence[str]) -> None:
    url, where = arguments
    store = Store.open(url, exclusive=False)
    if where == "marked":
        queue.sent = dying_after(queue.sent)
    elif where == "written":
        vars(module)["insert_free"] = dying_after(vars(module)["insert_free"])
    await notices(store, die).send()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
