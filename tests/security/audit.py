"""`make audit`: are there known vulnerabilities in the locked packages? Asks PyPI's advisories by pip-audit.

Exits 1 when there are, 0 when there are none, and 3 where the service could not be asked about a package: no
finding is then no clean bill of health, and one line says so. Needs the network, so CI does not depend on it.

It uses the standard library alone, for the interpreter of an environment that has nothing but pip-audit.
"""

# ruff: noqa: T201 - what it prints is what it is for

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

NOT_AUDITED = 3
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")


def main(locks: Sequence[str] = LOCKS) -> int:
    """Audits the locks; the exit code."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--format", "json"]
    command += ["--progress-spinner", "off"]
    for lock in locks:
        command += ["--requirement", lock]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    text, code = verdict(done.stdout, done.stderr)
    print(text)
    return code


def verdict(output: str, errors: str) -> tuple[str, int]:
    """What to say about pip-audit's answer, and the exit code; findings weigh most."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = errors.strip().splitlines()[-1:] or ["no answer"]
        return f"NOT AUDITED: the advisory service could not be asked ({reason[0][:200]}).", NOT_AUDITED
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    found = [(one, flaw) for one in packages for flaw in one.get("vulns", ())]
    lines = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for one, flaw in found
    ]
    asked = len(packages) - len(skipped)
    if asked:
        lines.append(f"{asked} of {len(packages)} packages audited, {len(found)} findings.")
    if skipped:
        names = ", ".join(skipped) if asked else "all of them"
        lines.append(f"NOT AUDITED, the advisory service did not answer: {names}.")
    return "\n".join(lines), 1 if found else NOT_AUDITED if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
