"""Label fusion of folders: files, their sidecars, what is done again and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("isal")


from segkit.partial.annotation import EVERYTHING, ORGANS, read_annotations
from segkit.partial.errors import AnnotationError, FusionError, VolumeError
from segkit.partial.fusion import fuse_case, fuse_folder, main, sources_of

from .partial_cases import DIRECTION, ORIGIN_MM, SHAPE, SPACING_MM, label_map, make_data, write_image

LIVER, RIGHT_KIDNEY, SPLEEN, TUMOUR = 1, 2, 3, 14


ANNOTATED = {"all": sorted(EVERYTHING), "some": [LIVER, SPLEEN], "tumour": [TUMOUR], "nothing": []}
LABELS = {"all": [LIVER, TUMOUR], "some": [LIVER, LIVER, SPLEEN], "tumour": [0, TUMOUR], "nothing": None}


class Folders:
    """A data set of four cases, its pseudo labels, and an output folder that is not there yet."""

    def __init__(self, root):
        self.data = make_data(root / "data", LABELS, ANNOTATED)
        self.organs, self.tumours, self.out = root / "organs", root / "tumours", root / "fused"
        for case in ("some", "tumour", "nothing"):
            self.write_organs(case, label_map(values=[0, 0, 0, RIGHT_KIDNEY, LIVER]))
        for case in ("some", "nothing"):
            write_image(self.tumours / f"{case}.nii.gz", label_map(values=[0, 1, 0, 0, 0, 1]))

    def write_organs(self, case, array, **geometry):
        write_image(self.organs / f"{case}.nii.gz", array, **geometry)

    def fuse(self, **changes):
        options = {"organ_labels": self.organs, "tumour_labels": self.tumours, **changes}
        return fuse_folder(read_annotations(self.data), options.pop("out", self.out), **options)

    def first_voxels(self, case):
        return sitk.GetArrayFromImage(sitk.ReadImage(str(self.out / f"{case}.nii.gz"))).ravel()[:7].tolist()

    def sidecar(self, case):
        return json.loads((self.out / f"{case}.json").read_text())


@pytest.fixture
def folders(tmp_path):
    """See `Folders`."""
    return Folders(tmp_path)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_fused_case_by_case(folders):
    done = folders.fuse()
    assert [case.name for case in done] == ["all", "nothing", "some", "tumour"]
    assert folders.first_voxels("all") == [LIVER, TUMOUR, 0, 0, 0, 0, 0]
    assert folders.first_voxels("some") == [LIVER, TUMOUR, SPLEEN, RIGHT_KIDNEY, 0, TUMOUR, 0]
    assert folders.first_voxels("tumour") == [0, TUMOUR, 0, RIGHT_KIDNEY, LIVER, 0, 0]
    assert folders.first_voxels("nothing") == [0, TUMOUR, 0, RIGHT_KIDNEY, LIVER, TUMOUR, 0]
    assert {path.name for path in folders.out.iterdir()} == {
        f"{case}{ending}" for case in LABELS for ending in (".nii.gz", ".json")
    }


def test_no_input_is_touched(folders):
    inputs = (folders.data, folders.organs, folders.tumours)
    before = [contents(folder) for folder in inputs]
    folders.fuse()
    assert [contents(folder) for folder in inputs] == before


def test_the_output_has_the_cts_geometry_and_is_compressed_uint8(folders):
    folders.fuse()
    path = folders.out / "some.nii.gz"
    ct = sitk.ReadImage(str(folders.data / "imagesTr" / "some_0000.nii.gz"))
    image = sitk.ReadImage(str(path))
    assert image.GetPixelID() == sitk.sitkUInt8
    assert (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()) == (
        ct.GetSize(),
        ct.GetSpacing(),
        ct.GetOrigin(),
        ct.GetDirection(),
    )
    assert gzip.decompress(path.read_bytes())


def test_the_sidecar_says_where_each_label_came_from(folders):
    folders.fuse()
    told = folders.sidecar("some")
    assert told["fusion"] == "A: partly annotated" and told["annotated"] == [LIVER, SPLEEN]
    labels = told["labels"]
    assert labels["1"] == {"name": "liver", "decided_by": "annotation", "voxels": {"annotation": 1}}
    assert labels["2"]["voxels"] == {"organ pseudo label": 1}
    assert labels["9"] == {"name": "gallbladder", "decided_by": "organ pseudo label", "voxels": {}}
    assert labels["14"]["voxels"] == {"tumour pseudo label": 2}
    assert told["removed_voxels"]["organ pseudo label"] == {"1": 1}
    assert told["covered_voxels"]["annotation"] == {"1": 1}
    assert told["inputs"]["annotation"]["file"] == "labelsTr/some.nii.gz"
    assert set(told["inputs"]) == {"annotation", "organ pseudo label", "tumour pseudo label"}
    assert folders.sidecar("nothing")["fusion"] == "B: nothing annotated"
    assert set(folders.sidecar("all")["inputs"]) == {"annotation"}


def test_a_class_that_nobody_speaks_of_is_told(folders):
    folders.fuse(organ_labels=None)
    assert folders.sidecar("some")["labels"]["2"]["decided_by"] is None
    assert folders.sidecar("some")["labels"]["14"]["decided_by"] == "tumour pseudo label"


def test_without_pseudo_labels_cases_that_annotate_nothing_are_left_out(folders):
    done = folders.fuse(organ_labels=None, tumour_labels=None)
    assert [case.name for case in done] == ["all", "some", "tumour"]
    assert folders.first_voxels("some")[:4] == [LIVER, LIVER, SPLEEN, 0]
    # Not even with an empty label file, which says nothing either.
    for _ in range(2):
        with pytest.raises(FusionError, match="nothing annotates nothing"):
            folders.fuse(organ_labels=None, tumour_labels=None, cases=["nothing"])
        write_image(folders.data / "labelsTr" / "nothing.nii.gz", label_map(values=[]))


def test_only_the_named_cases_are_fused(folders):
    assert [case.name for case in folders.fuse(cases=["some"])] == ["some"]
    with pytest.raises(AnnotationError, match="no case typo"):
        folders.fuse(cases=["typo"])


def test_what_is_there_and_fits_its_inputs_is_left_alone(folders):
    folders.fuse()
    before = {path: path.stat().st_mtime_ns for path in folders.out.iterdir()}
    assert not any(case.is_new for case in folders.fuse())
    assert {path: path.stat().st_mtime_ns for path in folders.out.iterdir()} == before


def test_only_what_changed_is_fused_again(folders):
    folders.fuse()
    folders.write_organs("nothing", label_map(values=[SPLEEN]))
    assert [case.name for case in folders.fuse() if case.is_new] == ["nothing"]
    assert folders.first_voxels("nothing")[0] == SPLEEN


def test_a_changed_table_fuses_its_case_again(folders):
    folders.fuse()
    (folders.data / "dataset.json").write_text(json.dumps({"annotated": {**ANNOTATED, "some": [1, 2, 3]}}))
    assert [case.name for case in folders.fuse() if case.is_new] == ["some"]
    assert folders.first_voxels("some")[3] == 0


def test_a_run_that_was_stopped_goes_on(folders):
    def stop(case):
        if case.name == "nothing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folders.fuse(on_case=stop)
    assert [case.name for case in folders.fuse() if case.is_new] == ["some", "tumour"]


@pytest.mark.parametrize("damage", ["no labels", "torn labels", "torn sidecar"])
def test_what_a_power_cut_can_leave_is_made_again_or_refused(folders, damage):
    folders.fuse()
    labels, sidecar = folders.out / "some.nii.gz", folders.out / "some.json"
    if damage == "no labels":  # the sidecar is renamed first
        labels.unlink()
    elif damage == "torn labels":
        labels.write_bytes(labels.read_bytes()[:50])
    else:
        sidecar.write_text("{")
        with pytest.raises(FusionError, match="was not written here"):
            folders.fuse()
        labels.unlink()
    assert [case.name for case in folders.fuse() if case.is_new] == ["some"]
    assert folders.first_voxels("some")[0] == LIVER


def test_a_failed_case_leaves_no_part_of_it(folders):
    folders.write_organs("some", label_map(values=[200]))
    with pytest.raises(VolumeError):
        folders.fuse()
    assert {path.name for path in folders.out.iterdir()} == {
        f"{case}{ending}" for case in ("all", "nothing") for ending in (".nii.gz", ".json")
    }


@pytest.mark.parametrize("name", ["data/labelsTr", "data/imagesTr", "data", "organs", "tumours"])
def test_an_input_folder_is_no_output_folder(folders, tmp_path, name):
    before = contents(tmp_path)
    link = tmp_path / "another name"
    link.symlink_to(tmp_path / name)
    for out in (tmp_path / name, link, tmp_path / "data" / ".." / name):
        with pytest.raises(FusionError, match="inputs are never overwritten"):
            folders.fuse(out=out)
    link.unlink()
    assert contents(tmp_path) == before


def test_a_folder_that_inputs_are_linked_from_is_no_output_folder(folders, tmp_path):
    pool = tmp_path / "pool"
    shutil.move(folders.data / "labelsTr", pool)
    (folders.data / "labelsTr").mkdir()
    for path in pool.iterdir():
        (folders.data / "labelsTr" / path.name).symlink_to(path)
    before = contents(pool)
    with pytest.raises(FusionError, match="inputs are never overwritten"):
        folders.fuse(out=pool)
    assert contents(pool) == before


def test_labels_of_other_origin_are_not_overwritten(folders):
    foreign = write_image(folders.out / "some.nii.gz", label_map(values=[SPLEEN]))
    before = foreign.read_bytes()
    with pytest.raises(FusionError, match="was not written here"):
        folders.fuse()
    assert foreign.read_bytes() == before


def test_missing_pseudo_labels_are_told_before_anything_is_written(folders):
    (folders.organs / "tumour.nii.gz").unlink()
    (folders.tumours / "some.nii.gz").unlink()
    with pytest.raises(FusionError, match=r"2 pseudo label\(s\) are missing, first .*some"):
        folders.fuse()
    assert not folders.out.exists()


OTHER = {
    "size": ({"array": np.zeros((3, 4, 6), np.uint8)}, "its size is"),
    "spacing": ({"spacing": (0.8, 0.7, 2.6)}, "its spacing_mm is"),
    "origin": ({"origin": (-120.5, 33.25, -699.0)}, "its origin_mm is"),
    "direction": ({"direction": (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)}, "its direction is"),
    "dimension": ({"array": np.zeros((4, 5), np.uint8)}, "its size is"),
}


@pytest.mark.parametrize("what", OTHER)
@pytest.mark.parametrize("source", ["organs", "tumours", "annotation"])
def test_labels_on_another_grid_than_the_ct_are_refused(folders, source, what):
    changes, said = OTHER[what]
    path = {"organs": folders.organs, "tumours": folders.tumours, "annotation": folders.data / "labelsTr"}[
        source
    ]
    array = changes.get("array", label_map(values=[]))
    geometry = {key: value for key, value in changes.items() if key != "array"}
    if array.ndim == 2:
        geometry = {"spacing": SPACING_MM[:2], "origin": ORIGIN_MM[:2], "direction": (1, 0, 0, 1)}
    write_image(path / "some.nii.gz", array, **geometry)
    with pytest.raises(VolumeError, match=said) as caught:
        folders.fuse(cases=["some"])
    assert str(path / "some.nii.gz") in str(caught.value)


def test_what_float32_does_to_geometry_is_no_difference(folders):
    origin = tuple(value + 1e-5 for value in ORIGIN_MM)
    direction = tuple(np.float32(np.array(DIRECTION) * (1 + 1e-6)).astype(float))
    folders.write_organs("some", label_map(values=[]), origin=origin, direction=direction)
    folders.fuse(cases=["some"])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (label_map(values=[200]), r"label 200 \(1 voxels\).*organ model"),
        (label_map(values=[0.5], dtype=np.float32), "not whole numbers"),
        (label_map(values=[-1], dtype=np.int16), "values from -1 to 0"),
        (label_map(values=[257], dtype=np.int32), "values from 0 to 257"),
    ],
)
def test_a_file_that_is_no_label_map_is_refused(folders, array, said):
    folders.write_organs("some", array)
    with pytest.raises(VolumeError, match=said) as caught:
        folders.fuse(cases=["some"])
    assert "some.nii.gz" in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int64])
def test_whole_numbers_of_another_type_are_labels(folders, dtype):
    folders.write_organs("some", label_map(values=[0, 0, 0, RIGHT_KIDNEY], dtype=dtype))
    folders.fuse(cases=["some"])
    assert folders.first_voxels("some")[3] == RIGHT_KIDNEY


@pytest.mark.parametrize("value", [2, 13])
def test_a_tumour_map_with_organs_is_refused(folders, value):
    write_image(folders.tumours / "some.nii.gz", label_map(values=[value]))
    with pytest.raises(VolumeError, match=r"where only 1, 14 may be.*tumour model"):
        folders.fuse(cases=["some"])


def test_an_annotation_with_values_that_the_table_does_not_name_is_refused(folders):
    write_image(folders.data / "labelsTr" / "some.nii.gz", label_map(values=[LIVER, RIGHT_KIDNEY]))
    with pytest.raises(VolumeError, match=r"label 2 \(1 voxels\), where only 1, 3 may be.*mend the table"):
        folders.fuse(cases=["some"])


def test_a_label_file_of_a_case_that_annotates_nothing_may_only_be_empty(folders):
    write_image(folders.data / "labelsTr" / "nothing.nii.gz", label_map(values=[]))
    folders.fuse(cases=["nothing"])
    write_image(folders.data / "labelsTr" / "nothing.nii.gz", label_map(values=[LIVER]))
    with pytest.raises(VolumeError, match="label 1"):
        folders.fuse(cases=["nothing"])


@pytest.mark.parametrize("kept_bytes", [0, 30, -10, -1])
def test_a_torn_file_is_refused(folders, kept_bytes):
    path = folders.organs / "some.nii.gz"
    noise = np.random.default_rng(0).integers(0, 14, SHAPE, dtype=np.uint8)
    folders.write_organs("some", noise)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(VolumeError, match=r"some\.nii\.gz: cannot be read as an image"):
        folders.fuse(cases=["some"])


def test_a_colour_image_is_no_label_map(folders):
    image = sitk.GetImageFromArray(np.zeros((*SHAPE, 3), np.uint8), isVector=True)
    image.CopyInformation(sitk.ReadImage(str(folders.data / "imagesTr" / "some_0000.nii.gz")))
    sitk.WriteImage(image, str(folders.organs / "some.nii.gz"))
    with pytest.raises(VolumeError, match="3 values in each voxel"):
        folders.fuse(cases=["some"])


def test_one_case_can_be_fused_alone(folders):
    case = read_annotations(folders.data)["some"]
    done = fuse_case(case, sources_of(case, folders.organs, folders.tumours), folders.out)
    assert done.is_new and done.sidecar == folders.sidecar("some")
    assert case.annotated < ORGANS


def test_the_command_line_fuses_goes_on_and_tells_errors(folders, capsys):
    arguments = ["--data", folders.data, "--organ-labels", folders.organs, "--tumour-labels", folders.tumours]
    arguments = [*map(str, arguments), "--out", str(folders.out)]
    assert main(arguments) == 0
    assert "some: fused" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "some: there already" in capsys.readouterr().err
    assert main([*arguments[:-1], str(folders.organs)]) == 2
    assert "error: " in capsys.readouterr().err
