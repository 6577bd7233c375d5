"""Files, arrays, and images of other libraries give the same scores."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from volumes import box, save

from evaluator import CaseScore, LabelValueError, LabelVolume, RequestError, frame_of, score_case

SPACING = (0.75, 0.5, 2.0)
REFERENCE = box((20, 18, 9), (2, 3, 1), (12, 10, 6))
PREDICTION = box((20, 18, 9), (3, 3, 1), (13, 11, 7))
LABELS = {1: "liver"}


def score(reference: object, prediction: object, **more: object) -> CaseScore:
    return score_case(reference, prediction, labels=LABELS, metrics=("dsc", "nsd", "hd95"), **more)  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return (
        save(tmp_path / "a" / "case.nii.gz", REFERENCE, SPACING),
        save(tmp_path / "b" / "case.nii.gz", PREDICTION, SPACING),
    )


def test_arrays_with_their_spacing_score_as_their_files_do(files: tuple[Path, Path]) -> None:
    expected = score(*files)
    assert 0 < expected[1].dsc < 1
    for kind in (np.uint8, np.int64, np.float32, np.bool_):
        found = score(REFERENCE.astype(kind), PREDICTION.astype(kind), spacing_mm=SPACING)
        assert found.labels == expected.labels


def test_images_of_nibabel_and_simpleitk_score_as_their_files_do(files: tuple[Path, Path]) -> None:
    expected = score(*files)
    assert score(*map(nibabel.load, files)).labels == expected.labels
    assert score(*(SimpleITK.ReadImage(str(path)) for path in files)).labels == expected.labels
    assert score(files[0], SimpleITK.ReadImage(str(files[1]))).labels == expected.labels


@pytest.mark.parametrize(
    ("labels", "mend"), [([1, 2], "a dict such as {1:"), ("flare22", r"LABEL_TABLES\['flare22'\]")]
)
def test_labels_of_another_kind_are_refused_with_what_to_give(labels: object, mend: str) -> None:
    with pytest.raises(RequestError, match=mend):
        score_case(REFERENCE, PREDICTION, labels=labels, spacing_mm=SPACING)  # type: ignore[arg-type]


def test_a_volume_of_fractions_hears_how_to_cast_it() -> None:
    with pytest.raises(LabelValueError, match=r"astype\(np.uint8\)"):
        LabelVolume(REFERENCE.astype(float), SPACING)


def test_an_image_that_lies_flipped_is_turned_back(files: tuple[Path, Path]) -> None:
    flipped = SimpleITK.Flip(SimpleITK.ReadImage(str(files[1])), [True, False, False])
    assert score(files[0], flipped).labels == score(*files).labels


def test_a_tensor_scores_as_its_array(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tensor:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def detach(self) -> Tensor:
            return self

        def cpu(self) -> Tensor:
            return self

        def numpy(self) -> np.ndarray:
            return self.array

    Tensor.__module__ = "torch"
    found = score(Tensor(REFERENCE), Tensor(PREDICTION), spacing_mm=SPACING)
    assert found.labels == score(REFERENCE, PREDICTION, spacing_mm=SPACING).labels


def test_what_is_no_label_volume_is_told() -> None:
    with pytest.raises(RequestError, match="an array has no voxel size"):
        score(REFERENCE, PREDICTION)
    with pytest.raises(RequestError, match=r"type int is no label volume \(reference of rater 1\)"):
        score([1, 2], PREDICTION, spacing_mm=SPACING)
    with pytest.raises(LabelValueError, match="no whole numbers"):
        score(REFERENCE + 0.5, PREDICTION, spacing_mm=SPACING)
    with pytest.raises(LabelValueError, match="3 axes"):
        score(REFERENCE[0], PREDICTION, spacing_mm=SPACING)


def test_labels_may_be_a_dict_with_regions() -> None:
    reference = np.maximum(REFERENCE, box(REFERENCE.shape, (4, 4, 2), (6, 6, 4), 2))
    labels = {"organ": 1, "lesion": 2, "organ with lesion": (1, 2)}
    found = score_case(reference, PREDICTION, labels=labels, spacing_mm=SPACING)
    assert [row.organ for row in found] == list(labels)
    union = score(reference > 0, PREDICTION, spacing_mm=SPACING)
    assert found.labels[2].dsc == union[1].dsc and found.labels[2].nsd == union[1].nsd


def test_records_iterate() -> None:
    found = score(REFERENCE, PREDICTION, spacing_mm=SPACING, case="a")
    assert len(found) == 1
    rows = list(found.records())
    assert [row["metric"] for row in rows] == ["dsc", "nsd", "hd95"]
    assert rows[0] == {"case": "a", "label": 1, "organ": "liver", "metric": "dsc", "value": found[1].dsc}


def test_a_frame_is_made_of_the_records_where_pandas_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = score(REFERENCE, PREDICTION, spacing_mm=SPACING)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RequestError, match="a DataFrame needs pandas"):
        found.to_frame()

    class Pandas:
        @staticmethod
        def DataFrame(rows: list, columns: list) -> tuple:
            return len(rows), columns

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    assert frame_of([found, found]) == (6, ["case", "label", "organ", "metric", "value"])
