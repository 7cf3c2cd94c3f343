"""Storages that the contracts are tried on."""

from collections.abc import Iterator

import pytest

from tests.postgres import MakeDatabase, running_postgres, why_not


@pytest.fixture(scope="session")
def make_database() -> Iterator[MakeDatabase]:
    """Makes empty PostgreSQL databases; skips, with the reason, where there is no PostgreSQL."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_postgres() as make:
        yield make
