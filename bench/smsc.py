"""A small fast SMSC: takes every submit_sm, answers at once, and prints `count=N` whenever it has grown.

Built on the project's codec alone (`smpp.framing`, `smpp.pdu`), because a whole SMSC would take the CPU that
the server under test needs. With `--receipts` every submit_sm that asks for one gets a deliver_sm DELIVRD at
once. Anybody may bind. No windows, no timers, no store.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, cast

# Run as a file, this folder would come first on the path and hide modules of the same name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import uvloop

from bench.counting import Counter, serve
from smpp.constants import EsmClass, MessageState
from smpp.framing import Splitter
from smpp.pdu import (
    Bind,
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    DeliverSm,
    EnquireLink,
    EnquireLinkResp,
    Pdu,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
    decode,
    encode,
)
from smpp.receipt import tlvs

_FIRST_ID: Final = 0x5E3A_0000_0000  # long enough that no id, read as decimal, is another one in hex
_DELIVERY_RECEIPT: Final = int(EsmClass.DELIVERY_RECEIPT)
_DATE: Final = f"{datetime.now(UTC):%y%m%d%H%M}"
_BINDS: Final = {
    BindTransmitter: BindTransmitterResp,
    BindReceiver: BindReceiverResp,
    BindTransceiver: BindTransceiverResp,
}


class Connection(asyncio.Protocol):
    """One bind."""

    def __init__(self, counter: Counter, *, receipts: bool) -> None:
        """`receipts`: send one for every submit_sm that asks."""
        self._counter = counter
        self._receipts = receipts
        self._splitter = Splitter()
        self._sequence_number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer all PDUs of one read in one write."""
        answers: list[bytes] = []
        for frame in self._splitter.feed(data):
            self._answer(decode(frame), answers)
        if answers:
            self._transport.write(b"".join(answers))

    def _answer(self, pdu: Pdu, answers: list[bytes]) -> None:
        number = pdu.sequence_number
        if isinstance(pdu, SubmitSm):
            self._counter.taken += 1
            message_id = f"{_FIRST_ID + self._counter.taken:x}"
            answers.append(encode(SubmitSmResp(number, 0, message_id)))
            if self._receipts and pdu.registered_delivery & 1:
                self._sequence_number = self._sequence_number % 0x7FFFFFFF + 1
                answers.append(encode(_receipt(message_id, pdu), self._sequence_number))
        elif isinstance(pdu, EnquireLink):
            answers.append(encode(EnquireLinkResp(number, 0)))
        elif isinstance(pdu, Unbind):
            answers.append(encode(UnbindResp(number, 0)))
        elif isinstance(pdu, Bind):
            answers.append(encode(_BINDS[type(pdu)](number, 0, "bench")))


def _receipt(message_id: str, submit_sm: SubmitSm) -> DeliverSm:
    """As `smpp.receipt.deliver_sm`, at a tenth of its cost."""
    text = (
        f"id:{message_id} sub:001 dlvrd:001 submit date:{_DATE} done date:{_DATE} stat:DELIVRD err:000 text:"
    )
    return DeliverSm(
        source_addr_ton=submit_sm.dest_addr_ton,
        source_addr_npi=submit_sm.dest_addr_npi,
        source_addr=submit_sm.destination_addr,
        dest_addr_ton=submit_sm.source_addr_ton,
        dest_addr_npi=submit_sm.source_addr_npi,
        destination_addr=submit_sm.source_addr,
        esm_class=_DELIVERY_RECEIPT,
        short_message=text.encode(),
        tlvs=tlvs(message_id, MessageState.DELIVERED),
    )


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--receipts", action="store_true")
    arguments = parser.parse_args()
    counter = Counter()
    connection = partial(Connection, counter, receipts=arguments.receipts)
    uvloop.run(serve(arguments.port, counter, connection))


if __name__ == "__main__":
    main()
