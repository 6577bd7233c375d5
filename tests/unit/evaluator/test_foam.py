"""A prediction full of holes has much surface within the tolerance, which raises NSD: that is told."""

import numpy as np

from evaluator import Label, LabelTable, LabelVolume, score_case

TABLE = LabelTable("one", (Label(1, "liver", 5.0),))


def volume(array):
    return LabelVolume(array=np.asfortranarray(array), spacing_mm=(1.0, 1.0, 1.0))


def notes(prediction):
    reference = np.zeros((24, 24, 24), np.uint8)
    reference[4:20, 4:20, 4:20] = 1
    return score_case(volume(reference), volume(prediction), labels=TABLE).notes


def test_foam_is_told_with_how_many_times_the_surface_it_has():
    foam = np.zeros((24, 24, 24), np.uint8)
    foam[4:20, 4:20, 4:20] = np.indices((16, 16, 16)).sum(axis=0) % 2
    (note,) = [note for note in notes(foam) if "foam" in note]
    assert note.startswith("liver: the prediction's surface is ")


def test_an_honest_error_is_no_foam():
    honest = np.zeros((24, 24, 24), np.uint8)
    honest[5:20, 4:18, 6:21] = 1
    assert not [note for note in notes(honest) if "foam" in note]
