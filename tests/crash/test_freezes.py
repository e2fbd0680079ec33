"""A process that stands still for longer than its lease sends nothing that others have taken over."""

from pathlib import Path

import pytest

from tests.crash.freezes import CASES, Case, run, table
from tests.postgres_server import MISSING, programs


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("case", "freezes"), list(zip(CASES, (2, 2, 1, 1), strict=True)), ids=[case.name for case in CASES]
)
async def test_a_duplicate_after_a_freeze_was_under_way_before_it(
    case: Case, freezes: int, tmp_path: Path
) -> None:  # A3
    if case.engine == "postgresql" and programs() is None:
        pytest.skip(MISSING)
    result = await run(case, freezes, seed=1, folder=tmp_path / "freezes")
    assert result.verdict.holds, table([result])
    assert result.acknowledged > freezes
