"""An ESME as a load: keeps its window full of submit_sm, takes the receipts, and prints JSON figures.

Built on `smpp.esme`. Ends when every message has been accepted and has its receipt; exits 1 when one was
refused or the receipts do not come.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

# Run as a file, this folder would come first on the path and hide modules of the same name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import uvloop

from smpp.esme import Esme, EsmeConfig, RequestOutcome, SubmitResult
from smpp.pdu import DataSm, DeliverSm, SubmitSm

_WINDOW = 50
_RECEIPTS_WITHIN_S = 120.0


class Load:
    """One bind."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """`arguments`: as `main` reads them."""
        self._messages: int = arguments.messages
        self._sender: str = arguments.sender
        self._receipts = 0
        self._all = asyncio.Event()
        self._bound = asyncio.Event()
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        config = EsmeConfig(
            host="127.0.0.1",
            port=arguments.port,
            system_id=arguments.system_id,
            password=arguments.password,
            window=_WINDOW,
        )
        self._esme = Esme(config, on_deliver_many=self._take, on_state=self._note)
        self._left = iter(range(self._messages))
        self.spent_ms: list[float] = []

    def _note(self, bound: bool, _reason: str) -> None:
        if bound:
            self._bound.set()

    async def _take(self, pdus: Sequence[DeliverSm | DataSm]) -> list[int]:
        self._receipts += len(pdus)
        if self._receipts >= self._messages:
            self._all.set()
        return [0] * len(pdus)

    def _send(self) -> None:
        """The next message, if one is left; its answer sends another."""
        number = next(self._left, None)
        if number is None:
            return
        submit_sm = SubmitSm(
            source_addr_ton=5,
            source_addr=self._sender,
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr=f"4179{1_000_000 + number % 1000}",
            registered_delivery=1,
            short_message=b"Your code is 123456.",
        )
        self._esme.submit_told(submit_sm, partial(self._answered, submit_sm, time.perf_counter()))

    def _answered(self, submit_sm: SubmitSm, started: float, result: SubmitResult) -> None:
        if result.outcome is RequestOutcome.OK:
            self.spent_ms.append((time.perf_counter() - started) * 1000)
            if len(self.spent_ms) == self._messages:
                self._accepted.set_result(None)
            self._send()
        elif result.outcome is RequestOutcome.THROTTLED:  # the link pauses by itself
            self._esme.submit_told(submit_sm, partial(self._answered, submit_sm, started))
        elif not self._accepted.done():
            self._accepted.set_exception(RuntimeError(str(result)))

    async def run(self) -> dict[str, float]:
        """The figures."""
        running = asyncio.create_task(self._esme.run())
        async with asyncio.timeout(30):
            await self._bound.wait()
        started = time.monotonic()
        for _ in range(_WINDOW):
            self._send()
        await self._accepted
        seconds = time.monotonic() - started
        async with asyncio.timeout(_RECEIPTS_WITHIN_S):
            await self._all.wait()
        await self._esme.unbind_and_close(2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        self.spent_ms.sort()
        return {
            "messages": self._messages,
            "seconds": seconds,
            "p50_ms": self.spent_ms[len(self.spent_ms) // 2],
            "p99_ms": self.spent_ms[len(self.spent_ms) * 99 // 100],
        }


async def load(arguments: argparse.Namespace) -> dict[str, float]:
    """Runs the load."""
    return await Load(arguments).run()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--system-id", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--sender", required=True)
    parser.add_argument("--messages", type=int, required=True)
    json.dump(uvloop.run(load(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
