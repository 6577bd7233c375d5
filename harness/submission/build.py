"""Build images by content: what has not changed is not built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from harness.engine.images import EngineImage, EngineRefused, ImageClient
from harness.errors import InfrastructureError, SubmissionError
from harness.submission.base import provide, sources
from harness.submission.builder import Build, BuildFailed, build_limits, run_build
from harness.submission.context import Entry, collect, content_hash
from harness.submission.dockerfile import ESCAPES, fetched, instructions, is_readable, parents
from harness.submission.find import Submission
from harness.submission.image import BuiltImage, Progress, content_of, describe, silent
from harness.submission.lock import build_lock
from harness.submission.recipes import RECIPES, Recipe, checkout
from harness.submission.remove import is_ours
from harness.submission.wheels import ensure_wheels

SUBMISSION_IMAGES = "flareharness/submission"


def build(
    submission: Submission, *, challenge: str, images: ImageClient, progress: Progress = silent
) -> BuiltImage:
    """Return a submission's image for a challenge, building it and our images under it if need be.

    The image's tag is the hash over its build context, build arguments and parents, so an image
    that is there is the right one. Challenges with the same build arguments share it.

    Args:
        submission: See `harness.submission.find`.
        challenge: The challenge's name; submission.toml may have build arguments of its own for it.
        images: The engine's images.
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
        return _build_submission(images, submission, challenge, progress)


def ensure(images: ImageClient, reference: str, progress: Progress = silent) -> BuiltImage:
    """Return one of our own images (see `RECIPES`), building it and its parents where missing or changed.

    Raises:
        PrerequisiteError: the base image cannot be made on this host.
        InfrastructureError: fetching wheels, building, or the engine failed.
    """
    with build_lock(progress):
        _ensure_recipe(images, RECIPES[reference], progress)
        return present(images, reference)


def _build_submission(
    images: ImageClient, submission: Submission, challenge: str, progress: Progress
) -> BuiltImage:
    build_args = submission.manifest.build_args_for(challenge)
    text = submission.dockerfile.read_text(encoding="utf-8", errors="replace")
    _refuse_forbidden(submission, text, build_args)
    parent_contents = [
        _ensure_parent(images, name, submission, progress) for name in parents(text, build_args)
    ]
    context = collect(submission.folder)
    content = content_hash(context, more=[build_args, parent_contents])
    reference = f"{SUBMISSION_IMAGES}/{submission.name}:{content[:16]}"
    if content_of(images, reference) != content:
        network = submission.manifest.build_network
        build = Build(reference, context, build_args, content, network=network)
        try:
            run_build(images, build, build_limits(images.host, ours=False), progress)
        except BuildFailed as failure:
            raise _not_built(submission, failure) from failure
    return present(images, reference)


def _ensure_recipe(images: ImageClient, recipe: Recipe, progress: Progress) -> str:
    """Return the content hash of the image, which the engine has afterwards."""
    root = checkout()
    context = collect(
        root / "docker" / recipe.folder, {name: root / path for name, path in recipe.files.items()}
    )
    if recipe.parent is None:
        return _ensure_base(images, recipe, context, progress)
    parent_content = _ensure_recipe(images, RECIPES[recipe.parent], progress)
    content = content_hash(context, more=[dict(recipe.build_args), parent_content])
    own_tag = recipe.tag_of(content)
    if recipe.keeps_others and content_of(images, own_tag) == content:
        # Another checkout's build may have taken the name meanwhile; the build lock holds it from here on.
        images.tag(own_tag, recipe.reference)
    elif content_of(images, recipe.reference) != content:
        if recipe.wheels is not None:
            wheels = ensure_wheels(recipe.wheels, progress)
            context += tuple(Entry(f"wheels/{path.name}", path) for path in sorted(wheels.glob("*.whl")))
        _build_own(images, recipe, recipe.parent, context, content, progress)
    if recipe.keeps_others:
        images.tag(recipe.reference, own_tag)
    return content


def _ensure_base(images: ImageClient, recipe: Recipe, context: Sequence[Entry], progress: Progress) -> str:
    allowed = sources()
    contents = {source: content_hash(context, more=[source.identity]) for source in allowed}
    present = content_of(images, recipe.reference)
    if present is not None and present in contents.values():
        return present
    source = provide(images, allowed, progress)
    _build_own(images, recipe, source.reference, context, contents[source], progress)
    return contents[source]


