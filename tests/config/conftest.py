"""Helpers of the configuration's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from config import ConfigError, Settings, load

Loader = Callable[[str], Settings]
Faults = Callable[[str], list[str]]

ENV = {"OPERATOR_PASSWORD": "s3cret", "EMPTY": ""}


@pytest.fixture
def load_text(tmp_path: Path) -> Loader:
    """A function that loads a text as the file gateway.toml of a fresh folder."""

    def load_it(text: str) -> Settings:
        path = tmp_path / "gateway.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, env=ENV)

    return load_it


@pytest.fixture
def faults_of(load_text: Loader) -> Faults:
    """A function that gives the rendered faults of a text, which must have some."""

    def collect(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text)
        return [str(fault) for fault in caught.value.faults]

    return collect
