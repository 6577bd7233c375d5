"""The engines there are, by name. A new one is a module with `open_engine` and a line here."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING

from harness.engine.base import ContainerEngine
from harness.errors import ConfigurationError

if TYPE_CHECKING:  # it imports the SDK of one engine
    from harness.engine.images import ImageClient

ENGINES = {
    "apptainer": "harness.engine.apptainer",
    "docker": "harness.engine.docker",
    "process": "harness.engine.process",
}
"""Each module has a function `open_engine(address)`; it is imported when its engine is asked for."""

DEFAULT_ENGINE = "docker"


def open_engine(name: str = DEFAULT_ENGINE, *, address: str | None = None) -> ContainerEngine:
    """Return the engine of a name, connected.

    Args:
        name: One of `ENGINES`; "docker" is Podman's compatible socket too.
        address: Where it listens, for those that listen; by default where they usually do.

    Raises:
        ConfigurationError: there is no engine of that name.
        PrerequisiteError: it does not answer.
    """
    if name not in ENGINES:
        near = difflib.get_close_matches(name, ENGINES, 1)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise ConfigurationError(
            f"there is no engine {name!r}", mend=f"There are {', '.join(sorted(ENGINES))}.{guess}"
        )
    opened: ContainerEngine = import_module(ENGINES[name]).open_engine(address)
    return opened


def images_of(engine: ContainerEngine) -> ImageClient:
    """Return the images that an engine holds.

    Raises:
        ConfigurationError: it runs folders.
    """
    if engine.images is None:
        raise ConfigurationError(
            f"the engine {engine.facts.name} runs folders, not images", mend="Use --engine docker."
        )
    return engine.images
