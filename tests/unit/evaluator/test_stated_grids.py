"""A prediction on any grid that its image's header states is accepted as it is; one on none is refused."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from volumes import ONE_LABEL, box

from evaluator import compare_geometry, read_header, score_case
from evaluator.errors import EvaluatorError
from evaluator.geometry import readers_disagree, stated_grids

SHAPE = (9, 7, 5)
SIZES = (0.8, 0.9, 2.5)
UNITS = {"none": 0, "metre": 1, "millimetre": 2, "micron": 3}

SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)


def placed(
    sizes: tuple[float, ...] = SIZES,
    origin: tuple[float, ...] = (-11.5, 20.7, 31.1),
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    signs: tuple[int, int, int] = (1, 1, 1),
) -> NDArray:
    """Return the affine of a volume turned about z, y and x, some axes mirrored."""
    turn = np.eye(3)
    for axis, angle in zip((2, 1, 0), np.radians(degrees), strict=True):
        one, two = (other for other in range(3) if other != axis)
        step = np.eye(3)
        step[one, one] = step[two, two] = np.cos(angle)
        step[one, two], step[two, one] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(signs) * np.array(sizes)
    affine[:3, 3] = origin
    return affine


@dataclass(frozen=True)
class Header:
    """What is written into a NIfTI-1 header, however contradictory."""

    sform: NDArray | None = field(default_factory=placed)
    qform: NDArray | None = field(default_factory=placed)
    codes: tuple[int, int] = (1, 1)
    pixdim: tuple[float, float, float] | None = None
    unit: str = "millimetre"
    shape: tuple[int, ...] = SHAPE
    dim: tuple[int, ...] | None = None

    def write(self, path: Path, array: NDArray | None = None) -> Path:
        image = nibabel.Nifti1Image(np.zeros(self.shape, np.int16) if array is None else array, None)
        if self.qform is not None:
            image.set_qform(self.qform, 1)
        if self.sform is not None:
            image.set_sform(self.sform, 1)
        content = bytearray(image.to_bytes())
        struct.pack_into("<2h", content, 252, self.codes[1], self.codes[0])
        if self.sform is not None:
            struct.pack_into("<12f", content, 280, *self.sform[:3].ravel())
        if self.pixdim is not None:
            struct.pack_into("<3f", content, 80, *self.pixdim)
        if self.dim is not None:
            struct.pack_into(f"<{len(self.dim)}h", content, 40, *self.dim)
        struct.pack_into("<B", content, 123, UNITS[self.unit])
        path.write_bytes(content)
        return path


def labels(shape: tuple[int, ...] = SHAPE) -> NDArray:
    """Return a volume that no flip or swap of axes maps onto itself."""
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(0, max(1, size // 2 - axis)) for axis, size in enumerate(shape))] = 1
    return array


@contextmanager
def permissive(switch: bool) -> Iterator[None]:
    os.environ.pop("ITK_NIFTI_SFORM_PERMISSIVE", None)
    if switch:
        os.environ["ITK_NIFTI_SFORM_PERMISSIVE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("ITK_NIFTI_SFORM_PERMISSIVE", None)


def by_nibabel(image: Path, path: Path, *, reuse_header: bool = False) -> Path | None:
    """Write labels as a nibabel program does; `None` if it cannot read the image."""
    try:
        source = nibabel.load(image)
        affine, shape = source.affine, source.shape
    except (nibabel.spatialimages.HeaderDataError, ValueError):
        return None
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12 or 0 in shape:
        return None
    nibabel.save(nibabel.Nifti1Image(labels(shape), affine, source.header if reuse_header else None), path)
    return path


def by_itk(image: Path, path: Path, *, corrects_shear: bool = False) -> Path | None:
    """Write labels as a SimpleITK program does; `None` if it cannot read the image."""
    with permissive(corrects_shear):
        try:
            source = SimpleITK.ReadImage(str(image))
        except RuntimeError:
            return None
    shape = source.GetSize()
    written = SimpleITK.GetImageFromArray(np.ascontiguousarray(labels(shape).T))
    written.CopyInformation(source)
    SimpleITK.WriteImage(written, str(path))
    return path


def predictions(image: Path, folder: Path) -> dict[str, Path]:
    """Return what teams with different readers write for one image."""
    found = {
        "nibabel": by_nibabel(image, folder / "nibabel.nii.gz"),
        "nibabel with the image's header": by_nibabel(image, folder / "header.nii.gz", reuse_header=True),
        "SimpleITK": by_itk(image, folder / "itk.nii.gz"),
        "SimpleITK told to correct shear": by_itk(image, folder / "permissive.nii.gz", corrects_shear=True),
        "SimpleITK as MetaImage": by_itk(image, folder / "itk.mha"),
        "SimpleITK as NRRD": by_itk(image, folder / "itk.nrrd"),
    }
    return {reader: path for reader, path in found.items() if path is not None}


def assert_all_accepted(header: Header, folder: Path) -> int:
    image = header.write(folder / "image.nii")
    reference = header.write(folder / "reference.nii", labels(header.shape))
    written = predictions(image, folder)
    for reader, path in written.items():
        diagnosis = compare_geometry(read_header(image), read_header(path))
        assert diagnosis.kind == "same", f"{reader}: {diagnosis.text}"
        score = score_case(reference, path, labels=ONE_LABEL)
        assert (score[1].dsc, score[1].nsd) == (1.0, 1.0), reader
    return len(written)


SHEARED = placed() @ np.array([[1, 0.1, 0.05, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
ELSEWHERE = placed(origin=(-40.0, 5.0, 7.0))
MIRRORED = placed(signs=(-1, 1, 1), origin=(-11.5 + 8 * 0.8, 20.7, 31.1))
SWAPPED = placed()[:, [1, 0, 2, 3]]
OBLIQUE = placed(degrees=(20.0, 5.0, 30.0))
HALF_TURN = placed(degrees=(180.0, 0.7, 0.3))
FLAT = (9, 7)
VARIANTS = {
    "both forms alike": Header(),
    "sform only": Header(qform=None, codes=(1, 0), pixdim=SIZES),
    "sform only, code 2": Header(qform=None, codes=(2, 0), pixdim=SIZES),
    "qform only": Header(sform=None, codes=(0, 1)),
    "neither": Header(codes=(0, 0)),
    "neither, oblique": Header(sform=OBLIQUE, qform=OBLIQUE, codes=(0, 0)),
    "forms elsewhere, codes 2 1": Header(qform=ELSEWHERE, codes=(2, 1)),
    "forms elsewhere, codes 1 1": Header(qform=ELSEWHERE, codes=(1, 1)),
    "forms elsewhere, codes 1 2": Header(qform=ELSEWHERE, codes=(1, 2)),
    "forms elsewhere, codes 4 3": Header(qform=ELSEWHERE, codes=(4, 3)),
    "forms mirrored": Header(qform=MIRRORED, codes=(2, 1)),
    "forms mirrored the other way": Header(sform=MIRRORED, qform=placed(), codes=(3, 1)),
    "forms with swapped axes": Header(qform=SWAPPED, codes=(2, 1)),
    "forms a degree apart": Header(qform=placed(degrees=(1.0, 0.0, 0.0)), codes=(2, 1)),
    "forms a tenth of a millimetre apart": Header(qform=placed(origin=(-11.4, 20.7, 31.1)), codes=(2, 1)),
    "oblique": Header(sform=OBLIQUE, qform=OBLIQUE),
    "half a turn, qform only": Header(sform=None, qform=HALF_TURN, codes=(0, 1)),
    "half a turn, both": Header(sform=HALF_TURN, qform=HALF_TURN, codes=(2, 1)),
    "left-handed": Header(sform=placed(signs=(1, 1, -1)), qform=placed(signs=(1, 1, -1))),
    "sheared": Header(sform=SHEARED, qform=None, codes=(1, 0), pixdim=SIZES),
    "sheared beside a qform": Header(sform=SHEARED, codes=(1, 1), pixdim=SIZES),
    "sheared beside a qform elsewhere": Header(sform=SHEARED, qform=ELSEWHERE, codes=(2, 1), pixdim=SIZES),
    "pixdim of ones": Header(qform=None, codes=(1, 0), pixdim=(1, 1, 1)),
    "pixdim of ones beside a qform": Header(pixdim=(1, 1, 1), codes=(2, 1)),
    "pixdim in another order": Header(pixdim=(2.5, 0.9, 0.8), qform=None, codes=(1, 0)),
    "pixdim zero": Header(pixdim=(0.8, 0.9, 0), qform=None, codes=(2, 0)),
    "pixdim NaN": Header(pixdim=(0.8, float("nan"), 2.5), qform=None, codes=(2, 0)),
    "pixdim negative": Header(pixdim=(-0.8, 0.9, 2.5)),
    "pixdim negative, qform only": Header(sform=None, codes=(0, 1), pixdim=(0.8, -0.9, 2.5)),
    "metres": Header(unit="metre", sform=placed((0.0008, 0.0009, 0.0025), (0.01, 0.02, 0.03)), qform=None),
    "microns": Header(
        unit="micron", sform=placed((800, 900, 2500), (1e4, 2e4, 3e4)), qform=None, codes=(1, 0)
    ),
    "microns that are millimetres": Header(unit="micron"),
    "metres that are millimetres": Header(unit="metre", codes=(2, 1)),
    "no unit": Header(unit="none"),
    "two-dimensional": Header(shape=FLAT),
    "two-dimensional and oblique": Header(shape=FLAT, sform=OBLIQUE, qform=OBLIQUE),
    "two-dimensional, microns": Header(shape=FLAT, unit="micron"),
    "one slice": Header(shape=(9, 7, 1)),
    "one slice, oblique": Header(shape=(9, 7, 1), sform=OBLIQUE, qform=ELSEWHERE, codes=(2, 1)),
    "one row": Header(shape=(1, 7, 5)),
    "fourth size one": Header(shape=(9, 7, 5, 1)),
    "fourth size zero": Header(dim=(4, 9, 7, 5, 0)),
    "seven axes": Header(shape=(9, 7, 5, 1, 1, 1, 1)),
    "a sform of zeros": Header(sform=np.zeros((4, 4)), codes=(1, 1)),
    "far away": Header(sform=placed(origin=(-1e4, 3e4, 2e4)), qform=placed(origin=(-1e4, 3e4, 2e4))),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_header_costs_an_honest_team_its_case(tmp_path: Path, variant: str) -> None:
    assert assert_all_accepted(VARIANTS[variant], tmp_path) >= 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_readings_of_nibabel_and_itk_are_the_ones_stated(tmp_path: Path, variant: str) -> None:
    image = VARIANTS[variant].write(tmp_path / "image.nii")
    stated = [grid.affine for grid in stated_grids(read_header(image)) if grid.by_default]
    for path in predictions(image, tmp_path).values():
        written = read_header(path)
        if written.has_orientation and min(written.shape) > 1:
            assert any(np.allclose(written.affine, affine, rtol=1e-5, atol=1e-3) for affine in stated)


angles = st.sampled_from([0.0, 90.0, 180.0, -90.0, 0.01, 3.0, 33.0, 179.9]) | st.floats(-180, 180)
sizes = st.floats(0.3, 8.0)
origins = st.floats(-2000, 2000)


@st.composite
def affines(draw: st.DrawFn, shear: bool = False) -> NDArray:
    affine = placed(
        (draw(sizes), draw(sizes), draw(sizes)),
        (draw(origins), draw(origins), draw(origins)),
        (draw(angles), draw(angles), draw(angles)),
        (1, 1, draw(st.sampled_from([1, -1]))),
    )
    if shear:
        affine[:3, :3] = affine[:3, :3] @ (
            np.eye(3) + np.diag(draw(st.tuples(*[st.floats(0.0, 0.3)] * 2)), 1)
        )
    return affine


def _is_level(form: NDArray) -> bool:
    directions = form[:3, :3] / np.linalg.norm(form[:3, :3], axis=0)
    is_sheared = np.abs(directions.T @ directions - np.eye(3)).max() > 1e-6
    return not is_sheared and abs(np.linalg.det(directions[:2, :2])) > 0.1


@st.composite
def headers(draw: st.DrawFn) -> Header:
    sform = draw(st.none() | affines() | affines(shear=True))
    qform = draw(st.none() | affines() if sform is None else st.none() | st.just(sform) | affines())
    if sform is not None and qform is sform and np.abs(sform[:3, :3].T @ sform[:3, :3]).max() > 1e6:
        qform = None
    codes = (draw(st.integers(0, 4)) * (sform is not None), draw(st.integers(0, 4)) * (qform is not None))
    # ITK cannot read a 2-D image that stands upright in the world, and makes numbers up for one near to it.
    lies = all(form is None or _is_level(form) for form in (sform, qform))
    shape = draw(st.sampled_from([SHAPE, SHAPE, (9, 7, 1), (9, 7, 5, 1), *([FLAT] * lies)]))
    pixdim = draw(st.none() | st.tuples(*[sizes | st.sampled_from([0.0, 1.0])] * 3))
    return Header(sform, qform, codes, pixdim, draw(st.sampled_from(sorted(UNITS))), shape)


@settings(max_examples=60)
@given(header=headers())
@example(header=VARIANTS["half a turn, both"])
def test_whatever_a_header_states_no_reader_is_refused(header: Header) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            read_header(header.write(Path(folder) / "image.nii"))
        except EvaluatorError:
            assume(False)
        assert_all_accepted(header, Path(folder))


MICRO = placed((800.0, 900.0, 2500.0), (-11500.0, 20700.0, 31100.0))
WRONG = {
    "shifted by a voxel": placed(origin=(-10.7, 20.7, 31.1)),
    "shifted by half a voxel": placed(origin=(-11.1, 20.7, 31.1)),
    "shifted by a slice": placed(origin=(-11.5, 20.7, 33.6)),
    "shifted far": placed(origin=(100.0, 20.7, 31.1)),
    "turned by five degrees": placed(degrees=(5.0, 0.0, 0.0)),
    "turned by a quarter": placed(degrees=(90.0, 0.0, 0.0)),
    "turned by half": placed(degrees=(180.0, 0.0, 0.0)),
    "mirrored about the origin": placed(signs=(-1, 1, 1)),
    "LPS taken for RAS": np.diag([-1.0, -1.0, 1.0, 1.0]) @ placed(),
    "slices a tenth thicker": placed((0.8, 0.9, 2.75)),
    "pixels a hundredth larger": placed((0.808, 0.909, 2.5)),
    "sizes in another order": placed((2.5, 0.9, 0.8)),
    "voxels of one millimetre": placed((1.0, 1.0, 1.0)),
    "identity": np.eye(4),
    "ITK's identity": np.diag([-1.0, -1.0, 1.0, 1.0]),
    "sizes without a place": np.diag([*SIZES, 1.0]),
    "a thousand times too large": MICRO,
    "sheared": SHEARED,
    "axes swapped, labels not": placed()[:, [1, 0, 2, 3]],
    "mirrored in place along a longer axis": placed(signs=(1, -1, 1)),
    "upside down": placed(signs=(1, 1, -1)),
}


@pytest.mark.parametrize("mistake", WRONG)
@pytest.mark.parametrize(
    "image",
    ["both forms alike", "sform only", "qform only", "no unit", "forms a tenth of a millimetre apart"],
)
def test_a_grid_that_no_header_states_is_refused(tmp_path: Path, mistake: str, image: str) -> None:
    reference = VARIANTS[image].write(tmp_path / "image.nii")
    nibabel.save(nibabel.Nifti1Image(labels(), WRONG[mistake]), tmp_path / "nibabel.nii.gz")
    diagnosis = compare_geometry(read_header(reference), read_header(tmp_path / "nibabel.nii.gz"))
    assert diagnosis.kind == "different", diagnosis.text
    assert diagnosis.text and diagnosis.mend


def diagnosed(tmp_path: Path, array: NDArray, affine: NDArray) -> str:
    image = Header().write(tmp_path / "image.nii")
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "prediction.nii.gz")
    diagnosis = compare_geometry(read_header(image), read_header(tmp_path / "prediction.nii.gz"))
    assert diagnosis.kind == "different"
    return f"{diagnosis.text}. {diagnosis.mend}"


def test_a_refusal_says_what_was_written_and_how_to_mend_it(tmp_path: Path) -> None:
    none_written = diagnosed(tmp_path, labels(), np.eye(4))
    assert "no geometry was written (identity" in none_written and "CopyInformation" in none_written
    turned = diagnosed(tmp_path, labels().T, np.eye(4))
    assert "axes in reverse order" in turned and "SimpleITK are z, y, x" in turned
    assert "another order" in diagnosed(tmp_path, labels().transpose(1, 0, 2), placed())
    assert "no origin was written" in diagnosed(tmp_path, labels(), np.diag([*SIZES, 1.0]))
    assert "RAS" in diagnosed(tmp_path, labels(), WRONG["LPS taken for RAS"])
    assert "Resample" in diagnosed(tmp_path, labels()[:-1], placed())


def test_a_batch_axis_at_the_front_is_dropped(tmp_path: Path) -> None:
    image = Header().write(tmp_path / "image.nii", labels())
    for axes in ((0,), (0, 0), (3,), (0, 4)):
        array = labels()
        for axis in axes:
            array = np.expand_dims(array, axis)
        nibabel.save(nibabel.Nifti1Image(array, placed()), tmp_path / "a.nii.gz")
        score = score_case(image, tmp_path / "a.nii.gz", labels=ONE_LABEL)
        assert score[1].dsc == 1.0
        assert any("axis of length 1" in note for note in score.notes) == (axes[0] == 0)


def test_a_slice_may_have_its_single_axis_elsewhere(tmp_path: Path) -> None:
    image = Header(shape=FLAT).write(tmp_path / "image.nii", labels(FLAT))
    for array in (labels(FLAT)[None], labels(FLAT)[:, None], labels(FLAT)[..., None]):
        nibabel.save(nibabel.Nifti1Image(array, placed()), tmp_path / "a.nii.gz")
        assert score_case(image, tmp_path / "a.nii.gz", labels=ONE_LABEL)[1].dsc == 1.0


def test_a_reference_on_one_form_and_a_prediction_on_the_other_meet_through_their_image(
    tmp_path: Path,
) -> None:
    image = VARIANTS["forms elsewhere, codes 2 1"].write(tmp_path / "image.nii")
    reference = by_itk(image, tmp_path / "reference.nii.gz")
    prediction = by_nibabel(image, tmp_path / "prediction.nii.gz")
    assert reference is not None
    score = score_case(reference, prediction, labels=ONE_LABEL, image=image)
    assert score[1].dsc == 1.0
    assert any("of the image's header" in note for note in score.notes)


def test_a_reading_other_than_the_first_is_named(tmp_path: Path) -> None:
    image = VARIANTS["forms elsewhere, codes 2 1"].write(tmp_path / "image.nii")
    prediction = by_itk(image, tmp_path / "prediction.nii.gz")
    assert prediction is not None
    found = compare_geometry(read_header(image), read_header(prediction))
    assert found.notes == ("lies where the qform puts it, which is not where the sform does",)
    (line,) = readers_disagree(read_header(image))
    assert "the qform" in line and "mm" in line
    assert readers_disagree(read_header(VARIANTS["both forms alike"].write(tmp_path / "b.nii"))) == ()


def test_a_flip_is_undone_only_where_no_stated_grid_fits(tmp_path: Path) -> None:
    mirrored_forms = VARIANTS["forms mirrored"].write(tmp_path / "a.nii")
    on_qform = box(SHAPE, (0, 0, 0), (3, 3, 3))
    nibabel.save(nibabel.Nifti1Image(on_qform, MIRRORED), tmp_path / "p.nii.gz")
    prediction = read_header(tmp_path / "p.nii.gz")
    assert compare_geometry(read_header(mirrored_forms), prediction).kind == "same"
    plain = Header().write(tmp_path / "b.nii")
    assert compare_geometry(read_header(plain), prediction).kind == "reorientable"
