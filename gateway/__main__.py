"""The program: `gateway` and `python -m gateway`.

Twisted's reactor is installed here, before anything can import it, and only for the commands that run the
daemon; then the command line takes over.
"""

import sys

_DAEMON_COMMANDS = {"run", "demo"}


def main() -> None:
    """Ends the process with the command's exit code."""
    arguments = sys.argv[1:]
    if _DAEMON_COMMANDS.intersection(arguments[:1]):
        _install_reactor()
    from gateway.cli.app import run  # noqa: PLC0415 - imports what may import the reactor

    sys.exit(run(arguments))


def _install_reactor() -> None:
    """One loop for everything: Twisted's reactor on asyncio, on uvloop."""
    import asyncio  # noqa: PLC0415 - only the daemon needs them

    import uvloop  # noqa: PLC0415 - as above
    from twisted.internet import asyncioreactor  # noqa: PLC0415 - as above

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)  # type: ignore[no-untyped-call]  # Twisted types parts of itself


if __name__ == "__main__":
    main()
