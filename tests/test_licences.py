"""What the gateway runs on may be used so: each locked package is under a licence that is named here."""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)

# Ask for no more than that their texts stay with what is installed, and pip leaves them there.
PERMISSIVE = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "PSF-2.0",
    "Unlicense",
    "ZPL-2.1",
}
_LGPL = "we import it unchanged, as a package of its own, which whoever runs us can replace (section 4)"
WITH_A_REASON = {
    "certifi": ("MPL-2.0", "its conditions hold for its own files, and we change none (section 3.3)"),
    "dkimpy": ("BSD-like", "its LICENSE is the zlib licence, which is permissive"),
    "psycopg": ("LGPL-3.0-only", _LGPL),
    "psycopg-binary": ("LGPL-3.0-only", _LGPL),
    "smpplib": ("LGPL-3.0-only", _LGPL),
}
# Words of older metadata for licences that have an SPDX name.
SPDX = {
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}


def licences(name: str) -> set[str]:
    """The licences that a package's metadata states: as an expression, in a word, or by classifiers."""
    package = distribution(name).metadata
    (expression,) = package.get_all("License-Expression", [""])
    (word,) = package.get_all("License", [""])
    if expression:
        stated = re.split(r" AND | OR ", expression)
    elif word and "\n" not in word:
        stated = [word]
    else:
        classifiers = package.get_all("Classifier", [])
        stated = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")]
    return {SPDX.get(one, one) for one in stated}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_runs_with_us_is_under_a_licence_that_we_can_keep(name: str) -> None:
    if name in WITH_A_REASON:
        assert licences(name) == {WITH_A_REASON[name][0]}
    else:
        assert licences(name)
        assert licences(name) <= PERMISSIVE


def test_no_reason_outlives_its_package() -> None:
    assert set(WITH_A_REASON) <= set(PACKAGES)
