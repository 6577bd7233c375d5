"""Every file is read to its end before anything runs, and the one at fault is named."""

import json

import nibabel as nib
import numpy as np
import pytest

from evaluator import Label, LabelTable
from harness.cli.app import run
from harness.data.check import check_channels, check_dataset, require_sound
from harness.data.dataset import open_dataset
from harness.errors import EXIT_OK, ConfigurationError


@pytest.fixture
def folder(tmp_path):
    """One readable FLARE-layout case of 4 x 5 x 6 voxels."""
    save(tmp_path / "imagesVal" / "a_0000.nii.gz", (4, 5, 6), np.int16)
    save(tmp_path / "labelsVal" / "a.nii.gz", (4, 5, 6), np.uint8)
    return tmp_path


def save(path, shape, dtype, affine=None, *, values=(), noise=False):
    path.parent.mkdir(exist_ok=True)
    array = np.zeros(shape, dtype)
    if noise:
        array[:] = np.random.default_rng(0).integers(0, 9, shape)
    array.flat[: len(values)] = values
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0]) if affine is None else affine), path)


def test_a_good_set_passes_and_progress_is_told(folder):
    told = []
    check_dataset(open_dataset(folder), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]


def refused(folder, match, **options):
    with pytest.raises(ConfigurationError, match=match):
        require_sound(check_dataset(open_dataset(folder), **options))


def findings(folder, **options):
    return [finding for fact in check_dataset(open_dataset(folder), **options) for finding in fact.findings]


def test_a_label_of_another_shape_is_refused(folder):
    save(folder / "labelsVal" / "a.nii.gz", (4, 5, 7), np.uint8)
    refused(folder, r"label of case a is not on its image's grid: .*4x5x7")


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 1.0, 2.5, 1.0]),
        np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 3, 12], [0, 0, 0, 1]]),
        np.array([[0.996, -0.087, 0, 0], [0.087, 0.996, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]),
    ],
    ids=["spacing", "shifted", "turned"],
)
def test_a_label_off_its_images_grid_is_found_before_a_team_pays_for_it(folder, affine):
    save(folder / "labelsVal" / "a.nii.gz", (4, 5, 6), np.uint8, affine)
    refused(folder, r"label of case a is not on its image's grid")


def test_a_label_stored_flipped_is_told_and_passes(folder):
    flipped = np.array([[-1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    save(folder / "labelsVal" / "a.nii.gz", (4, 5, 6), np.uint8, flipped)
    (finding,) = findings(folder)
    assert not finding.fatal and "flipped along x" in finding.what


@pytest.mark.parametrize("damage", [b"", b"no volume at all", b"\x1f\x8b\x08\x00broken"])
def test_an_unreadable_image_is_named(folder, damage):
    (folder / "imagesVal" / "a_0000.nii.gz").write_bytes(damage)
    refused(folder, r"a_0000\.nii\.gz")


@pytest.mark.parametrize("name", ["labelsVal/a.nii.gz", "imagesVal/a_0000.nii.gz"])
@pytest.mark.parametrize("left", [20, -30], ids=["header", "last voxels"])
def test_a_torn_file_is_named_wherever_it_was_torn(folder, name, left):
    save(folder / "imagesVal" / "a_0000.nii.gz", (40, 50, 60), np.int16, noise=True)
    save(folder / "labelsVal" / "a.nii.gz", (40, 50, 60), np.uint8, noise=True)
    (folder / name).write_bytes((folder / name).read_bytes()[:left])
    refused(folder, name.replace(".", r"\."))


def test_one_faulty_case_does_not_hide_another(folder):
    for case in ("b", "c"):
        save(folder / "imagesVal" / f"{case}_0000.nii.gz", (4, 5, 6), np.int16)
        save(folder / "labelsVal" / f"{case}.nii.gz", (4, 5, 7), np.uint8)
    assert [finding.case for finding in findings(folder)] == ["b", "c"]
    refused(folder, r"label of case b .*1 more case\(s\) have faults")


TABLE = LabelTable("ours", (Label(1, "liver", 5.0), Label(3, "spleen", 3.0)))


def test_labels_that_a_challenge_does_not_score_are_told(folder):
    save(folder / "labelsVal" / "a.nii.gz", (4, 5, 6), np.uint8, values=(1, 77))
    (finding,) = findings(folder, labels=TABLE)
    assert not finding.fatal and "holds 77, which ours does not score" in finding.what


def test_a_label_volume_with_none_of_the_challenges_labels_is_refused(folder):
    save(folder / "labelsVal" / "a.nii.gz", (4, 5, 6), np.uint8, values=(77, 78))
    refused(folder, r"holds 77, 78, which ours does not score.*Its labels are 1, 3", labels=TABLE)


def test_an_annotation_of_labels_that_the_challenge_does_not_score_is_refused(folder):
    (folder / "dataset.json").write_text(json.dumps({"annotated": {"a": [1, 99]}}))
    refused(folder, r"`annotated` of case a names 99", labels=TABLE)


def test_what_is_there_is_told_case_by_case(folder):
    save(folder / "labelsVal" / "a.nii.gz", (4, 5, 6), np.uint8, values=(3, 1))
    (fact,) = check_dataset(open_dataset(folder))
    assert (fact.shape, fact.spacing_mm, fact.labels) == ((4, 5, 6), (1.0, 1.0, 3.0), (1, 3))


def test_channels_off_the_grid_of_the_first_are_refused(folder):
    save(folder / "imagesVal" / "a_0001.nii.gz", (4, 5, 6), np.int16)
    assert findings(folder) == []
    save(folder / "imagesVal" / "a_0001.nii.gz", (4, 5, 7), np.int16)
    refused(folder, r"a channel of case a is not on the grid of its first")


@pytest.mark.parametrize("names", [(), ("CT", "PET")])
def test_other_channels_than_the_challenge_says_are_refused(folder, names):
    save(folder / "imagesVal" / "a_0001.nii.gz", (4, 5, 6), np.int16)
    two = open_dataset(folder)
    (folder / "imagesVal" / "a_0001.nii.gz").unlink()
    one = open_dataset(folder)
    fits, other = (two, one) if names else (one, two)
    check_channels(fits, names)
    with pytest.raises(ConfigurationError, match=r"channel\(s\) a case and the challenge .*`channels = \["):
        check_channels(other, names)


def test_a_set_without_any_label_is_said_to_be_no_set_to_score(folder, capsys):
    (folder / "labelsVal" / "a.nii.gz").unlink()
    assert run(["data", "check", str(folder)]) == EXIT_OK
    said = capsys.readouterr().err
    assert "nothing can be scored" in said
    assert "labelsVal/a.nii.gz" in said
    assert "all readable" not in said


def test_a_set_of_which_one_case_has_a_label_can_be_scored(folder, capsys):
    save(folder / "imagesVal" / "b_0000.nii.gz", (4, 5, 6), np.int16)
    assert run(["data", "check", str(folder)]) == EXIT_OK
    said = capsys.readouterr().err
    assert "1 of 2 case(s) have no label: b" in said
    assert "nothing can be scored" not in said
