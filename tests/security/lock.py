"""`make lock`: writes into the locks the hashes of every locked version's files, as the index gives them.

The versions are those that the locks have; change them there first. Kept are the hashes of source packages
and of wheels for CPython 3.11 and later, on every platform, so that one lock serves them all. Files of other
versions, of other interpreters, and names of places stand in no lock.

It asks pip for the pages of its first index, with whatever pip is configured with: it is the one part of this
project that uses pip's own modules, and runs with the pip of the environment that `make` has made.
"""

# ruff: noqa: T201 - what it prints is what it is for

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pip._internal.commands.download import DownloadCommand
from pip._internal.index.collector import parse_links
from pip._internal.models.link import Link
from pip._vendor.packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from pip._vendor.packaging.version import InvalidVersion, Version

LOCKS = (
    "requirements.lock",
    "requirements-build.lock",
    "requirements-dev.lock",
    "tests/security/audit-requirements.txt",
    "tests/security/sbom-requirements.txt",
)
_OLDEST = 11  # CPython 3.11
_INTERPRETER = re.compile(r"(?:cp|py)3(\d+)")
Files = dict[str, str]
"""sha256 by file name."""


def main(locks: Sequence[str] = LOCKS) -> int:
    """Renews the locks; the exit code."""
    files_of = index()
    for lock in locks:
        path = Path(lock)
        text = path.read_text()
        path.write_text(renewed(text, files_of))
        print(f"{lock}: {text.count('==')} packages")
    return 0


def renewed(text: str, files_of: Callable[[str], Files]) -> str:
    """The text of a lock with the hashes that `files_of` a package has. Raises SystemExit if it has none."""
    lines = []
    for line in text.splitlines():
        pin = line.removesuffix("\\").strip()
        if pin.startswith("--hash="):
            continue
        if pin.startswith("#") or not pin:
            lines.append(line)
            continue
        name, _, version = pin.partition("==")
        hashes = sorted({sha256 for file, sha256 in files_of(name).items() if fits(file, name, version)})
        if not hashes:
            raise SystemExit(f"{pin}: the index has no file of this version with a hash.")
        lines.append(" \\\n".join([pin, *(f"    --hash=sha256:{one}" for one in hashes)]))
    return "\n".join(lines) + "\n"


def fits(file: str, name: str, version: str) -> bool:
    """Whether `file` is of this version, and source or a wheel that CPython 3.11 or later may install."""
    try:
        if file.endswith(".whl"):
            found, number, _, tags = parse_wheel_filename(file)
            usable = any(_usable(tag.interpreter, tag.abi) for tag in tags)
        else:
            found, number = parse_sdist_filename(file)
            usable = True
    except (InvalidSdistFilename, InvalidWheelFilename, InvalidVersion):
        return False
    return usable and found == canonicalize_name(name) and number == Version(version)


def _usable(interpreter: str, abi: str) -> bool:
    minor = _INTERPRETER.fullmatch(interpreter)
    return interpreter == "py3" or abi == "abi3" or (minor is not None and int(minor[1]) >= _OLDEST)


def index() -> Callable[[str], Files]:
    """What asks pip's first index for the files of a package."""
    command = DownloadCommand("download", "")
    options, _ = command.parse_args([])
    with command.main_context():
        session = command._build_session(options)
        finder = command._build_package_finder(options, session)

    def files_of(name: str) -> Files:
        url = finder.search_scope.get_index_urls_locations(name)[0]
        page = finder._link_collector.fetch_response(Link(url))
        return dict(_hashed(parse_links(page)) if page is not None else ())

    return files_of


def _hashed(links: Iterable[Link]) -> Iterable[tuple[str, str]]:
    for link in links:
        if link.hash_name == "sha256" and link.hash is not None and link.yanked_reason is None:
            yield link.filename, link.hash


if __name__ == "__main__":
    sys.exit(main())
