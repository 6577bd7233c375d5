"""Wheel and source distribution in an empty environment: the evaluator without Docker, then the harness."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.unit.interop.platform_files import labels, shifted, write_nifti

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("evaluator", "harness", "pyproject.toml", "README.md", "LICENSE")
EVALUATOR_NEEDS = ("imagecodecs", "llvmlite", "numba", "numpy", "scipy")


def call(*words: object, cwd: Path | None = None) -> str:
    finished = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


def pip(python: Path, *words: object) -> None:
    constraints = ROOT / "constraints.txt"
    call(sys.executable, "-m", "pip", "--python", python, *words, "--quiet", "--constraint", constraints)


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The Python of an environment that holds nothing."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, python) -> Path:
    """The wheel, built from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, checkout / name)
    builder = folder / "builder"
    venv.create(builder, with_pip=False)
    call(
        sys.executable, "-m", "pip", "--python", builder / "bin" / "python", "install", "-q", "setuptools>=77"
    )
    script = f"from setuptools import build_meta; print(build_meta.build_sdist({str(folder)!r}))"
    call(builder / "bin" / "python", "-c", script, cwd=checkout)
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("harness/challenge/shipped/flare22.toml") for name in archive.getnames())
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, sdist)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_packages_and_their_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("evaluator", "harness"):
        tracked = {
            str(path.relative_to(ROOT))
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert tracked <= names, "whatever lies in the packages is part of them"
    assert not any(name.startswith(("tests/", "submissions/", "docker/")) for name in names)


def test_the_evaluator_scores_where_nothing_of_the_harness_is_installed(python, wheel, tmp_path):
    pip(python, "install", "--no-deps", wheel, *EVALUATOR_NEEDS)
    write_nifti(tmp_path / "labels" / "a.nii.gz", labels())
    write_nifti(tmp_path / "predictions" / "a.nii.gz", shifted(labels(), 1))
    (tmp_path / "labels.toml").write_text('[[labels]]\nvalue = 3\nname = "femur"\ntolerance_mm = 1.0\n')
    said = call(
        python, "-I", "-m", "evaluator", "labels", "predictions", "--labels", "labels.toml", cwd=tmp_path
    )
    [row] = csv.DictReader(io.StringIO(said))
    assert float(row["dsc"]) == pytest.approx(0.8)
    missing = subprocess.run([str(python), "-I", "-c", "import docker"], capture_output=True, check=False)
    assert missing.returncode == 1


def test_the_harness_runs_from_the_wheel(python, wheel, tmp_path):
    pip(python, "install", wheel)
    assert "harness 1.0" in call(python.with_name("harness"), "--version")
    told = call(python.with_name("harness"), "--version", "--verbose")
    assert "commit\tnone: not a checkout" in told
    call(
        python.with_name("harness"),
        "data",
        "phantom",
        tmp_path / "data",
        "--cases",
        "1",
        "--shape",
        "64x64x32",
    )
    call(
        python.with_name("harness"), "score", tmp_path / "data" / "labelsVal", "--team", "perfect",
        "--data", tmp_path / "data", "--results", tmp_path / "results",
    )  # fmt: skip
    call(python.with_name("harness"), "leaderboard", "--results", tmp_path / "results")
