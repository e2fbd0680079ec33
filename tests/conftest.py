"""What every test may ask for, and what a skipped one means."""

pytest_plugins = ("tests.support.no_skips", "tests.support.fixtures")
