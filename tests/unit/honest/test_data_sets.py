"""Oddities of a data set are accepted with a note, or refused with file and mend before any case runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK
from headers import by_nibabel, placed, scan, shorten, two_organs, with_forms

CUT = ("truncat", "ends before", "damaged", "torn", "cut")
APPLE_DOUBLE = bytes.fromhex("00051607") + b"\x00\x02\x00\x00Mac OS X" + bytes(100)
COPY = """\
set -e
for scan in "$FLARE_INPUTS"/*; do
  name=${scan##*/}
  cp answer "$FLARE_OUTPUTS/${name%_0000.nii.gz}.nii.gz"
done
"""


def test_files_that_macos_leaves_are_no_cases(desk):
    desk.plain()
    desk.predict()
    for path in (desk.image(), desk.label()):
        path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
    answer = desk.check()
    assert answer.exit_code == 0 and answer.says("1 case")
    assert desk.score().is_perfect()


def test_one_name_in_two_unicode_spellings_is_one_case(desk):
    by_nibabel(desk.image("na\u00efve"), scan())
    by_nibabel(desk.label("nai\u0308ve"), two_organs())
    answer = desk.check()
    assert answer.exit_code == 0 and answer.says("1 case")


def test_a_second_channel_is_not_ignored_in_silence(desk):
    desk.plain()
    by_nibabel(desk.folder / "data/imagesVal/a_0001.nii.gz", scan(1))
    assert desk.check().says("_0001", "channel")


@pytest.mark.parametrize("name", ["kidney_3_0000.nii", "kidney_3.nii.gz", "kidney_3_0000.mha"])
def test_images_named_or_stored_otherwise_are_taken_or_shown(desk, name):
    image = desk.folder / "data/imagesVal" / name
    if name.endswith(".mha"):
        image.parent.mkdir(parents=True)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(scan()), str(image))
    else:
        by_nibabel(image, scan())
        ending = ".nii.gz" if name.endswith(".gz") else ".nii"
        by_nibabel(desk.folder / f"data/labelsVal/kidney_3{ending}", two_organs())
    answer = desk.check()
    assert answer.exit_code == 0 or answer.stops(name)


ANNOTATIONS = {
    "a misspelt case": {"kidney_3": [1]},
    "true": {"kidney_03": [True]},
    "a list": [1, 2],
    "text": {"kidney_03": "1, 3"},
    "an unknown label": {"kidney_03": [-4]},
}


@pytest.mark.parametrize("annotated", ANNOTATIONS.values(), ids=ANNOTATIONS)
def test_annotations_that_would_count_as_whole_ones_are_refused(desk, annotated):
    desk.plain("kidney_03")
    desk.describe(annotated=annotated)
    assert desk.check().stops("annotated", "kidney_3")


CHALLENGE = """\
name = "ours"
title = "Ours"
[[labels]]
value = 1
name = "liver"
tolerance_mm = 5
group = "organs"
[[labels]]
value = 3
name = "spleen"
tolerance_mm = 3
group = "organs"
[limits]
memory = "1 GiB"
time = "1 min"
[ranking]
[[ranking.metrics]]
metric = "dsc"
labels = "organs"
"""


def test_windows_text_files(desk):
    desk.plain()
    desk.predict()
    (desk.folder / "data/dataset.json").write_text('\ufeff{"name": "w"}\r\n', encoding="utf-8")
    (desk.folder / "ours.toml").write_bytes(("\ufeff" + CHALLENGE).replace("\n", "\r\n").encode())
    assert desk.check().exit_code == 0
    assert desk.score("--challenge", str(desk.folder / "ours.toml")).is_perfect()


def test_a_windows_manifest_of_a_submission(desk):
    desk.plain()
    desk.submit(COPY, answer=desk.label().read_bytes())
    manifest = desk.folder / "submissions/copycat/submission.toml"
    manifest.write_bytes('\ufeffname = "copycat"\r\n'.encode())
    assert desk.evaluate().is_perfect()


def test_two_files_of_one_case_leave_the_others_alone(desk):
    for case in ("a", "b"):
        by_nibabel(desk.reference(case), two_organs())
        by_nibabel(desk.prediction(case), two_organs())
    by_nibabel(desk.prediction("a", ".nii"), two_organs())
    answer = desk.evaluator()
    assert answer.scores["b", 1] == (1.0, 1.0)
    assert answer.says("a.nii") and ("a", 1) in answer.scores


def test_predictions_that_kept_the_channel_in_their_names(desk):
    desk.plain("p1", "p2")
    for case in ("p1", "p2"):
        by_nibabel(desk.reference(case), two_organs())
        by_nibabel(desk.prediction(f"{case}_0000"), two_organs())
    assert desk.score().says("p1_0000.nii.gz")
    assert desk.evaluator().says("p1_0000.nii.gz")


def test_a_scan_that_was_cut_off_is_no_readable_data_set(desk):
    desk.plain()
    shorten(desk.image(), 900)
    assert desk.check().stops(*CUT)


@pytest.mark.parametrize("which", ["image", "label"])
def test_a_file_that_was_cut_off_is_found_before_the_first_case_runs(desk, which):
    desk.plain("a", "b")
    desk.submit(COPY, answer=desk.label().read_bytes())
    shorten(getattr(desk, which)("b"), 25)
    answer = desk.evaluate()
    assert answer.stops(*CUT) and not answer.outcomes


def test_one_broken_prediction_among_good_ones(desk):
    desk.plain("a", "b", "c")
    for case in ("a", "b", "c"):
        by_nibabel(desk.prediction(case), two_organs())
    shorten(desk.prediction("b"), 25)
    answer = desk.score()
    assert [answer.outcomes[case] for case in "abc"] == ["succeeded", "invalid_output", "succeeded"]
    assert answer.scores["c", 3] == (1.0, 1.0)


def test_a_name_of_latin_1_bytes(desk):
    name = "F\udcfcr"
    desk.plain(name)
    by_nibabel(desk.prediction(name), two_organs())
    answer = desk.score()
    assert answer.exit_code == 0 or answer.stops("utf", "name", "encod")


def test_a_repaired_copy_states_one_grid_and_keeps_every_voxel(desk):
    forms = {"sform": placed(), "qform": placed(corner_mm=(0.0, 0.0, 0.0))}
    with_forms(desk.image(), scan(), **forms)
    with_forms(desk.label(), two_organs(), **forms)
    answer = desk._harness(
        "data", "check", str(desk.folder / "data"), "--repair", str(desk.folder / "mended")
    )
    assert answer.exit_code == 0
    again = desk.check("mended")
    assert again.exit_code == 0 and not again.says("sform and qform")
    mended = SimpleITK.ReadImage(str(desk.folder / "mended/labelsVal/a.nii.gz"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(mended).T, two_organs())


def test_what_a_data_set_says_is_read_as_json(desk):
    desk.plain()
    (desk.folder / "data/dataset.json").write_text(json.dumps({"name": "x"})[:-1])
    assert desk.check().stops("dataset.json")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_number_are_told(desk, value):
    desk.plain()
    voxels = scan().astype(np.float32)
    voxels[3, 4, 5:8] = value
    by_nibabel(desk.image(), voxels)
    answer = desk.check()
    assert answer.exit_code == 0 and answer.says("3 voxels that are no number")


def test_voxels_that_are_all_numbers_are_not_told(desk):
    desk.plain()
    by_nibabel(desk.image(), scan().astype(np.float64))
    assert not desk.check().says("no number")


@pytest.mark.parametrize("sizes_mm", [(0.0009, 0.0007, 0.003), (900.0, 700.0, 3000.0)])
def test_voxels_of_no_scanner_are_told(desk, sizes_mm):
    for path, array in ((desk.image(), scan()), (desk.label(), two_organs())):
        by_nibabel(path, array, placed(sizes_mm))
    answer = desk.check()
    assert answer.exit_code == 0 and answer.says("which no clinical scanner makes")


def test_a_case_that_is_annotated_twice_is_refused(desk):
    desk.plain()
    (desk.folder / "data/dataset.json").write_text('{"annotated": {"a": [1], "a": [1, 3]}}')
    assert desk.check().stops("twice")


def test_a_description_in_latin_1_is_refused_with_the_mend(desk):
    desk.plain()
    (desk.folder / "data/dataset.json").write_bytes('{"name": "K\u00f6ln"}'.encode("latin-1"))
    assert desk.check().stops("Save it as UTF-8")
