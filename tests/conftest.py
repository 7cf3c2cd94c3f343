"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

from .stores import fresh_database, server_uri, sqlite_uri

__all__ = ["fresh_database", "server_uri", "sqlite_uri"]  # fixtures

PROJECT = Path(__file__).parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"
LONG = "takes minutes on two cores; skipped unless asked for: pytest -m long"
NO_SHARED_DATA = "the real photos and weights of ../shared/data are not here"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(PROJECT))))  # a file's fixtures are made once
    if "long" not in config.getoption("-m"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason=LONG))
    if SHARED_DATA.is_dir():
        return
    if os.environ.get("STUDY_REQUIRE_SHARED_DATA"):
        raise pytest.UsageError(f"STUDY_REQUIRE_SHARED_DATA is set, but {NO_SHARED_DATA}")
    for item in items:
        if item.get_closest_marker("shared_data"):
            item.add_marker(pytest.mark.skip(reason=NO_SHARED_DATA))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real photos and weights; tests that use it carry the marker `shared_data`."""
    return SHARED_DATA


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT
