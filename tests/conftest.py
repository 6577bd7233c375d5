"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# A busy machine is slow, and no test may fail for that.
hypothesis.settings.register_profile("flareharness", deadline=None)
hypothesis.settings.load_profile("flareharness")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def key_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Results of tests are signed with a key of their own, not with the one of whoever runs them."""
    os.environ["FLAREHARNESS_KEY"] = str(tmp_path_factory.mktemp("key") / "key")


@pytest.fixture(scope="session", autouse=True)
def lock_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests do not wait for a harness that measures on this host meanwhile."""
    os.environ["FLAREHARNESS_HOST_LOCK"] = str(tmp_path_factory.mktemp("lock") / "measuring.lock")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that the tests run from."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real CT beside the checkout, or at FLAREHARNESS_SHARED_DATA; a test that needs it skips without."""
    folder = Path(os.environ.get("FLAREHARNESS_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"REAL CT MISSING: no folder {folder}; set FLAREHARNESS_SHARED_DATA to run this test")
    return folder
