"""Repaired copies have one place for every reader, and the voxels of the originals."""

import json

import nibabel as nib
import numpy as np
import pytest

from evaluator.geometry import readers_disagree
from evaluator.volume import read_header
from harness.data.check import check_dataset, require_sound
from harness.data.dataset import open_dataset
from harness.data.repair import repair_dataset
from harness.errors import ConfigurationError

PLACE = np.array([[-0.8, 0, 0, 10], [0, 0.8, 0, 20], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])
ELSEWHERE = np.array([[-0.8, 0, 0, 50], [0, 0.8, 0, 60], [0, 0, 2.5, 70], [0, 0, 0, 1.0]])


def save(path, array, sform, qform=None):
    path.parent.mkdir(exist_ok=True)
    image = nib.Nifti1Image(array, None)
    image.set_qform(sform if qform is None else qform, 1)
    image.set_sform(sform, 2)
    nib.save(image, path)


@pytest.fixture
def folder(tmp_path):
    """A case whose image states two places."""
    data = tmp_path / "data"
    data.mkdir()
    voxels = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
    save(data / "imagesTr" / "a_0000.nii.gz", voxels, PLACE, ELSEWHERE)
    save(data / "labelsTr" / "a.nii.gz", (voxels > 0).astype(np.uint8), PLACE, ELSEWHERE)
    (data / "dataset.json").write_text(json.dumps({"name": "two places"}))
    return data


def repaired(folder):
    target = folder.parent / "repaired"
    repair_dataset(open_dataset(folder), target)
    return open_dataset(target)


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


def test_copies_state_one_place_and_hold_the_same_voxels(folder):
    (finding,) = check_dataset(open_dataset(folder))[0].findings
    assert "two places" in finding.what and not finding.fatal
    before, after = open_dataset(folder), repaired(folder)
    assert after.name == "two places"
    facts = check_dataset(after)
    assert facts[0].findings == ()
    for old, new in (
        (before.cases[0].image, after.cases[0].image),
        (before.cases[0].label, after.cases[0].label),
    ):
        assert readers_disagree(read_header(new)) == ()
        assert np.array_equal(voxels(old), voxels(new))
        assert voxels(old).dtype == voxels(new).dtype


def test_a_label_on_the_other_place_comes_to_its_images(folder):
    save(folder / "labelsTr" / "a.nii.gz", np.ones((6, 5, 4), np.uint8), ELSEWHERE)
    after = repaired(folder)
    assert np.allclose(nib.load(after.cases[0].label).affine, nib.load(after.cases[0].image).affine)


def test_a_label_that_nobody_gave_a_place_gets_its_images(folder):
    save(folder / "labelsTr" / "a.nii.gz", np.ones((6, 5, 4), np.uint8), np.eye(4))
    with pytest.raises(ConfigurationError, match=r"no geometry was written.*--repair"):
        require_sound(check_dataset(open_dataset(folder)))
    require_sound(check_dataset(repaired(folder)))


def test_a_label_elsewhere_is_no_matter_of_headers(folder):
    shifted = PLACE.copy()
    shifted[2, 3] += 12
    save(folder / "labelsTr" / "a.nii.gz", np.ones((6, 5, 4), np.uint8), shifted)
    with pytest.raises(ConfigurationError, match="A header cannot mend that"):
        repaired(folder)


def test_nothing_is_written_over(folder):
    repaired(folder)
    with pytest.raises(ConfigurationError, match="not empty"):
        repaired(folder)
