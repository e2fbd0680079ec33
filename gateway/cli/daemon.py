"""`gateway run` and `gateway demo`: the daemon in the foreground.

`gateway.__main__` has installed the reactor before this is imported.
"""

import typer

from config import load
from gateway import tls
from gateway.terminal.faults import CliError
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption


def run(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Run the gateway until SIGTERM. Makes no account and no secret: that is the operator's to do."""
    from gateway import process, starting  # noqa: PLC0415 - other commands do without Twisted
    from gateway.logs import log as logs  # noqa: PLC0415 - as above

    settings = load(config)
    logs.configure(settings.log)
    try:
        return process.run(settings, config_path=config.resolve())
    except starting.StartError as error:
        raise CliError(str(error)) from error


def demo(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Run the gateway with a demo account, made at the first start; what `make run` calls."""
    from gateway import starting  # noqa: PLC0415 - other commands do without Twisted
    from gateway.cli import demo as demonstration  # noqa: PLC0415 - as above
    from gateway.logs import log as logs  # noqa: PLC0415 - as above

    settings = load(config)
    logs.configure(settings.log)
    try:
        return demonstration.run(settings, config_path=config.resolve())
    except (starting.StartError, tls.CertificateError) as error:
        raise CliError(str(error)) from error


def add_to(app: typer.Typer) -> None:
    """The commands, on the program itself."""
    app.command()(run)
    app.command()(demo)
