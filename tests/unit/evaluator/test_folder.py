"""Folders: every reference keeps its rows, whatever became of its prediction."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from volumes import blobs, save, table

from evaluator import (
    CorruptVolumeError,
    LabelVolume,
    MissingFileError,
    Scoring,
    VolumeTooLargeError,
    case_input,
    match_folders,
    read_label_volume,
    score_case,
    score_folder,
)

LABELS = table(1.0, 2.0, 3.0)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Five references; predictions that are good, missing, corrupt, elsewhere, and without a reference."""
    references, predictions = tmp_path / "labels", tmp_path / "predictions"
    for number in range(5):
        array = blobs((9, 8, 7), seed=number, labels=3)
        save(references / f"case_{number}.nii.gz", array)
        if number != 1:
            affine = np.diag([1.0, 1.0, 1.0 + (number == 3), 1.0])
            save(predictions / f"case_{number}.nii.gz", np.roll(array, 1, axis=0), affine=affine)
    (predictions / "case_2.nii.gz").write_bytes(b"rubbish")
    save(predictions / "stranger.nii.gz", blobs((9, 8, 7), seed=1))
    (references / "readme.txt").write_text("not a volume")
    return references, predictions


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_every_reference_gets_a_row_in_the_order_of_names(folders: tuple[Path, Path], jobs: int) -> None:
    scores = list(score_folder(*folders, labels=LABELS, jobs=jobs))
    assert [score.case for score in scores] == [f"case_{number}" for number in range(5)]
    assert [score.scored for score in scores] == [True, False, False, False, True]
    assert all(len(score.labels) == 3 for score in scores)
    assert scores[0] == score_case(
        folders[0] / "case_0.nii.gz", folders[1] / "case_0.nii.gz", labels=LABELS, case="case_0"
    )
    for score, reason in (
        (scores[1], "no prediction"),
        (scores[2], "no NIfTI header"),
        (scores[3], "spacing"),
    ):
        assert [(label.dsc, label.nsd) for label in score.labels] == [(0.0, 0.0)] * 3
        assert reason in score.notes[0]


def test_a_missing_prediction_keeps_the_reference_volumes(folders: tuple[Path, Path]) -> None:
    missing = list(score_folder(*folders, labels=LABELS))[1]
    whole = score_case(
        folders[0] / "case_1.nii.gz", folders[0] / "case_1.nii.gz", labels=LABELS, case="case_1"
    )
    for found, expected in zip(missing.labels, whole.labels, strict=True):
        assert found.reference_ml == expected.reference_ml
        assert found.false_negative_voxels == expected.true_positive_voxels
        assert found.note == "no prediction"


def test_an_unusable_prediction_can_raise_instead(folders: tuple[Path, Path]) -> None:
    with pytest.raises(CorruptVolumeError):
        list(score_folder(*folders, labels=LABELS, unusable="raise"))


def test_a_bad_reference_leaves_its_scores_open_and_ends_nothing(folders: tuple[Path, Path]) -> None:
    (folders[0] / "case_0.nii.gz").write_bytes(b"rubbish")
    first, *_, last = score_folder(*folders, labels=LABELS)
    assert (first.case, first.scored, first.unusable) == ("case_0", False, "reference")
    assert all(math.isnan(label.dsc) and math.isnan(label.nsd) for label in first.labels)
    assert "labels/case_0.nii.gz" in first.notes[0]
    assert last.scored and last.mean_dsc > 0
    with pytest.raises(CorruptVolumeError, match="labels/case_0"):
        list(score_folder(*folders, labels=LABELS, unusable="raise"))
    with pytest.raises(VolumeTooLargeError):
        list(score_folder(*folders, Scoring(LABELS, max_bytes=100), cases=["case_4"], unusable="raise"))


