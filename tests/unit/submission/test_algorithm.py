"""The program in wrapped images: between grand-challenge's MetaImages and a submission's NIfTI files."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from evaluator.geometry import compare_geometry
from evaluator.volume import read_header
from harness.submission import algorithm

TURNS = {
    "straight": np.eye(3),
    "mirrored": np.diag([-1.0, 1.0, 1.0]),
    "upside down": np.diag([1.0, -1.0, -1.0]),
    "swapped": np.eye(3)[:, [2, 0, 1]],
    "oblique": np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]),
    "half a turn": np.diag([-1.0, -1.0, 1.0]),
}


def image_on(turn: np.ndarray, kind: type = np.int16) -> sitk.Image:
    array = np.random.default_rng(1).integers(0, 100, (3, 4, 5)).astype(kind)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 1.25, 3.0))
    image.SetOrigin((-11.0, 22.5, 7.0))
    image.SetDirection(turn.ravel())
    return image


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("compressed", [True, False])
def test_nifti_lies_where_the_metaimage_lay_and_back(tmp_path, turn, compressed):
    source = tmp_path / "a.mha"
    original = image_on(turn)
    sitk.WriteImage(original, source, useCompression=compressed)
    path = tmp_path / "a.nii.gz"
    algorithm.write_nifti(algorithm.read_metaimage(source), path)
    for image in (sitk.ReadImage(path), _back(path, tmp_path)):
        assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(original))
        assert image.GetSpacing() == pytest.approx(original.GetSpacing(), abs=1e-5)
        assert image.GetOrigin() == pytest.approx(original.GetOrigin(), abs=1e-4)
        assert image.GetDirection() == pytest.approx(original.GetDirection(), abs=1e-5)
    assert compare_geometry(read_header(source), read_header(path)).kind == "same"
    loaded = nib.load(path)
    assert loaded.get_qform() == pytest.approx(loaded.get_sform(), abs=1e-4), "both of NIfTI's grids agree"


def _back(path: Path, folder: Path) -> sitk.Image:
    target = folder / "back.mha"
    algorithm.write_metaimage(algorithm.read_nifti(path), target)
    return sitk.ReadImage(target)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float64, np.int64])
def test_labels_become_bytes_from_every_type(tmp_path, kind):
    labels = np.random.default_rng(1).integers(0, 14, (4, 3, 5)).astype(kind)
    nib.save(nib.Nifti1Image(labels, np.diag([1.0, 2.0, 3.0, 1.0]), dtype=kind), tmp_path / "a.nii.gz")
    image = algorithm.as_bytes(algorithm.read_nifti(tmp_path / "a.nii.gz"))
    assert image.kind == "MET_UCHAR"
    assert np.array_equal(np.frombuffer(image.voxels, np.uint8).reshape((4, 3, 5), order="F"), labels)


def test_what_is_no_label_is_not_made_one(tmp_path):
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 0.5, np.float32), np.eye(4)), tmp_path / "a.nii")
    assert algorithm.as_bytes(algorithm.read_nifti(tmp_path / "a.nii")).kind == "MET_FLOAT"


@pytest.mark.parametrize("form", ["qform", "none"])
def test_a_nifti_without_sform_is_read_by_what_it_states(tmp_path, form):
    image = nib.Nifti1Image(np.ones((2, 3, 4), np.uint8), None)
    image.header.set_zooms((1, 2, 3))
    if form == "qform":
        image.set_qform(np.array([[0, -2.0, 0, 5], [-1.0, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]]), code=1)
    nib.save(image, tmp_path / "a.nii")
    expected = nib.load(tmp_path / "a.nii").get_qform() if form == "qform" else np.diag([1.0, 2, 3, 1])
    assert np.array(algorithm.read_nifti(tmp_path / "a.nii").affine) == pytest.approx(expected[:3], abs=1e-5)


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    roots = [
        "--inputs-root",
        folder / "input",
        "--outputs-root",
        folder / "output",
        "--work",
        folder / "work",
    ]
    words = [
        "--input",
        "images/ct",
        "--output",
        "images/organs",
        *map(str, roots),
        "--",
        "/bin/sh",
        "-c",
        script,
    ]
    return subprocess.run(
        [sys.executable, algorithm.__file__, *words], capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "input" / "images" / "ct").mkdir(parents=True)
    sitk.WriteImage(image_on(TURNS["oblique"]), tmp_path / "input" / "images" / "ct" / "1f3e.mha")
    return tmp_path


def test_a_submission_is_run_between_the_two_forms(folder):
    finished = run(folder, 'cp "$FLARE_INPUTS/case_0001_0000.nii.gz" "$FLARE_OUTPUTS/case_0001.nii.gz"')
    assert finished.returncode == 0, finished.stderr
    [output] = (folder / "output" / "images" / "organs").iterdir()
    read = sitk.ReadImage(output)
    assert read.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    assert np.array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(image_on(TURNS["oblique"])))


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [("exit 7", 7, ""), ("true", 1, "0 images"), ("echo x > $FLARE_OUTPUTS/a.nii.gz", 1, "no NIfTI")],
)
def test_a_failure_of_the_submission_is_the_algorithms(folder, script, code, said):
    finished = run(folder, script)
    assert finished.returncode == code
    assert said in finished.stderr
    assert not (folder / "output" / "images" / "organs" / "output.mha").exists()


def test_the_program_stands_on_the_standard_library_alone():
    tree = ast.parse(Path(algorithm.__file__).read_text())
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        node.module.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert imported <= sys.stdlib_module_names
