"""The databases of these tests."""

from tests.gateway.conftest import engine, postgresql

__all__ = ["engine", "postgresql"]
