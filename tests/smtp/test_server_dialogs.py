"""The wire dialogs in `dialogs/`, played against the real server over a real socket."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.smtp.submission_support import Running, Wire, running

DIALOGS = {
    path.stem: path.read_text().splitlines()
    for path in sorted(Path(__file__).with_name("dialogs").glob("*.txt"))
}
_REPEAT = re.compile(r"\{(.)\*(\d+)\}")


def octets_of(text: str) -> bytes:
    """The octets that a line of a dialog stands for."""
    repeated = _REPEAT.sub(lambda found: found[1] * int(found[2]), text)
    return repeated.encode().decode("unicode_escape").encode("latin-1")


def settings_of(lines: list[str]) -> dict[str, object]:
    given = (line[2:].partition("=") for line in lines if line.startswith("@ ") and "=" in line)
    return {key.strip(): ast.literal_eval(value) for key, _, value in given}


async def play(lines: list[str], wire: Wire, server: Running) -> None:
    pending = b""
    for number, line in enumerate(lines, 1):
        kind, text = line[:2], line[3:]
        if kind == "C:":
            pending += octets_of(text) + b"\r\n"
            continue
        if kind == "R:":
            pending += octets_of(text)
            continue
        wire.send(pending)
        pending = b""
        where = f"line {number}: {line}"
        if kind == "S:":
            pattern = re.escape(text).replace(r"\*", ".*")
            answer = await wire.line()
            assert re.fullmatch(pattern, answer.removesuffix("\r\n")), f"{where}\ngot {answer!r}"
        elif line == "S...":
            await wire.reply()
        elif kind == "T:":
            await wire.start_tls()
        elif kind == "X:":
            assert await wire.closed(), where
        elif kind == "= ":
            assert len(server.application.messages) == int(line[2:]), where
        elif kind == "B:":
            assert server.application.messages[-1].content == octets_of(text), where
        else:
            assert not line or kind in ("# ", "@ "), where
    assert not pending, "the dialog ends without an answer to its last line"


@pytest.mark.parametrize("name", DIALOGS)
async def test_dialog(name: str) -> None:
    lines = DIALOGS[name]
    async with running(**settings_of(lines)) as server:
        if "@ login" in lines:
            async with server.logged_in() as wire:
                await play(lines, wire, server)
        else:
            async with server.client(implicit_tls="@ tls" in lines) as wire:
                await play(lines, wire, server)


def test_there_are_dialogs() -> None:
    assert len(DIALOGS) > 30
