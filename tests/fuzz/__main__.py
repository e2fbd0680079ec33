"""`python -m tests.fuzz --seconds 60`: every target for its share of the time; what fails goes to `corpus/`.

Half of the time is the cost oracle's (`tests.fuzz.cost`), unless targets are named.

With atheris (`pip install -r tests/fuzz/requirements.txt`) coverage guides the octets, a process per target.
Without it hypothesis makes them, in rounds with a seed that is printed; `--seed` runs one round again. What
fails is stored under `corpus/TARGET/`, where the tests replay it for ever after; the exit code is then 1.
"""

# ruff: noqa: T201 - what it prints is what it is for

import argparse
import hashlib
import importlib.util
import logging
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).with_name("corpus")
_LONGEST_OCTETS = 2_000
_ROUND_EXAMPLES = 200
_INSTRUMENTED = ["smtp", "smpp", "policy", "config", "gateway"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--only", action="append", default=[], metavar="TARGET", help="may be repeated")
    parser.add_argument("--engine", choices=["atheris", "hypothesis"], help="instead of the best there is")
    parser.add_argument("--seed", type=int, help="one round of hypothesis with this seed")
    parser.add_argument("--cost-seed", type=int, help="the order of the cost oracle's cases")
    parser.add_argument("--report", metavar="FILE", help="the cost of each entry point as a table")
    parser.add_argument("--child", metavar="TARGET", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        return _atheris(options.child, options.seconds)
    from tests.fuzz import http
    from tests.fuzz.cost import __main__ as cost
    from tests.fuzz.targets import TARGETS

    logging.disable()  # libraries remark on every input that is none
    unknown = set(options.only) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    names = options.only or list(TARGETS)
    has_atheris = importlib.util.find_spec("atheris") is not None
    engine = options.engine or ("atheris" if has_atheris and options.seed is None else "hypothesis")
    cost_s = 0.0 if options.only or options.seed is not None else options.seconds / 2
    seconds = options.seconds - cost_s
    print(f"{engine}, {len(names)} targets, {seconds:g} s")
    if engine == "atheris":
        failed = [name for name in names if not _child(name, seconds / len(names))]
    else:
        failed = _rounds(names, seconds, options.seed)
        http.close()
    of_cost = ["--seconds", str(cost_s)]
    of_cost += ["--report", options.report] if options.report else []
    of_cost += ["--seed", str(options.cost_seed)] if options.cost_seed is not None else []
    if cost_s and cost.main(of_cost):
        failed.append("cost")
    print(f"failed: {', '.join(sorted(set(failed)))}" if failed else "nothing failed")
    return 1 if failed else 0


# --- hypothesis -------------------------------------------------------------------------------------------


def _rounds(names: Sequence[str], seconds: float, only_seed: int | None) -> list[str]:
    """Rounds over all targets until the time is up, each with a seed of its own; the names that failed."""
    end = time.monotonic() + seconds
    failed: list[str] = []
    examples = 0
    while not failed and (time.monotonic() < end):
        number = random.SystemRandom().randrange(2**32) if only_seed is None else only_seed
        print(f"seed {number}", flush=True)
        for name in names:
            count, passed = _round(name, number)
            examples += count
            if not passed:
                failed.append(name)
            if time.monotonic() >= end and only_seed is None:
                break
        if only_seed is not None:
            break
    print(f"{examples} examples")
    return failed


def _round(name: str, number: int) -> tuple[int, bool]:
    """One target with one seed: how many examples ran, and whether all passed."""
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    count = 0
    last = b""

    @seed(number)
    @settings(
        max_examples=_ROUND_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=_LONGEST_OCTETS))
    def run(data: bytes) -> None:
        nonlocal count, last
        count += 1
        try:
            target(data)
        except BaseException:
            last = data  # the smallest one comes last
            raise

    try:
        run()
    except Exception as error:  # noqa: BLE001 - whatever a target raises is a finding
        path = _store(name, last)
        print(f"{name}: {type(error).__name__}: {str(error)[:500]}\n  stored as {path}", flush=True)
        return count, False
    return count, True


def _store(name: str, data: bytes) -> Path:
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --- atheris ----------------------------------------------------------------------------------------------


def _child(name: str, seconds: float) -> bool:
    """One target in a process of its own, since libFuzzer ends the process it runs in; whether it passed."""
    command = [sys.executable, "-m", "tests.fuzz", "--child", name, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    with suppress(OSError):
        (CORPUS / name).rmdir()  # where nothing was found
    lines = (done.stdout + done.stderr).splitlines()
    if done.returncode == 0:
        print(
            f"{name}: {next((line for line in reversed(lines) if line.startswith('Done')), 'done')}",
            flush=True,
        )
        return True
    told = [
        line for line in lines if not line.startswith(("#", "INFO:", "WARNING:"))
    ]  # without libFuzzer's progress
    print("\n".join([f"{name}: failed", *told[-40:]]), flush=True)
    return False


def _atheris(name: str, seconds: float) -> int:
    """Runs in the child: fuzzes one target; libFuzzer writes what fails to the corpus, and exits."""
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # optional, without types

    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.fuzz.targets import TARGETS
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={_LONGEST_OCTETS}", "-timeout=30"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/"], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
