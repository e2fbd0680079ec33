"""`gateway version`."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import typer

from gateway.terminal.output import say


def program_version() -> str:
    """The version of the installed package."""
    try:
        return installed("gateway")
    except PackageNotFoundError:
        return "not installed"


def version() -> None:
    """Show the version of the gateway and of Python."""
    say(f"gateway {program_version()} on Python {platform.python_version()}")


def add_to(app: typer.Typer) -> None:
    """The command, on the program itself."""
    app.command()(version)
