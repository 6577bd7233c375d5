"""A container sees voxels and geometry, and nothing that names a patient, a case or a data set."""

from __future__ import annotations

import gzip
import os
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from evaluator import compare_geometry, read_header
from harness.challenge import Contract, Limits
from harness.data.dataset import Case
from harness.errors import ConfigurationError, InfrastructureError
from harness.results.records import OptOuts
from harness.run.context import Places, Rules
from harness.run.stage import check_image, discard, opaque_id, scrub, scrubbed_input, stage_case

AFFINE = np.array([[0.0, -0.8, 0, 7], [0.9, 0, 0, -3], [0, 0, 2.5, 11], [0, 0, 0, 1]])
ARRAY = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3)
SECRET = b"Mueller^Hans"
RULES = Rules(
    run="run",
    image="image",
    limits=Limits(memory_bytes=1 << 30, time_s=1),
    contract=Contract(),
    opt_outs=OptOuts(),
    secret="secret",
    owner=(os.getuid(), os.getgid()),
    label="label",
)


def places(folder: Path) -> Places:
    """A host whose harness may not give files away."""
    return Places(folder / "results", folder / "cache", folder / "run", can_give_away=False)


def talkative(path: Path, kind: type = nibabel.Nifti1Image, name: str = "patient_0_0000.nii.gz") -> Path:
    """Write a CT that names its patient wherever NIfTI lets it."""
    image = kind(ARRAY, AFFINE)
    image.header["descrip"] = SECRET
    image.header["aux_file"] = SECRET
    image.header["intent_name"] = SECRET
    if kind is nibabel.Nifti1Image:
        image.header["db_name"] = SECRET
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", SECRET * 9))
    path.mkdir(parents=True, exist_ok=True)
    plain = image.to_bytes() + SECRET
    packed = path / name
    with packed.open("wb") as raw, gzip.GzipFile(filename=SECRET.decode(), fileobj=raw, mode="wb") as file:
        file.write(plain)
    return packed


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_texts_extensions_and_trailing_bytes_are_taken_out(tmp_path: Path, kind: type) -> None:
    path = talkative(tmp_path, kind)
    clean = scrub(path, path.read_bytes())
    assert SECRET not in clean
    assert SECRET not in gzip.decompress(clean)
    (tmp_path / "clean.nii.gz").write_bytes(clean)
    before, after = nibabel.load(path), nibabel.load(tmp_path / "clean.nii.gz")
    assert np.array_equal(np.asanyarray(before.dataobj), np.asanyarray(after.dataobj))
    assert before.affine == pytest.approx(after.affine, rel=1e-6)
    assert before.header.get_zooms() == pytest.approx(after.header.get_zooms(), rel=1e-6)
    assert not after.header.extensions


def test_an_image_is_staged_as_the_version_of_nifti_that_every_reader_knows(tmp_path: Path) -> None:
    for order in "<>":
        header = nibabel.Nifti2Header(endianness=order)
        path = tmp_path / "a_0000.nii.gz"
        image = nibabel.Nifti2Image(ARRAY, AFFINE, header)
        image.set_qform(AFFINE, 1)
        nibabel.save(image, path)
        (tmp_path / "clean.nii.gz").write_bytes(scrub(path, path.read_bytes()))
        staged = SimpleITK.ReadImage(str(tmp_path / "clean.nii.gz"))
        assert np.array_equal(SimpleITK.GetArrayFromImage(staged).T, ARRAY)
        diagnosis = compare_geometry(read_header(path), read_header(tmp_path / "clean.nii.gz"))
        assert diagnosis.text == "same grid"


