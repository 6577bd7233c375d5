"""Run one build in the engine: the context goes in, log lines come out, and no stage stays behind."""

from __future__ import annotations

import re
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from docker.errors import APIError

from harness.errors import InfrastructureError
from harness.submission.context import Entry, write_tar
from harness.submission.image import CONTENT_LABEL, Progress, engine_answers, inspect, patient

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


def run_build(
    client: Any,
    reference: str,
    context: Iterable[Entry],
    *,
    build_args: Mapping[str, str],
    content: str,
    network: bool,
    progress: Progress,
) -> None:
    """Build an image and tag it.

    Args:
        client: A `docker.DockerClient`.
        reference: The tag.
        context: What is sent, Dockerfile included.
        build_args: As for `docker build --build-arg`.
        content: Stored as the image's content label.
        network: Whether RUN lines have the engine's network; otherwise they have none.
        progress: Gets each line of the build.

    Raises:
        BuildFailed: the Dockerfile does not build.
        InfrastructureError: the engine went away, or its disk is full.
    """
    progress(f"building {reference}")
    log = _Log(progress)
    with tempfile.TemporaryFile(prefix="flareharness-context-") as archive, patient(client):
        write_tar(context, archive)
        archive.seek(0)
        try:
            with engine_answers(f"building {reference}"):
                for event in client.api.build(
                    fileobj=archive,
                    custom_context=True,
                    tag=reference,
                    buildargs=dict(build_args),
                    labels={CONTENT_LABEL: content},
                    network_mode=None if network else "none",
                    rm=True,
                    forcerm=True,
                    decode=True,
                ):
                    log.take(event)
        except APIError as error:
            raise BuildFailed(" ".join(str(error.explanation or error).split())) from error
    _drop_stages(client, log.made)


class _Log:
    """Follow the engine's events: pass lines on, remember the last, and which images the steps made."""

    def __init__(self, progress: Progress) -> None:
        self.made: list[str] = []
        self._progress = progress
        self._last: deque[str] = deque(maxlen=_LOG_LINES)
        self._instruction = ""
        self._unfinished = ""

    def take(self, event: Mapping[str, Any]) -> None:
        # Events follow what a program wrote at once, which may be part of a line.
        *lines, self._unfinished = f"{self._unfinished}{event.get('stream', '')}".split("\n")
        for line in lines:
            plain = _COLOUR.sub("", line).rstrip()
            if plain:
                self._line(plain)
        if error := event.get("error"):
            why, log = " ".join(str(error).split()), " / ".join(self._last)
            if "no space left on device" in f"{why} {log}".lower():
                raise InfrastructureError(
                    "the disk is full",
                    where="building an image",
                    mend="Free space where the engine keeps its images.",
                )
            raise BuildFailed(why, log)

    def _line(self, line: str) -> None:
        self._last.append(line.strip())
        self._progress(line)
        if step := _STEP.match(line):
            self._instruction = step[1].upper()
        elif (made := _MADE.match(line)) and self._instruction != "FROM":
            self.made.append(made[1])


def _drop_stages(client: Any, made: list[str]) -> None:
    """Remove the images of stages that the final one was copied from: they keep whole parents alive.

    The engine refuses to remove what the final image stands on, so its own steps stay as a cache.
    """
    with engine_answers("removing build stages"):
        for image in reversed(made):
            found = inspect(client, image)
            if found is not None and not found.get("RepoTags"):
                with suppress(APIError):
                    client.api.remove_image(image, noprune=True)
