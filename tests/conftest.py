"""Fixtures and the collection rule shared by all tests."""

import os
from pathlib import Path

import pytest

_CATEGORIES = {"unit", "slow", "browser", "gpu"}
_BESIDE = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marks = {mark.name for mark in item.iter_markers()} & _CATEGORIES
        if not marks:
            raise pytest.UsageError(f"{item.nodeid} carries none of {sorted(_CATEGORIES)}")


@pytest.fixture(scope="session")
def material() -> Path:
    """The folder of real clips and voices; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("VISAVIS_MATERIAL", _BESIDE))
    if not folder.is_dir():
        pytest.skip(f"no real material at {folder}: set VISAVIS_MATERIAL to its folder")
    return folder