@pytest.mark.parametrize(
    "error", [ValueError("no number"), IndexError("too short"), OverflowError("inf"), MemoryError()]
)
def test_a_reader_that_stumbles_over_a_file_costs_that_case_alone(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def stumbling(path: Path, **options: object) -> LabelVolume:
        if path == folders[1] / "case_0.nii.gz":
            raise error
        return read_label_volume(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(case_input, "read_label_volume", stumbling)
    first, *_, last = score_folder(*folders, labels=LABELS)
    assert first.unusable == "prediction" and "case_0.nii.gz" in first.notes[0]
    assert last.scored


def test_a_header_that_no_reader_foresaw_costs_its_case_alone(folders: tuple[Path, Path]) -> None:
    (folders[1] / "case_0.nii.gz").unlink()
    (folders[1] / "case_0.nrrd").write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 9 8 7\nencoding: raw\nline skip: x\n\n" + bytes(504)
    )
    first, *_, last = score_folder(*folders, labels=LABELS)
    assert (first.unusable, first.mean_dsc) == ("prediction", 0.0)
    assert last.scored


def test_scores_come_one_by_one(folders: tuple[Path, Path]) -> None:
    (folders[0] / "case_4.nii.gz").write_bytes(b"rubbish")
    scores = score_folder(*folders, labels=LABELS, jobs=1, unusable="raise", cases=["case_0", "case_4"])
    assert next(scores).case == "case_0"
    with pytest.raises(CorruptVolumeError):
        next(scores)


def test_predictions_without_a_reference_are_named(folders: tuple[Path, Path]) -> None:
    assert [path.name for path in match_folders(*folders).unused] == ["stranger.nii.gz"]
    for path in folders[1].glob("case_*"):
        path.rename(path.with_name(path.name.replace("case_", "case-")))
    with pytest.raises(MissingFileError, match=r"case-0\.nii\.gz, .* and 2 more .*such as case_0\.nii\.gz"):
        match_folders(*folders)


def test_an_empty_folder_of_predictions_is_a_folder_of_failures(folders: tuple[Path, Path]) -> None:
    for path in folders[1].iterdir():
        path.unlink()
    assert all(not score.scored and score.mean_dsc == 0 for score in score_folder(*folders, labels=LABELS))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.hdr", "a.img"], "a.hdr, a.img"),
        (["a.nhdr", "a.raw"], "a.nhdr, a.raw"),
        (["a.npy"], "a.npy"),
        (["sub/a.nii.gz"], "sub"),
    ],
)
def test_a_folder_without_a_readable_name_says_what_it_holds(
    tmp_path: Path, folders: tuple[Path, Path], names: list[str], told: str
) -> None:
    predictions = tmp_path / "unreadable"
    for name in names:
        (predictions / name).parent.mkdir(parents=True, exist_ok=True)
        (predictions / name).touch()
    rows = list(score_folder(folders[0], predictions, labels=table(1)))
    assert rows
    for row in rows:
        assert any(f"holds {told}: " in note and ".nii.gz" in note for note in row.notes)


@pytest.mark.parametrize("near", ["{}_seg.nii.gz", "{}.nhdr", "{}-pred.mha"])
def test_a_missing_prediction_names_the_file_that_may_be_meant(folders: tuple[Path, Path], near: str) -> None:
    rows = list(score_folder(*folders, labels=table(1)))
    missing = next(row.case for row in rows if any("no prediction" in note for note in row.notes))
    (folders[1] / near.format(missing)).touch()
    (folders[1] / f"{missing}x.nii").touch()  # the id goes on: another case's
    rows = list(score_folder(*folders, labels=table(1)))
    for row in rows:
        told = [note for note in row.notes if f"holds {near.format(missing)}: " in note]
        assert len(told) == (row.case == missing)


def test_only_annotated_labels_of_a_partially_annotated_case_are_scored(folders: tuple[Path, Path]) -> None:
    first, missing, *_, last = score_folder(
        *folders, labels=LABELS, annotated={"case_0": [1, 3, 99], "case_1": [2]}
    )
    assert [label.label for label in first.labels] == [1, 3]
    assert first.notes[0] == "not annotated, so not scored: labels 2"
    assert [label.label for label in missing.labels] == [2]
    assert [label.label for label in last.labels] == [1, 2, 3]


def test_cases_can_be_chosen(folders: tuple[Path, Path]) -> None:
    chosen = list(score_folder(*folders, labels=LABELS, cases=["case_4", "case_0"]))
    assert [score.case for score in chosen] == ["case_0", "case_4"]
    with pytest.raises(MissingFileError, match="no reference for case nobody"):
        list(score_folder(*folders, labels=LABELS, cases=["nobody"]))


def test_single_files(folders: tuple[Path, Path]) -> None:
    one = folders[0] / "case_0.nii.gz"
    (score,) = score_folder(one, folders[1] / "case_0.nii.gz", labels=LABELS)
    assert score.case == "case_0" and score.scored
    (from_folder,) = score_folder(one, folders[1], labels=LABELS)
    assert from_folder == score
    (missing,) = score_folder(one, folders[1] / "nowhere.nii.gz", labels=LABELS)
    assert not missing.scored


def test_folders_that_cannot_be_matched(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    (tmp_path / "empty").mkdir()
    for references, predictions, message in [
        (tmp_path / "nowhere", folders[1], "no such file or folder"),
        (tmp_path / "empty", folders[1], "no label volumes"),
        (folders[0], tmp_path / "nowhere", "predictions are no folder"),
        (folders[0], folders[1] / "case_0.nii.gz", "predictions are no folder"),
    ]:
        with pytest.raises(MissingFileError, match=message):
            list(score_folder(references, predictions, labels=LABELS))


@pytest.mark.parametrize(("side", "mean"), [("reference", None), ("prediction", 0.0)])
def test_two_files_of_one_case_cost_that_case_alone(
    folders: tuple[Path, Path], side: str, mean: float | None
) -> None:
    save(folders[side == "prediction"] / "case_0.nii", blobs((9, 8, 7), seed=0))
    first, *_, last = score_folder(*folders, labels=LABELS)
    assert first.unusable == side and (mean is None or first.mean_dsc == mean)
    assert f"case case_0 has more than one {side}: case_0.nii, case_0.nii.gz" in first.notes[0]
    assert last.scored