def test_both_byte_orders_are_scrubbed(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header["descrip"] = SECRET
    path = tmp_path / "a_0000.nii.gz"
    nibabel.save(nibabel.Nifti1Image(ARRAY, AFFINE, header), path)
    plain = gzip.decompress(scrub(path, path.read_bytes()))
    assert SECRET not in plain
    assert struct.unpack_from(">i" if plain[0] == 0 else "<i", plain)[0] == 348


def test_the_stage_holds_one_input_and_an_empty_output(tmp_path: Path) -> None:
    case = Case("patient_0", talkative(tmp_path / "data"), None)
    stage = stage_case(case, RULES, places(tmp_path))
    opaque = opaque_id(RULES.secret, RULES.run, "patient_0")
    assert [path.name for path in stage.inputs.iterdir()] == [f"{opaque}_0000.nii.gz"]
    assert list(stage.outputs.iterdir()) == []
    assert stage.expected == f"{opaque}.nii.gz"
    assert "patient" not in str(stage.folder).replace(str(tmp_path), "")
    assert stage.outputs.stat().st_mode & 0o777 == 0o777


def test_every_channel_is_staged_under_its_number(tmp_path: Path) -> None:
    paths = [talkative(tmp_path / name) for name in ("one", "two")]
    case = Case("patient_0", paths[0], None, more_channels=(paths[1],))
    stage = stage_case(case, RULES, places(tmp_path))
    names = sorted(path.name for path in stage.inputs.iterdir())
    assert names == [f"{stage.opaque}_0000.nii.gz", f"{stage.opaque}_0001.nii.gz"]
    assert SECRET not in b"".join(gzip.decompress(path.read_bytes()) for path in stage.inputs.iterdir())


def test_channels_have_numbers_also_where_the_first_has_none() -> None:
    contract = Contract(input_suffix=".nii.gz")
    assert [contract.channel_suffix(number) for number in range(2)] == [".nii.gz", "_0001.nii.gz"]


def test_an_image_is_scrubbed_once(tmp_path: Path) -> None:
    case = Case("patient_0", talkative(tmp_path / "data"), None)
    stage_case(case, RULES, places(tmp_path))
    (cached,) = (tmp_path / "cache").iterdir()
    made = cached.stat().st_ino
    stage = stage_case(case, replace(RULES, run="another"), places(tmp_path))
    (given,) = stage.inputs.iterdir()
    assert given.stat().st_ino == made


def test_a_copy_that_a_container_may_write_to_is_not_the_cached_file(tmp_path: Path) -> None:
    case = Case("patient_0", talkative(tmp_path / "data"), None)
    rules = replace(RULES, opt_outs=OptOuts(writable_inputs=True))
    stage = stage_case(case, rules, places(tmp_path))
    (cached,) = (tmp_path / "cache").iterdir()
    (given,) = stage.inputs.iterdir()
    assert (given.stat().st_ino, given.stat().st_nlink) != (cached.stat().st_ino, 2)
    assert given.read_bytes() == cached.read_bytes()
    assert (stage.inputs.stat().st_mode & 0o777, given.stat().st_mode & 0o777) == (0o777, 0o666)


def test_a_missing_image_is_the_harnesss_fault(tmp_path: Path) -> None:
    case = Case("patient_0", tmp_path / "patient_0_0000.nii.gz", None)
    with pytest.raises(InfrastructureError, match="patient_0 cannot be staged"):
        stage_case(case, RULES, places(tmp_path))


def test_a_truncated_image_is_the_harnesss_fault(tmp_path: Path) -> None:
    path = talkative(tmp_path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:400]))
    with pytest.raises(InfrastructureError, match="truncated"):
        scrub(path, path.read_bytes())


def test_an_unreadable_image_is_found_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "a_0000.nii.gz"
    path.write_bytes(b"not an image")
    with pytest.raises(ConfigurationError, match=r"a_0000\.nii\.gz"):
        check_image(path)


def test_opaque_names_are_stable_digits_that_the_secret_decides() -> None:
    name = opaque_id("secret", "run", "liver_012")
    assert name == opaque_id("secret", "run", "liver_012")
    assert name.removeprefix("case_").isdigit()
    others = {opaque_id("other", "run", "liver_012"), opaque_id("secret", "other", "liver_012")}
    assert name not in others
    assert len({opaque_id("secret", "run", str(case)) for case in range(2000)}) == 2000


def test_a_folder_that_was_closed_to_its_owner_is_removed(tmp_path: Path) -> None:
    (tmp_path / "top" / "closed" / "deeper").mkdir(parents=True)
    (tmp_path / "top" / "closed").chmod(0)
    discard(tmp_path / "top")
    assert not (tmp_path / "top").exists()


def test_a_folder_nested_beyond_recursion_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=descriptor)
        deeper = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)
    discard(top)
    assert not top.exists()


KILLED_WHILE_SCRUBBING = """
import os, signal, sys
from pathlib import Path
from harness.run import stage
original = Path.write_bytes
def half(path, content):
    original(path, b"half")
    os.kill(os.getpid(), signal.SIGKILL)
stage.scrub = lambda image, packed: packed
Path.write_bytes = half
stage.scrubbed_input(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_what_a_harness_killed_while_scrubbing_left_is_removed_and_others_work_is_not(tmp_path: Path) -> None:
    image, cache = tmp_path / "image.nii.gz", tmp_path / "cache"
    nibabel.save(nibabel.Nifti1Image(ARRAY, AFFINE), image)
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_SCRUBBING, image, cache], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = cache.iterdir()
    assert left.suffix == ".part"
    mine = cache / f".another.{os.getpid()}-1.part"
    mine.write_bytes(b"half")
    for path in (left, mine):
        os.utime(path, (0, 0))
    kept = scrubbed_input(image, cache)
    assert set(cache.iterdir()) == {kept, mine}
