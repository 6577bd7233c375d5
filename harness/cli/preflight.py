"""What `harness check` says of an image before any case is run, from its archive or from an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.challenge import Challenge
from harness.cli.display import progress, say
from harness.engine.images import ImageClient
from harness.errors import ConfigurationError, PrerequisiteError
from harness.measure.gpu import Gpu
from harness.submission.blobs import unpacked_archive
from harness.submission.drivers import parsed_version
from harness.submission.findings import Finding, Judge
from harness.submission.lint import lint, lint_archive
from harness.submission.sources import is_archive_name
from harness.text import printable

Tell = Callable[[str], None]
"""Takes a finding's line: stdout is for data, and for people where nothing else is."""


def archive_of(team: str | None, image: str | None) -> str | None:
    """Return the source that is meant: --image, or a TEAM that is no name but an archive's path."""
    if image is not None:
        return image
    if team is None:
        return None
    path = Path(team)
    is_archive = is_archive_name(team) or path.is_file()
    return team if is_archive or (path.is_dir() and unpacked_archive(path) is not None) else None


def judge_of(
    rules: Challenge, *, requires_root: bool, driver: str | None, platform: str | None = None
) -> Judge:
    """Return how a challenge runs an image.

    Args:
        rules: The challenge.
        requires_root: Whether the submission opted out of an ordinary user.
        driver: The judge's NVIDIA driver; None takes this host's, where it has one.
        platform: What the engine runs, where one was asked.

    Raises:
        ConfigurationError: the driver is no version.
    """
    if driver is not None:
        try:
            parsed_version(driver)
        except ValueError as error:
            raise ConfigurationError(
                f"{driver!r} is no driver version", where="--driver", mend="E.g. --driver 535.104.05."
            ) from error
    known = Judge(
        command=rules.contract.command,
        requires_root=requires_root,
        driver=driver or _driver_of_this_host(),
        folders=(rules.contract.inputs, rules.contract.outputs),
    )
    return known if platform is None else known.on(platform)


def _driver_of_this_host() -> str:
    try:
        with Gpu() as gpu:
            return gpu.driver
    except PrerequisiteError:
        return ""


def static(source: str | None, judge: Judge, *, tell: Tell = print) -> list[str]:
    """Look an archive over without an engine, print what is found, and return the mend of each error.

    Raises:
        ConfigurationError: no archive is named, or there is none.
        RefusedArchiveError: it is not taken in.
    """
    if source is None:
        raise ConfigurationError(
            "--static looks into an image archive",
            mend="Name one: `harness check team.tar.gz --static`; `harness pack TEAM` writes it.",
        )
    path = Path(source).expanduser()
    if not path.exists():
        raise ConfigurationError(
            "there is no such image archive or folder", where=source, mend="Check the path."
        )
    with progress("layers read") as advance:
        found = lint_archive(path, judge, progress=advance)
    return show(found, tell=tell)


def in_engine(images: ImageClient, image: str, judge: Judge, *, tell: Tell = print) -> list[str]:
    """Look an image of the engine over, print what is found, and return the mend of each error."""
    return show(lint(images, image, judge), tell=tell)


def show(findings: Iterable[Finding], *, tell: Tell = print) -> list[str]:
    """Print each finding on a line of its own, and return the mend of each error.

    What comes from the image, in the message and in the mend, cannot steer a terminal.
    """
    errors, warnings = [], 0
    for finding in findings:
        if finding.level == "error":
            errors.append(finding.mend)
        warnings += finding.level == "warning"
        line = f"{finding.level} {finding.rule}: {finding.message}. {finding.mend}"
        tell(printable(" ".join(line.split())))
    say(f"{len(errors)} error(s), {warnings} warning(s)")
    return errors


def static_summary(errors: Sequence[str]) -> str:
    """Say in one line what looking at an archive alone can say of its fate."""
    if errors:
        return f"this archive would not be accepted: {len(errors)} error(s). Change first: {errors[0]}"
    return "nothing in this archive would stop it; without --static a case is run, too."
