"""The project's own images, as data: what each is made from. `harness.submission.build` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import PrerequisiteError
from harness.submission.find import Submission

BASE = "flareharness/base:bookworm"
RUNTIME_CPU = "flareharness/runtime:cpu"
EVALUATOR = "flareharness/evaluator:latest"


@dataclass(frozen=True)
class WheelSet:
    """Wheels for Linux and Python 3.11 that a build installs without a network.

    Attributes:
        name: Its folder in the wheelhouse.
        requirements: The requirements file, from the checkout's root; None for the building tools alone.
    """

    name: str
    requirements: str | None = None


@dataclass(frozen=True)
class Recipe:
    """One image of ours.

    Attributes:
        folder: Holds its Dockerfile and build context, under docker/.
        parent: The image it builds on, one of ours; None for the base, which has two sources.
        files: More of the context: name in the context -> path from the checkout's root.
        wheels: Put into the context as wheels/.
        keeps_others: Whether those made from other contents stay, each under a tag of its own: several
            checkouts on one host then do not make the same small image anew in turns.
    """

    reference: str
    folder: str
    parent: str | None
    files: Mapping[str, str] = field(default_factory=dict)
    wheels: WheelSet | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    keeps_others: bool = False

    def tag_of(self, content: str) -> str:
        """The tag that only an image of this content bears."""
        return f"{self.reference}-{content[:16]}"


def _libraries(variant: str) -> Recipe:
    requirements = f"docker/libraries/requirements-{variant}.txt"
    return Recipe(
        reference=f"flareharness/libraries:{variant}",
        folder="libraries",
        parent=BASE,
        files={"requirements.txt": requirements, "constraints.txt": "constraints-runtime.txt"},
        wheels=WheelSet(variant, requirements),
        build_args={"VARIANT": variant},
    )


def _runtime(variant: str) -> Recipe:
    return Recipe(
        reference=f"flareharness/runtime:{variant}",
        folder="runtime",
        parent=f"flareharness/libraries:{variant}",
        files={"segkit": "submissions/segkit"},
        wheels=WheelSet("tools"),
        keeps_others=True,
    )


RECIPES: Mapping[str, Recipe] = {
    recipe.reference: recipe
    for recipe in (
        Recipe(BASE, folder="base", parent=None),
        _libraries("cpu"),
        _runtime("cpu"),
        _libraries("cuda"),
        _runtime("cuda"),
        Recipe(
            EVALUATOR,
            folder="evaluator",
            parent=BASE,
            files={"evaluator": "evaluator", "constraints.txt": "constraints-runtime.txt"},
            wheels=WheelSet("evaluator", "docker/evaluator/requirements.txt"),
        ),
    )
}
"""Every image of ours by its reference, parents before children."""


def checkout() -> Path:
    """Return the folder that holds docker/: where the package lies, or the working folder.

    Raises:
        PrerequisiteError: neither is a checkout, so our own images cannot be built.
    """
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (folder / "docker" / "base" / "Dockerfile").is_file():
            return folder
    raise PrerequisiteError(
        "the recipes of the base and runtime images are not here",
        where=Path.cwd(),
        mend="Run from a checkout of the project, or load the images that another machine saved.",
    )


def folders_of(submission: Submission) -> tuple[Path, ...]:
    """Return a submission's folder, and those that the runtime image would put beside it.

    Unbuilt, its programs import these from the checkout; without a checkout there are none.
    """
    beside: list[Path] = []
    with suppress(PrerequisiteError):
        beside += (checkout() / path for path in RECIPES[RUNTIME_CPU].files.values())
    return (submission.folder.resolve(), *beside)
