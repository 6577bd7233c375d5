"""Run one build in the engine: the context goes in, log lines come out, and no stage stays behind."""

from __future__ import annotations

import re
import tempfile
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.engine.answers import full_disk, is_full_disk
from harness.engine.images import (
    BuildLimits,
    BuildRequest,
    EngineHost,
    EngineRefused,
    ImageClient,
)
from harness.submission.context import Entry, write_tar
from harness.submission.image import CONTENT_LABEL, Progress

BUILD_TIME_S = 3600.0
"""How long one build may take: it holds the host's build lock meanwhile."""

_MEMORY_OF_AN_UNKNOWN_HOST = 4 << 30
_LOG_LINES = 6
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"^Step \d+/\d+ : (\w+)")
_MADE = re.compile(r"^ ?---> ([0-9a-f]{12})$")


class BuildFailed(Exception):
    """The engine did not build the image.

    Attributes:
        why: The engine's reason, on one line.
        log: The last lines of the build, on one line; may be empty.
    """

    def __init__(self, why: str, log: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.log = log


@dataclass(frozen=True)
class Build:
    """What is to be built.

    Attributes:
        reference: The tag.
        context: What is sent, Dockerfile included.
        arguments: As for `docker build --build-arg`.
        content: Stored as the image's content label.
        network: Whether RUN lines have the engine's network; otherwise they have none.
    """

    reference: str
    context: tuple[Entry, ...]
    arguments: Mapping[str, str]
    content: str
    network: bool = False


def build_limits(host: EngineHost, *, ours: bool) -> BuildLimits:
    """Return what RUN lines may use: three quarters of the memory, and a stranger's all cores but one."""
    cores = host.cores if ours else max(1, host.cores - 1)
    memory = host.memory_bytes * 3 // 4 or _MEMORY_OF_AN_UNKNOWN_HOST
    return BuildLimits(memory_bytes=memory, cpus=cores, time_s=BUILD_TIME_S)


def run_build(images: ImageClient, build: Build, limits: BuildLimits, progress: Progress) -> None:
    """Build an image and tag it.

    Args:
        images: The engine's images.
        build: What is to be built.
        limits: What RUN lines may use, and how long it may take.
        progress: Gets each line of the build.

    Raises:
        BuildFailed: the Dockerfile does not build, or not within its limits.
        InfrastructureError: the engine went away, or its disk is full.
    """
    progress(f"building {build.reference}")
    log = _Log(progress)
    with tempfile.TemporaryFile(prefix="flareharness-context-") as archive:
        write_tar(build.context, archive)
        archive.seek(0)
        request = BuildRequest(
            tag=build.reference,
            context=archive,
            arguments=build.arguments,
            labels={CONTENT_LABEL: build.content},
            network=build.network,
            limits=limits,
        )
        try:
            for event in images.build(request):
                log.take(event)
        except EngineRefused as error:
            raise BuildFailed(str(error)) from error
        except TimeoutError as error:
            raise BuildFailed(f"it took longer than {limits.time_s / 60:.0f} min", log.last) from error
    _drop_stages(images, log.made)


class _Log:
    """Follow the engine's events: pass lines on, remember the last, and which images the steps made."""

    def __init__(self, progress: Progress) -> None:
        self.made: list[str] = []
        self._progress = progress
        self._last: deque[str] = deque(maxlen=_LOG_LINES)
        self._instruction = ""
        self._unfinished = ""

    @property
    def last(self) -> str:
        """The last lines, on one."""
        return " / ".join(self._last)

    def take(self, event: Mapping[str, Any]) -> None:
        # Events follow what a program wrote at once, which may be part of a line.
        *lines, self._unfinished = f"{self._unfinished}{event.get('stream', '')}".split("\n")
        for line in lines:
            plain = _COLOUR.sub("", line).rstrip()
            if plain:
                self._line(plain)
        if error := event.get("error"):
            why = " ".join(str(error).split())
            if is_full_disk(f"{why} {self.last}"):
                raise full_disk("building an image")
            raise BuildFailed(why, self.last)

    def _line(self, line: str) -> None:
        self._last.append(line.strip())
        self._progress(line)
        if step := _STEP.match(line):
            self._instruction = step[1].upper()
        elif (made := _MADE.match(line)) and self._instruction != "FROM":
            self.made.append(made[1])


def _drop_stages(images: ImageClient, made: list[str]) -> None:
    """Remove the images of stages that the final one was copied from: they keep whole parents alive.

    The engine refuses to remove what the final image stands on, so its own steps stay as a cache.
    """
    for image in reversed(made):
        found = images.inspect(image)
        if found is not None and not found.tags:
            with suppress(EngineRefused):
                images.remove(image, keep_parents=True)
