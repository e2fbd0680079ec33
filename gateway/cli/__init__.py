"""The command line: one module per noun, each a Typer that `gateway.cli.app` puts together.

Commands other than `run` and `demo` open the database for a moment (`gateway.cli.session`) and work whether
the daemon runs or not; a running daemon sees their changes within a second.
"""
