"""What to evaluate, and how the run is named that answers it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.challenge import Challenge, Limits
from harness.data.dataset import Dataset
from harness.engine.base import ImageInfo
from harness.errors import ConfigurationError
from harness.results.folder import check_team, check_title
from harness.results.naming import run_name
from harness.results.records import CONTRACT_VERSION, OptOuts
from harness.run.stage import check_image, default_cache

_CONTAINER_OWNER = (65532, 65532)


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, and where the results go.

    Attributes:
        team: Names the team's folder; lower case letters, digits, `-`, `_` and `.`.
        image: An image of the engine, by tag or id; for the process engine a submission's folder.
        results: The results folder; the run goes to `results/CHALLENGE/TEAM/RUN`.
        device: What the submission asks for; `cuda` gets one GPU where the challenge allows it.
        limits: Instead of the challenge's.
        profile: Scoring profile instead of the challenge's.
        jobs: Containers at once. More than one disturbs times; the record says so.
        score: Whether to score after running.
        overlap_scoring: Score a case while the next one runs; needs cores that containers may not use.
        runtime: OCI runtime, by the engine's name for it, instead of the challenge's or the engine's own.
        cache: Where scrubbed inputs are kept between runs.
        argv: The command line, for the record.
        warm_up: Run the first case once more before all others, uncounted: the difference is the cold start.
        environment: `NAME=value`, for a folder that is run unbuilt: what its Dockerfile would set.
    """

    team: str
    image: str
    challenge: Challenge
    dataset: Dataset
    results: Path
    title: str = ""
    device: Literal["cpu", "cuda"] = "cpu"
    opt_outs: OptOuts = field(default_factory=OptOuts)
    limits: Limits | None = None
    profile: str | None = None
    jobs: int = 1
    score: bool = True
    overlap_scoring: bool = False
    runtime: str = ""
    cache: Path = field(default_factory=default_cache)
    argv: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    warm_up: bool = False

    @property
    def enforced_limits(self) -> Limits:
        """The limits that hold."""
        return self.limits or self.challenge.limits

    @property
    def scoring_profile(self) -> str:
        """The profile that scores."""
        return self.profile or self.challenge.profile


def run_id(
    request: EvaluationRequest, *, image: ImageInfo, fingerprint: str, isolated: bool, runtime: str = ""
) -> str:
    """Return the run's name: the same for the same evaluation, another for a changed one."""
    identity = {
        "image": image.identity or image.digest,
        "dataset": fingerprint,
        "limits": request.enforced_limits.model_dump(mode="json"),
        "contract": request.challenge.contract.identity,
        "contract_version": CONTRACT_VERSION,
        "opt_outs": request.opt_outs.model_dump(mode="json"),
        "device": request.device,
        "jobs": request.jobs,
        "overlap_scoring": request.overlap_scoring,
        "isolated": isolated,
        "runtime": runtime,
    }
    return run_name(identity)


def results_label(results: Path) -> str:
    """Return the label value by which the containers of a results folder are found again."""
    return hashlib.sha256(str(results.resolve()).encode()).hexdigest()[:16]


def container_owner(opt_outs: OptOuts) -> tuple[tuple[int, int], bool]:
    """Return the uid and gid of containers, and whether the harness may give files to them.

    An ordinary user's containers run as that user, so that what they write can be removed again.
    """
    is_root = os.getuid() == 0
    ours = (os.getuid(), os.getgid())
    if opt_outs.requires_root:
        return (0, 0), is_root
    return (_CONTAINER_OWNER, True) if is_root else (ours, True)


def check_request(request: EvaluationRequest) -> None:
    """Check what can be checked before anything is hashed or run.

    Raises:
        ConfigurationError: the team's name, the number of jobs, or the data set will not do.
    """
    check_team(request.team)
    check_title(request.title)
    if request.jobs < 1:
        raise ConfigurationError(f"{request.jobs} jobs make no sense", mend="Use 1 or more.")
    if request.warm_up and request.jobs > 1:
        raise ConfigurationError(
            "a warm-up beside other containers measures nothing", where="--warm-up", mend="Use one job."
        )
    for case in request.dataset.cases:
        if case.image is None:
            raise ConfigurationError(f"case {case.id} has no image", where=request.dataset.folder)
        if request.score and case.label is None:
            raise ConfigurationError(
                f"case {case.id} has no label", where=request.dataset.folder, mend="Run without scoring."
            )
        _check_sockets(request.challenge, len(case.channels), case.id)
        check_image(case.image)


def _check_sockets(challenge: Challenge, channels: int, case: str) -> None:
    sockets = challenge.contract.grand_challenge
    if sockets is not None and len(sockets.input) != channels:
        raise ConfigurationError(
            f"the algorithm has {len(sockets.input)} input(s), and case {case} has {channels} channel(s)",
            where="grand_challenge",
            mend="Name one input per channel, `_0000` first.",
        )
