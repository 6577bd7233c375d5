"""Engines are found by name."""

from __future__ import annotations

from importlib import import_module

import pytest

from harness.engine.registry import ENGINES, open_engine
from harness.errors import ConfigurationError, PrerequisiteError


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_can_be_opened(name: str) -> None:
    assert callable(import_module(ENGINES[name]).open_engine)


def test_a_misspelt_engine_is_told_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"no engine 'doker'.*Did you mean docker"):
        open_engine("doker")


def test_an_address_reaches_the_engine() -> None:
    with pytest.raises(PrerequisiteError, match=r"nowhere\.sock: no such socket"):
        open_engine("docker", address="unix:///nowhere.sock")


def test_an_engine_of_folders_takes_no_images() -> None:
    engine = open_engine("process")
    assert (engine.images, engine.facts.isolated) == (None, False)
    with pytest.raises(PrerequisiteError, match="runs folders, not images"):
        engine.import_image(b"", "a:b")