def _build_own(
    images: ImageClient,
    recipe: Recipe,
    parent: str,
    context: Sequence[Entry],
    content: str,
    progress: Progress,
) -> None:
    superseded = images.inspect(recipe.reference)
    build = Build(recipe.reference, tuple(context), {"PARENT": parent, **recipe.build_args}, content)
    build_ours(images, build, recipe.folder, progress)
    if superseded is not None and len(superseded.tags) <= 1:
        # Nobody can name it any more; the engine keeps it while an older submission stands on it.
        with suppress(EngineRefused):
            images.remove(superseded.id)


def build_ours(images: ImageClient, build: Build, folder: str, progress: Progress) -> None:
    """Build an image of our own, from a folder of docker/; whoever calls holds the build lock.

    Raises:
        InfrastructureError: it does not build, or the engine failed.
    """
    try:
        run_build(images, build, build_limits(images.host, ours=True), progress)
    except BuildFailed as failure:
        raise InfrastructureError(
            f"{build.reference} does not build: {failure.why}",
            where=f"docker/{folder}",
            mend=f"Last lines: {failure.log}.",
        ) from failure


def _refuse_forbidden(submission: Submission, text: str, build_args: Mapping[str, str]) -> None:
    """Refuse what reaches beyond the context and the parents, however the builder may read the lines.

    Raises:
        SubmissionError: ADD of an address, which the engine itself would fetch from where it stands; or a
            parent of ours that is no base, such as another team's image.
    """
    for escape in ESCAPES:
        _refuse_addresses(submission, instructions(text, escape=escape))
        for name in parents(text, build_args, escape=escape):
            if not is_readable(name):
                raise SubmissionError(
                    f"the image does not build: its parent {name!r} is a name that cannot be read",
                    where=submission.dockerfile,
                    mend="Name the image, or give the variable a default before the first FROM.",
                )
            if is_ours(name) and name not in RECIPES:
                raise _foreign_parent(submission, name)


def _refuse_addresses(submission: Submission, lines: Sequence[str], *, parent: str = "") -> None:
    if addresses := fetched(lines):
        of_parent = f" (ONBUILD of {parent})" if parent else ""
        raise SubmissionError(
            f"the Dockerfile ADDs what the engine would fetch: {addresses[0][:200]}{of_parent}",
            where=submission.dockerfile,
            mend="COPY a file of the folder; with build_network = true a RUN line may download.",
        )


def _foreign_parent(submission: Submission, name: str) -> SubmissionError:
    return SubmissionError(
        f"the Dockerfile builds on {name}, an image of the harness that no submission may build on",
        where=submission.dockerfile,
        mend=f"Build on {', '.join(sorted(RECIPES)[:1])} or flareharness/runtime:cpu, by name.",
    )


def _ensure_parent(images: ImageClient, name: str, submission: Submission, progress: Progress) -> str:
    """Make a submission's parent image present, and return what identifies its content."""
    if name in RECIPES:
        return _ensure_recipe(images, RECIPES[name], progress)
    found = images.inspect(name)
    if found is None:
        progress(f"pulling {name}")
        try:
            images.pull(name)
        except EngineRefused as error:
            raise SubmissionError(
                f"the Dockerfile builds on {name}, which is not here and cannot be pulled: {error}",
                where=submission.dockerfile,
                mend="Load that image first, or build on flareharness/runtime:cpu.",
            ) from error
        found = images.inspect(name)
    if found is None:
        return name
    if _is_id_of(name, found) or any(is_ours(tag) for tag in found.tags):
        raise _foreign_parent(submission, name)
    _refuse_addresses(submission, found.on_build, parent=name)
    return found.id


def _is_id_of(name: str, image: EngineImage) -> bool:
    """Whether a name is an id, whole or in part: a stranger's folder may name images by tags alone."""
    digits = name.removeprefix("sha256:")
    return image.id.removeprefix("sha256:").startswith(digits)


def _not_built(submission: Submission, failure: BuildFailed) -> SubmissionError:
    mend = f"Last lines: {failure.log}." if failure.log else "The whole log is above."
    if not submission.manifest.build_network:
        mend += " RUN lines have no network unless submission.toml says build_network = true."
    return SubmissionError(f"the image does not build: {failure.why}", where=submission.dockerfile, mend=mend)


def present(images: ImageClient, reference: str) -> BuiltImage:
    """Return an image that was just built.

    Raises:
        InfrastructureError: somebody removed it meanwhile.
    """
    image = describe(images, reference)
    if image is None:
        raise InfrastructureError(
            "the image was built, and is gone again", where=reference, mend="Run it again."
        )
    return image
