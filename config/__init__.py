"""The configuration: what `gateway.toml` may say, its defaults, and how it is read.

`load(path)` gives a `Settings` or raises one `ConfigError` with every fault of the file in it. `Settings()`
is the sandbox with all defaults. Nothing here knows what the settings are used for.
"""

from config.decode import from_mapping
from config.diff import differences
from config.fault import ConfigError, Fault
from config.kinds import Secret
from config.load import load
from config.schema import Settings

__all__ = ["ConfigError", "Fault", "Secret", "Settings", "differences", "from_mapping", "load"]
