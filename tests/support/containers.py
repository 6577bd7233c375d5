"""Fixtures for tests in real containers: an engine, a tiny data set, images made from a few lines of sh."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import psutil
import pytest
from docker.errors import APIError

from harness.challenge import Challenge, Limits, load_challenge
from harness.data.dataset import Dataset, open_dataset
from harness.engine.base import ImageInfo
from harness.engine.docker import DockerEngine, connect
from harness.engine.probe import TOOLS, probe_image
from harness.errors import PrerequisiteError
from harness.results.folder import RunResults
from harness.results.records import OptOuts
from harness.run.context import RUN_LABEL
from harness.run.evaluate import evaluate
from harness.run.request import EvaluationRequest

MIB = 1024**2
SHAPE = (24, 20, 16)
SPACING = (0.8, 0.9, 2.5)
SLOWNESS = float(os.environ.get("FLAREHARNESS_TEST_SLOWNESS", "1"))
"""How many times slower this host is than a usual one; tests/fresh/proofs.sh tells an emulated machine."""

SLOW = """
in=$(ls "$FLARE_INPUTS")
sleep 0.3
cp /workspace/good.nii.gz "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
"""
"""A perfect prediction that takes a while."""

TEST_IMAGES = os.environ.setdefault("FLAREHARNESS_TEST_IMAGES", f"flareharness/test-{os.getpid()}")
"""Of this test run and the harnesses it starts: one beside it must not lose its images to our clean-up."""
_MADE: set[str] = set()


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    """The container engine of this host."""
    try:
        found = connect()
    except PrerequisiteError as error:
        pytest.skip(f"NO CONTAINER ENGINE: {error}")
    yield found
    remove_test_images(found)
    found.close()


def remove_test_images(engine: DockerEngine) -> None:
    """Remove from an engine what these tests made there."""
    for tag in _MADE:
        with contextlib.suppress(APIError):
            engine.client.api.remove_image(tag)


def kept_until_the_end(image: ImageInfo) -> str:
    """Return an image's id; its tag, which begins with TEST_IMAGES, is removed when the tests have run."""
    _MADE.add(image.reference)
    return image.digest


def affine() -> np.ndarray:
    """A right-handed grid away from the origin."""
    matrix = np.diag([*SPACING, 1.0])
    matrix[:3, 3] = (-10.0, 5.0, 30.0)
    return matrix


def reference_labels() -> np.ndarray:
    """Two organs that no flip maps onto themselves."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:12, 3:11, 2:9] = 1
    labels[15:20, 12:18, 10:14] = 3
    return labels


def write_volume(path: Path, array: np.ndarray, matrix: np.ndarray | None = None) -> Path:
    """Write a NIfTI file with the grid of the tests, or another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine() if matrix is None else matrix), path)
    return path


def make_dataset(folder: Path, cases: int = 1) -> Dataset:
    """Write a data set of tiny CTs whose references are all `reference_labels`."""
    for number in range(cases):
        noise = np.random.default_rng(number).integers(-1000, 1000, SHAPE).astype(np.int16)
        write_volume(folder / "imagesVal" / f"patient_{number}_0000.nii.gz", noise)
        write_volume(folder / "labelsVal" / f"patient_{number}.nii.gz", reference_labels())
    return open_dataset(folder)


@dataclass
class Arena:
    """Runs scripts as submissions, over a tiny data set, with small limits."""

    engine: DockerEngine
    folder: Path
    dataset: Dataset
    challenge: Challenge
    good: bytes
    limits: dict[str, object] = field(
        default_factory=lambda: {
            "memory_bytes": 128 * MIB,
            "shm_bytes": 16 * MIB,
            "tmp_bytes": 32 * MIB,
            "output_bytes": 48 * MIB,
            "log_bytes": 64 * 1024,
            "time_s": 20.0 * SLOWNESS,
        }
    )

    def image(
        self, script: str, files: Mapping[str, bytes] | None = None, *, tools: Sequence[str] = TOOLS
    ) -> str:
        """Return the id of an image with this predict.sh, and a perfect prediction as good.nii.gz."""
        content = {"/workspace/predict.sh": script.encode(), "/workspace/good.nii.gz": self.good}
        image = probe_image(
            self.engine, tools=tools, files=content | dict(files or {}), repository=TEST_IMAGES
        )
        return kept_until_the_end(image)

    def request(
        self,
        script: str,
        files: Mapping[str, bytes] | None = None,
        *,
        tools: Sequence[str] = TOOLS,
        opt_outs: OptOuts | None = None,
        dataset: Dataset | None = None,
        **limits: object,
    ) -> EvaluationRequest:
        """Return the request to evaluate a script under the arena's limits, some of them changed."""
        return EvaluationRequest(
            team="stranger",
            image=self.image(script, files, tools=tools),
            challenge=self.challenge,
            dataset=dataset or self.dataset,
            results=self.folder / "results",
            limits=Limits.model_validate(self.limits | limits),
            opt_outs=opt_outs or OptOuts(),
            cache=self.folder / "cache",
        )

    def run(self, script: str, files: Mapping[str, bytes] | None = None, **options: object) -> RunResults:
        """Evaluate a script and return what is on disk afterwards."""
        return evaluate(self.request(script, files, **options), engine=self.engine)  # type: ignore[arg-type]

    def log(self, results: RunResults, case: str = "patient_0") -> str:
        """Return what a case printed."""
        return (results.folder / "cases" / case / "container.log").read_text(errors="replace")


@pytest.fixture
def arena(engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    """A place to run submissions; whatever they do, nothing of them is left afterwards."""
    # Three empty containers before every run would double the time of the tests.
    monkeypatch.setattr("harness.run.opening.measure_baseline", lambda rules, engine: None)
    dataset = make_dataset(tmp_path / "data")
    good = write_volume(tmp_path / "good.nii.gz", reference_labels()).read_bytes()
    yield Arena(engine, tmp_path, dataset, load_challenge("phantom"), good)
    ours = {"label": f"{RUN_LABEL}={label_of(tmp_path)}"}
    assert engine.client.api.containers(all=True, filters=ours) == []
    assert not engine.client.api.volumes(filters=ours)["Volumes"]
    assert not (tmp_path / "results" / ".work").exists()
    assert f" {tmp_path}/" not in Path("/proc/self/mountinfo").read_text()


def many(arena: Arena, cases: int = 4) -> Arena:
    """The arena with more cases."""
    arena.dataset = make_dataset(arena.folder / "many", cases=cases)
    return arena


def label_of(folder: Path) -> str:
    """Return the label that containers of an arena in this folder carry."""
    from harness.run.request import results_label

    return results_label(folder / "results")


@pytest.fixture
def processes_named() -> Callable[[str], int]:
    """Count this host's processes whose command line holds a text."""

    def count(text: str) -> int:
        lines = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
        return sum(text in line for line in lines)

    return count
