"""Images that score on a platform: the evaluator's, with a challenge's rules in it or no entrypoint."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from harness.engine.images import ImageClient
from harness.submission.build import build_ours, ensure, present
from harness.submission.builder import Build
from harness.submission.context import collect, content_hash
from harness.submission.image import BuiltImage, Progress, content_of, silent
from harness.submission.lock import build_lock
from harness.submission.recipes import EVALUATOR, checkout

Platform = Literal["grand-challenge", "codabench"]

_RULES = "rules.json"


def build_scorer(
    images: ImageClient,
    platform: Platform,
    *,
    challenge: str,
    rules: str = "",
    progress: Progress = silent,
) -> BuiltImage:
    """Return the image that a platform scores with, building it and what it stands on where need be.

    Args:
        images: The engine's images.
        platform: Whose convention: the folder of docker/ with its Dockerfile.
        challenge: The challenge's name, part of the image's.
        rules: The text of rules.json, for an image that carries it.
        progress: Gets one line of the build at a time.

    Raises:
        PrerequisiteError: the base image cannot be made on this host.
        InfrastructureError: building or the engine failed.
    """
    parent = ensure(images, EVALUATOR, progress)
    recipe = checkout() / "docker" / platform
    with build_lock(progress), tempfile.TemporaryDirectory(prefix="flareharness-scorer-") as folder:
        extra: dict[str, Path] = {}
        if rules:
            extra[_RULES] = Path(folder) / _RULES
            extra[_RULES].write_text(rules, encoding="utf-8")
        context = collect(recipe, extra)
        content = content_hash(context, more=[platform, content_of(images, EVALUATOR) or parent.digest])
        reference = f"flareharness/{platform}/{challenge}:{content[:16]}"
        if content_of(images, reference) != content:
            build = Build(reference, context, {"PARENT": EVALUATOR}, content)
            build_ours(images, build, platform, progress)
        return present(images, reference)
