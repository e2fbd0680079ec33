"""Schemathesis over the description: whatever it makes up, the answers keep to what is described.

The API runs on a loop in a thread of its own, since schemathesis calls it from outside, over a real socket. A
few examples per operation, the same ones at every run.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from gateway.http.describe import openapi
from gateway.http.describe.catalogue import about
from gateway.verticals import OPERATIONS
from tests.http.world import World, make_settings, world

EXAMPLES = 4
# What a schema cannot say is refused all the same: a number that is none, a sender that is not approved.
BEYOND_SCHEMAS = positive_data_acceptance
DESCRIBED = about(OPERATIONS)
schema = schemathesis.openapi.from_dict(openapi.document(DESCRIBED, server="/"))
schema.config.generation.modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
_REJECTED = schema.config.checks.negative_data_rejection
_REJECTED.expected_statuses = [*_REJECTED.expected_statuses, "413", "414"]  # what is too long to be looked at


class ApiThread:
    """The API on a loop of its own."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api-under-test")
        self.api: World

    def start(self) -> None:
        self._thread.start()
        limits = make_settings(http={"rate_per_s": 0}, limits={"auth_free_failures": 1_000_000})
        entering = self._stack.enter_async_context(world(self._folder, settings=limits, credits=10_000))
        self.api = asyncio.run_coroutine_threadsafe(entering, self._loop).result(20)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The API, running for the whole module."""
    thread = ApiThread(tmp_path_factory.mktemp("api"))
    thread.start()
    yield thread.api
    thread.stop()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_keeps_to_its_description(case: schemathesis.Case[Any], api: World) -> None:
    headers = {"Authorization": f"Bearer {api.key}"}
    case.call_and_validate(base_url=api.url, headers=headers, excluded_checks=[BEYOND_SCHEMAS])
