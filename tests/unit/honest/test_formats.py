"""Every spelling of a format is read as its own library reads it; what is something else is named."""

from __future__ import annotations

import bz2
import gzip
import sys

import nibabel
import numpy as np
import pytest
from headers import CORNER_MM, by_nibabel, metaimage, nrrd, scan, two_organs

DIRECTION = "-1 0 0 0 -1 0 0 0 1"

SPELLINGS = {
    "Orientation": [("TransformMatrix = ", "Orientation = ")],
    "Rotation": [("TransformMatrix = ", "Rotation = ")],
    "Origin": [("Offset = ", "Origin = ")],
    "Position": [("Offset = ", "Position = ")],
    "1 for True": [("BinaryData = True", "BinaryData = 1")],
    "HeaderSize": [("ElementSpacing", "HeaderSize = -1\nElementSpacing")],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_metaimage_in_other_words(desk, spelling):
    by_nibabel(desk.reference(), two_organs())
    metaimage(desk.prediction(suffix=".mha"), two_organs(), *spelling)
    answer = desk.evaluator()
    assert answer.is_perfect()
    assert not answer.says("does not say where it lies")


def test_compressed_metaimage_in_other_words(desk):
    by_nibabel(desk.reference(), two_organs())
    other = ("CompressedData = True", "CompressedData = 1")
    metaimage(desk.prediction(suffix=".mha"), two_organs(), other, compressed=True)
    assert desk.evaluator().is_perfect()


def test_a_metaimage_that_a_second_field_turns_around_is_not_scored_as_unturned(desk):
    upright = np.diag([-0.9, -0.7, 3.0, 1.0])
    upright[:3, 3] = CORNER_MM
    by_nibabel(desk.reference(), two_organs(), upright)
    both = f"TransformMatrix = {DIRECTION}", f"Rotation = {DIRECTION}"
    metaimage(desk.prediction(suffix=".mha"), two_organs(), both)
    answer = desk.evaluator()
    assert answer.exit_code == 1 and answer.scores["a", 1][0] == 0.0
    assert answer.says("grid", "geometry", "flipped", "orientation", "world")


def test_slicers_own_name_of_a_segmentation(desk):
    by_nibabel(desk.reference(), two_organs())
    nrrd(desk.folder / "predictions/a.seg.nrrd", two_organs())
    answer = desk.evaluator()
    assert answer.is_perfect() or answer.says("a.seg.nrrd")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_nifti_of_either_version_and_packing(desk, kind, suffix):
    by_nibabel(desk.reference(), two_organs())
    written = by_nibabel(desk.folder / f"written{suffix.lower()}", two_organs(), kind=kind)
    desk.prediction(suffix=suffix).parent.mkdir()
    written.rename(desk.prediction(suffix=suffix))
    assert desk.evaluator().is_perfect()


def twice(content):
    return gzip.compress(gzip.compress(content))


def page(content):
    return b"<!DOCTYPE html><html><body>Sorry, too many downloads today.</body></html>"


@pytest.mark.parametrize(
    ("packed", "words"),
    [(twice, ("twice",)), (bz2.compress, ("bzip2",)), (page, ("html", "web page"))],
    ids=["twice", "bzip2", "page"],
)
def test_what_is_no_nifti_is_named_for_what_it_is(desk, packed, words):
    desk.plain("a", "b")
    content = gzip.decompress(desk.predict().read_bytes())
    desk.prediction().write_bytes(packed(content))
    by_nibabel(desk.prediction("b"), two_organs())
    answer = desk.score()
    assert answer.says(*words)
    assert answer.outcomes["b"] == "succeeded" and answer.scores["b", 1] == (1.0, 1.0)


def test_a_scan_that_no_itk_reads_is_told_or_handed_over_as_one_that_it_reads(desk):
    desk.plain()
    by_nibabel(desk.image(), scan(), kind=nibabel.Nifti2Image)
    if desk.check().says("NIfTI-2"):
        return
    reader = b"import sys, SimpleITK\nSimpleITK.ReadImage(sys.argv[1])\n"
    script = f'set -e\n"{sys.executable}" reads.py "$FLARE_INPUTS/a_0000.nii.gz"\n'
    script += 'cp answer "$FLARE_OUTPUTS/a.nii.gz"\n'
    desk.submit(script, **{"reads.py": reader, "answer": desk.label().read_bytes()})
    assert desk.evaluate().is_perfect()
