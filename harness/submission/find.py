"""Find a submission by its team's name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigurationError, SubmissionError
from harness.submission.manifest import Manifest, read_manifest

MANIFEST = "submission.toml"
ENTRY = "predict.sh"


@dataclass(frozen=True)
class Submission:
    """A method's folder that was found complete: submission.toml and predict.sh."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The team's name, which is the folder's."""
        return self.manifest.name

    @property
    def dockerfile(self) -> Path:
        """Where the Dockerfile must be; only building needs it."""
        return self.folder / "Dockerfile"

    @property
    def missing(self) -> tuple[str, ...]:
        """What the manifest says must be made before a build, and is not there."""
        return tuple(name for name in self.manifest.needs if not (self.folder / name).exists())


def discover(submissions: Path) -> tuple[str, ...]:
    """Return the names of all folders with a submission.toml, sorted.

    Raises:
        ConfigurationError: there is no such folder.
    """
    if not submissions.is_dir():
        raise ConfigurationError(
            "the submissions folder does not exist",
            where=submissions,
            mend="Run from the checkout, or name the folder.",
        )
    return tuple(sorted(path.parent.name for path in submissions.glob(f"*/{MANIFEST}")))


def find(team: str, submissions: Path) -> Submission:
    """Return the submission `submissions/team`.

    Raises:
        ConfigurationError: no submission has that name; the message lists those there are.
        SubmissionError: it lacks predict.sh, or its submission.toml is missing or wrong.
    """
    if not submissions.is_dir():
        raise ConfigurationError(
            f"there is no submission named {team!r}: the submissions folder does not exist",
            where=submissions,
            mend=_elsewhere(team, submissions),
        )
    names = discover(submissions)
    folder = submissions / team
    # An incomplete folder of that very name deserves to hear what it lacks.
    if team not in names and not (_plain(team) and (folder / ENTRY).is_file()):
        raise ConfigurationError(
            f"there is no submission named {team!r}", where=submissions, mend=_suggestion(team, names)
        )
    return open_submission(folder)


def open_submission(folder: Path) -> Submission:
    """Return the submission in a folder, wherever it lies.

    Raises:
        SubmissionError: it lacks predict.sh, or its submission.toml is missing, wrong or another's.
    """
    manifest = read_manifest(folder / MANIFEST)
    if manifest.name != folder.resolve().name:
        raise SubmissionError(
            f"submission.toml names {manifest.name!r}, its folder is {folder.resolve().name!r}",
            where=folder / MANIFEST,
            mend="Make them the same.",
        )
    if not (folder / ENTRY).is_file():
        raise SubmissionError(
            "the submission has no predict.sh",
            where=folder,
            mend="Add it: it reads /workspace/inputs and writes /workspace/outputs.",
        )
    return Submission(folder, manifest)


def _plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _elsewhere(team: str, submissions: Path) -> str:
    """Return what to do where there is no folder of submissions: some may lie where it was sought."""
    place = submissions.parent
    near = tuple(sorted(path.parent.name for path in place.glob(f"*/{MANIFEST}")))
    if near:
        return f"Say `--submissions {place}`. {_suggestion(team, near)}"
    return (
        "Run from the checkout, name the folder (--submissions) or an archive (--image), "
        "or make one: `harness new NAME`."
    )


def _suggestion(team: str, names: tuple[str, ...]) -> str:
    if not names:
        return (
            "There is none yet: a submission is a folder with submission.toml, predict.sh and a Dockerfile."
        )
    close = difflib.get_close_matches(team.lower(), names, n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    return f"{meant}There are: {', '.join(names)}."
