"""The gate passes what is on the image's grid and holds labels, and names what is wrong with the rest."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from evaluator.volume import least_bytes, read_header, read_label_volume
from harness.gate.judge import judge
from harness.gate.keeper import Gatekeeper

SHAPE = (7, 6, 5)
AFFINE = np.diag([0.8, 0.9, 2.5, 1.0])


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write(tmp_path / "a_0000.nii.gz", np.zeros(SHAPE, np.int16))


@pytest.fixture(scope="module")
def gatekeeper() -> Iterator[Gatekeeper]:
    with Gatekeeper([1, 2, 3]) as keeper:
        yield keeper


def test_labels_on_the_grid_pass_without_a_note(image: Path, tmp_path: Path) -> None:
    labels = np.ones(SHAPE, np.uint8)
    verdict = judge(write(tmp_path / "a.nii.gz", labels), image, known_labels=frozenset({1}))
    assert (verdict.refused, verdict.notes) == ("", ())


def test_the_child_says_what_the_function_says(image: Path, tmp_path: Path, gatekeeper: Gatekeeper) -> None:
    files = [
        write(tmp_path / "good.nii.gz", np.full(SHAPE, 3, np.uint8)),
        write(tmp_path / "strange.nii.gz", np.full(SHAPE, 77, np.uint8)),
        write(tmp_path / "negative.nii.gz", np.full(SHAPE, -4, np.int16)),
        write(tmp_path / "shape.nii.gz", np.zeros((7, 6, 4), np.uint8)),
    ]
    for path in files:
        assert gatekeeper.judge(path, image) == judge(path, image, known_labels=frozenset({1, 2, 3}))


def test_a_bomb_is_refused_in_little_time_and_memory(
    image: Path, tmp_path: Path, gatekeeper: Gatekeeper
) -> None:
    good = write(tmp_path / "good.nii.gz", np.zeros(SHAPE, np.uint8)).read_bytes()
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=1) as file:
        file.write(gzip.decompress(good))
        for _ in range(32):
            file.write(bytes(1 << 24))
    begin = time.monotonic()
    verdict = gatekeeper.judge(tmp_path / "bomb.nii.gz", image, time_s=20)
    assert "more data than its header announces" in verdict.refused
    assert time.monotonic() - begin < 10


def test_the_gate_survives_its_own_death(image: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", np.zeros(SHAPE, np.uint8))
    with Gatekeeper([1]) as keeper:
        assert keeper.judge(path, image).refused == ""
        assert keeper._process is not None
        keeper._process.kill()
        assert keeper.judge(path, image).refused == ""


def test_a_reader_that_hangs_is_cut_off(image: Path, tmp_path: Path, gatekeeper: Gatekeeper) -> None:
    path = write(tmp_path / "a.nii.gz", np.zeros(SHAPE, np.uint8))
    verdict = gatekeeper.judge(path, image, time_s=0.0)
    assert "could not be read within 0 s" in verdict.refused
    assert gatekeeper.judge(path, image).refused == ""


def test_a_reading_other_than_the_first_passes_and_is_named(tmp_path: Path) -> None:
    elsewhere = AFFINE.copy()
    elsewhere[:3, 3] = 40, 50, 60
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), None)
    image.set_qform(elsewhere, 1)
    image.set_sform(AFFINE, 2)
    nibabel.save(image, tmp_path / "a_0000.nii.gz")
    for affine, notes in ((AFFINE, 0), (elsewhere, 1)):
        path = write(tmp_path / "a.nii.gz", np.ones(SHAPE, np.uint8), affine)
        verdict = judge(path, tmp_path / "a_0000.nii.gz", known_labels=frozenset({1}))
        assert verdict.refused == "" and len(verdict.notes) == notes
        assert all("lies where the qform puts it" in note for note in verdict.notes)


def test_a_refusal_ends_with_the_mend(image: Path, tmp_path: Path) -> None:
    for array, affine, said in [
        (np.ones(SHAPE, np.uint8), np.eye(4), "no geometry was written .*CopyInformation"),
        (np.ones(SHAPE[::-1], np.uint8), np.eye(4), "axes in reverse order.* z, y, x"),
        (
            np.linspace(1, 2, 7)[:, None, None] * np.ones(SHAPE),
            AFFINE,
            "which is no whole number.* interpolated",
        ),
        (np.full(SHAPE, 300, np.int16), AFFINE, "the label 300; labels are 0 to 255.* divide by it"),
    ]:
        verdict = judge(write(tmp_path / "a.nii.gz", array, affine), image, known_labels=frozenset({1}))
        assert re.search(said, verdict.refused), verdict.refused
        assert "\n" not in verdict.refused


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float32])
def test_the_gate_and_the_scorer_need_the_same_memory(image: Path, tmp_path: Path, dtype: type) -> None:
    shape = (160, 160, 160)
    write(tmp_path / "b_0000.nii.gz", np.zeros(shape, np.int16))
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, dtype), AFFINE, dtype=dtype), tmp_path / "b.nii.gz")
    needed = least_bytes(read_header(tmp_path / "b.nii.gz"))
    assert needed < 2 * np.prod(shape) + 32 * 2**20
    verdict = judge(tmp_path / "b.nii.gz", tmp_path / "b_0000.nii.gz", known_labels=frozenset({1}))
    assert verdict.refused == ""
    assert (read_label_volume(tmp_path / "b.nii.gz", max_bytes=needed).array == 1).all()
