"""The open-loop load sends when a message is due, whatever became of those before."""

import asyncio

import pytest

from bench.pacing import paced


async def test_no_message_waits_for_the_answer_to_another() -> None:
    sent, all_sent = 0, asyncio.Event()

    async def send() -> None:
        nonlocal sent
        sent += 1
        if sent == 20:
            all_sent.set()
        await all_sent.wait()

    async with asyncio.timeout(10):
        figures = await paced(1000.0, 20, send)
    assert figures["messages"] == 20
    assert figures["seconds"] >= 0.019
    assert figures["p50_ms"] <= figures["p99_ms"]


async def test_a_refusal_ends_the_load() -> None:
    async def send() -> None:
        raise RuntimeError("451")

    with pytest.raises(ExceptionGroup):
        await paced(1000.0, 5, send)
