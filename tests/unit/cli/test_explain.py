"""`harness explain` takes a stored case and says why its scores are what they are."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harness.cli.app import run


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")


def save(path: Path, volume: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1.0, 2.5, 1.0])), path)


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """A data set of one case, scored for one team that has also a case without a prediction."""
    label = np.zeros((30, 30, 10), np.uint8)
    label[5:20, 5:20, 2:8] = 1
    for case in ("a", "b"):
        save(tmp_path / f"data/imagesVal/{case}_0000.nii.gz", label.astype(np.int16))
        save(tmp_path / f"data/labelsVal/{case}.nii.gz", label)
    save(tmp_path / "moved/a.nii.gz", np.roll(label, 2, axis=0))
    options = ["--data", str(tmp_path / "data"), "--results", str(tmp_path / "results"), "-c", "flare22"]
    assert run(["score", str(tmp_path / "moved"), *options]) in (0, 1)
    return options


def test_a_stored_case_is_explained(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert run(["explain", "moved", "--case", "a", "--html", str(page), *options]) == 0
    assert "liver (label 1)" in capsys.readouterr().out
    assert "<h2>liver</h2>" in page.read_text(encoding="utf-8")


def test_what_cannot_be_explained_is_told(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["moved", "--case", "b"], "moved has no prediction of b"),
        (["nobody", "--case", "a"], "there is no run of nobody"),
        (["moved", "--case", "c"], "no case named c"),
    ):
        assert run(["explain", *words, *options]) == 2
        assert said in capsys.readouterr().err
