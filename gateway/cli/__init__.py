"""The command line: the nouns of the verticals, and those of the installation itself, put together in `app`.

Commands other than `run` and `demo` open the database for a moment (`gateway.terminal.session`) and work
whether the daemon runs or not; a running daemon sees their changes within a second.
"""
