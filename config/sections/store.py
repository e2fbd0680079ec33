"""`[store]`: the database."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from config.kinds import Positive, Seconds, Secret, Text

_STORE_URL = Text(
    lambda text: text.startswith(("sqlite:", "postgresql://")),
    '"sqlite:PATH" or "postgresql://USER@HOST/DATABASE"',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """`[store]`: where everything is kept.

    After `load` the path in a sqlite URL is absolute, and a password written into a postgresql URL has moved
    to `password`, so that `url` may be logged.
    """

    url: Annotated[str, _STORE_URL] = "sqlite:var/gateway.db"
    password: Secret | None = None
    batch_max: Positive = 500
    queue_max: Positive = 10_000
    lease_s: Seconds = 15.0
    busy_timeout_s: Seconds = 10.0

    @property
    def sqlite_path(self) -> Path | None:
        """The database file, or None when the store is PostgreSQL."""
        return Path(self.url.removeprefix("sqlite:")) if self.url.startswith("sqlite:") else None
