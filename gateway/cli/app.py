"""The command line as a whole: every noun, and what any command's end looks like.

`run` gives the exit code: 0 done, 1 could not be done, 2 the command was written wrongly. Errors go to
standard error, one line each; a traceback is shown to nobody who did not ask for it.
"""

import logging
import os
import sys
import traceback
from collections.abc import Sequence

import structlog
import typer
from typer.main import get_command

from gateway.cli import account, check, daemon, db, notice, version
from gateway.cli.opening import opened
from gateway.terminal.faults import explain, unforeseen, wants_traceback
from gateway.terminal.output import complain
from gateway.terminal.session import opening
from gateway.verticals import VERTICALS

app = typer.Typer(
    name="gateway",
    help="A self-hosted mail and SMS gateway with prepaid credits.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
daemon.add_to(app)
check.add_to(app)
for noun in (db.app, account.app, notice.app, *(command for one in VERTICALS for command in one.commands)):
    app.add_typer(noun)
version.add_to(app)


def run(arguments: Sequence[str]) -> int:
    """Does what the arguments say; the exit code."""
    _quiet_logs()
    try:
        with opening(opened):
            code = get_command(app).main(args=list(arguments), prog_name="gateway", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        return _usage(error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: nobody is shown a traceback
        return _failed(error)
    return code if isinstance(code, int) else 0


def _quiet_logs() -> None:
    """Commands print results and errors; logs are the daemon's, which sets them up by itself."""
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = "gateway" if context is None else context.command_path
    text = " ".join(error.format_message().split()) if hasattr(error, "format_message") else str(error)
    complain(f"{command}: {text.rstrip('.')}. Try: {command} --help")
    return 2


def _failed(error: Exception) -> int:
    text = explain(error)
    if text is None:
        if wants_traceback():
            traceback.print_exc()
        text = unforeseen(error)
    complain(f"gateway: {text}")
    return 1
