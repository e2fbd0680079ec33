"""A kind of upstream is whole: it can be configured, it has a channel, and something builds it."""

from typing import get_args

import pytest

from config.sections.upstreams import CHANNEL_OF, Upstream
from gateway.upstreams.registry import BUILDERS

KINDS = {one.__dataclass_fields__["type"].default: one for one in get_args(Upstream)}


@pytest.mark.parametrize("kind", sorted({*KINDS, *BUILDERS}))
def test_a_kind_of_upstream_is_whole(kind: str) -> None:
    assert kind in KINDS, f"config.sections.upstreams.Upstream lacks the settings of {kind}"
    assert kind in BUILDERS, f"gateway.upstreams.registry.BUILDERS lacks {kind}"
    assert CHANNEL_OF[kind] in ("mail", "sms"), f"the settings of {kind} lack their channel"
