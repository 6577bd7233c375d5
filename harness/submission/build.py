"""Build images by content: what has not changed is not built again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from docker.errors import APIError

from harness.errors import InfrastructureError, SubmissionError
from harness.submission.base import provide, sources
from harness.submission.builder import BuildFailed, run_build
from harness.submission.context import Entry, collect, content_hash
from harness.submission.dockerfile import parents
from harness.submission.find import Submission
from harness.submission.image import (
    BuiltImage,
    Progress,
    content_of,
    describe,
    engine_answers,
    inspect,
    patient,
    silent,
)
from harness.submission.lock import build_lock
from harness.submission.recipes import RECIPES, Recipe, checkout
from harness.submission.wheels import ensure_wheels

SUBMISSION_IMAGES = "flareharness/submission"


def build(submission: Submission, *, challenge: str, client: Any, progress: Progress = silent) -> BuiltImage:
    """Return a submission's image for a challenge, building it and our images under it if need be.

    The image's tag is the hash over its build context, build arguments and parents, so an image
    that is there is the right one. Challenges with the same build arguments share it.

    Args:
        submission: See `harness.submission.find`.
        challenge: The challenge's name; submission.toml may have build arguments of its own for it.
        client: A `docker.DockerClient`.
        progress: Gets one line of the build at a time.

    Raises:
        SubmissionError: there is no Dockerfile, or it does not build; the last lines are in the message.
        PrerequisiteError: our base image cannot be made on this host.
        InfrastructureError: the engine failed, or the disk is full.
    """
    if not submission.dockerfile.is_file():
        raise SubmissionError(
            "the submission has no Dockerfile",
            where=submission.folder,
            mend="Add one, FROM flareharness/runtime:cpu or any image that has Python and your libraries.",
        )
    if submission.missing:
        raise SubmissionError(
            f"the submission has no {' and no '.join(submission.missing)}, which its training makes",
            where=submission.folder,
            mend=f"Train it first: make train TEAM={submission.name} DATA=dir.",
        )
    with build_lock(progress):
        return _build_submission(client, submission, challenge, progress)


def ensure(client: Any, reference: str, progress: Progress = silent) -> BuiltImage:
    """Return one of our own images (see `RECIPES`), building it and its parents where missing or changed.

    Raises:
        PrerequisiteError: the base image cannot be made on this host.
        InfrastructureError: fetching wheels, building, or the engine failed.
    """
    with build_lock(progress):
        _ensure_recipe(client, RECIPES[reference], progress)
        return _present(client, reference)


def _build_submission(client: Any, submission: Submission, challenge: str, progress: Progress) -> BuiltImage:
    build_args = submission.manifest.build_args_for(challenge)
    text = submission.dockerfile.read_text(encoding="utf-8", errors="replace")
    parent_contents = [
        _ensure_parent(client, name, submission, progress) for name in parents(text, build_args)
    ]
    context = collect(submission.folder)
    content = content_hash(context, more=[build_args, parent_contents])
    reference = f"{SUBMISSION_IMAGES}/{submission.name}:{content[:16]}"
    if content_of(client, reference) != content:
        try:
            run_build(
                client,
                reference,
                context,
                build_args=build_args,
                content=content,
                network=submission.manifest.build_network,
                progress=progress,
            )
        except BuildFailed as failure:
            raise _not_built(submission, failure) from failure
    return _present(client, reference)


def _ensure_recipe(client: Any, recipe: Recipe, progress: Progress) -> str:
    """Return the content hash of the image, which the engine has afterwards."""
    root = checkout()
    context = collect(
        root / "docker" / recipe.folder, {name: root / path for name, path in recipe.files.items()}
    )
    if recipe.parent is None:
        return _ensure_base(client, recipe, context, progress)
    parent_content = _ensure_recipe(client, RECIPES[recipe.parent], progress)
    content = content_hash(context, more=[dict(recipe.build_args), parent_content])
    if content_of(client, recipe.reference) != content:
        if recipe.wheels is not None:
            wheels = ensure_wheels(recipe.wheels, progress)
            context += tuple(Entry(f"wheels/{path.name}", path) for path in sorted(wheels.glob("*.whl")))
        _build_own(client, recipe, recipe.parent, context, content, progress)
    return content


def _ensure_base(client: Any, recipe: Recipe, context: Sequence[Entry], progress: Progress) -> str:
    allowed = sources()
    contents = {source: content_hash(context, more=[source.identity]) for source in allowed}
    present = content_of(client, recipe.reference)
    if present is not None and present in contents.values():
        return present
    source = provide(client, allowed, progress)
    _build_own(client, recipe, source.reference, context, contents[source], progress)
    return contents[source]


def _build_own(
    client: Any, recipe: Recipe, parent: str, context: Sequence[Entry], content: str, progress: Progress
) -> None:
    superseded = describe(client, recipe.reference)
    try:
        run_build(
            client,
            recipe.reference,
            context,
            build_args={"PARENT": parent, **recipe.build_args},
            content=content,
            network=False,
            progress=progress,
        )
    except BuildFailed as failure:
        raise InfrastructureError(
            f"{recipe.reference} does not build: {failure.why}",
            where=f"docker/{recipe.folder}",
            mend=f"Last lines: {failure.log}.",
        ) from failure
    if superseded is not None:
        # Nobody can name it any more; the engine keeps it while an older submission stands on it.
        with engine_answers("removing a superseded image"), suppress(APIError):
            client.api.remove_image(superseded.digest)


def _ensure_parent(client: Any, name: str, submission: Submission, progress: Progress) -> str:
    """Make a submission's parent image present, and return what identifies its content."""
    if name in RECIPES:
        return _ensure_recipe(client, RECIPES[name], progress)
    found = inspect(client, name)
    if found is None and "$" not in name:
        progress(f"pulling {name}")
        try:
            with engine_answers(f"pulling {name}"), patient(client):
                client.images.pull(name)
        except APIError as error:
            raise SubmissionError(
                f"the Dockerfile builds on {name}, which is not here and cannot be pulled: {_text(error)}",
                where=submission.dockerfile,
                mend="Load that image first, or build on flareharness/runtime:cpu.",
            ) from error
        found = inspect(client, name)
    return str(found["Id"]) if found else name


def _not_built(submission: Submission, failure: BuildFailed) -> SubmissionError:
    mend = f"Last lines: {failure.log}." if failure.log else "The whole log is above."
    if not submission.manifest.build_network:
        mend += " RUN lines have no network unless submission.toml says build_network = true."
    return SubmissionError(f"the image does not build: {failure.why}", where=submission.dockerfile, mend=mend)


def _present(client: Any, reference: str) -> BuiltImage:
    image = describe(client, reference)
    if image is None:
        raise InfrastructureError(
            "the image was built, and is gone again", where=reference, mend="Run it again."
        )
    return image


def _text(error: APIError) -> str:
    return " ".join(str(error.explanation or error).split())
