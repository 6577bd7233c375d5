"""coarse_to_fine: one CT through its stages, with networks that know organs by their Hounsfield units."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

torch = pytest.importorskip("torch")

from coarse_to_fine.pipeline import CoarseToFine, CoarseToFineSettings, Model, shrunk, softmax
from coarse_to_fine.plan import CoarseRules, MethodPlan
from segkit.errors import SegkitError
from segkit.image import from_image
from segkit.plan import ABDOMINAL_ORGANS, Intensity

from .conftest import make_tiny_plan

SPACING_MM = (5.0, 4.0, 4.0)
TILE = (16, 16, 16)
ORGANS = ("background", *ABDOMINAL_ORGANS)
LIVER, LEFT_KIDNEY, TUMOUR = 1, 13, 14
MUSCLE_HU = 50


def hu_of(label: int) -> int:
    """What the tests paint a label with."""
    return 100 + 60 * label


class Knows:
    """A network that gives each voxel the label of its intensity; counts its tiles."""

    def __init__(self, labels: dict[int, int], classes: int):
        """Make it.

        Args:
            labels: The Hounsfield units it knows, and what it calls them.
            classes: Its outputs.
        """
        self.labels = labels
        self.classes = classes
        self.tiles = 0

    def logits(self, tile):
        self.tiles += 1
        logits = np.zeros((self.classes, *tile.shape), dtype=np.float32)
        logits[0] = 4
        for hu, label in self.labels.items():
            logits[label][np.abs(tile - hu) < 25] = 8
        return logits


def model(labels, *, names=ORGANS, tile=TILE):
    """A model on the test's grid, whose network sees Hounsfield units as they are."""
    network = make_tiny_plan().network
    plan = make_tiny_plan(
        spacing_mm=SPACING_MM,
        patch=tile,
        intensity=Intensity(clip_low_hu=-1000, clip_high_hu=2000, mean_hu=0, std_hu=1),
        labels=tuple(names),
        network=type(network)(**{**vars(network), "channels_out": len(names)}),
    )
    return Model(plan, Knows(labels, len(names)))


KNOWN = {hu_of(label): label for label in range(1, 14)}


def method(*, coarse=KNOWN, tumour1=None, tumour2=None, organs=KNOWN, rules=None, **settings):
    """The method with networks that know the intensities given."""
    names = (*ORGANS, "tumour")
    tumours = {hu_of(TUMOUR): TUMOUR}
    return CoarseToFine(
        MethodPlan(coarse=rules or CoarseRules()),
        {
            "coarse": model(coarse),
            "tumour1": model(tumours if tumour1 is None else tumour1, names=names),
            "tumour2": model(tumours if tumour2 is None else tumour2, names=names),
            "organs": model(organs),
        },
        CoarseToFineSettings(**settings),
    )


def patient(shape=(40, 40, 40), paint=()):
    """A CT of muscle in air, with boxes of labels painted into it."""
    array = np.full(shape, -1000, dtype=np.int16)
    array[:, 2:-2, 2:-2] = MUSCLE_HU
    for label, box in paint:
        array[box] = hu_of(label)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM[::-1])
    return from_image(image)


def cube(z, y, x, side=6):
    """Slices of a cube that begins there."""
    return slice(z, z + side), slice(y, y + side), slice(x, x + side)


def truth(shape, *painted):
    """The label map of what was painted."""
    labels = np.zeros(shape, dtype=np.uint8)
    for label, box in painted:
        labels[box] = label
    return labels


def tiles_of(pipeline):
    """How many tiles each network ran."""
    return {name: own.engine.tiles for name, own in pipeline.models.items()}


LIVER_AT = (LIVER, cube(18, 12, 12, 8))
KIDNEY_AT = (LEFT_KIDNEY, cube(16, 26, 26))
TUMOUR_AT = (TUMOUR, cube(20, 14, 14, 3))


@pytest.mark.parametrize("averaging", ["logits", "probabilities"])
def test_organs_and_tumours_are_found_where_they_are(averaging):
    painted = (LIVER_AT, KIDNEY_AT, TUMOUR_AT)
    ct = patient(paint=painted)
    assert np.array_equal(method(averaging=averaging).segment(ct), truth(ct.array.shape, *painted))


def test_a_trunk_with_legs_and_head_is_looked_at_in_the_box_of_its_organs():
    painted = (LIVER_AT, KIDNEY_AT)
    # What looks like an organ in a leg and in the head lies too far from the liver.
    stray = ((3, cube(2, 8, 8)), (3, cube(150, 20, 20)))
    moved = [(label, (slice(z.start + 60, z.stop + 60), y, x)) for label, (z, y, x) in painted]
    ct = patient((160, 40, 40), (*moved, *stray))
    pipeline = method(rules=CoarseRules(reach_voxels=30))
    assert np.array_equal(pipeline.segment(ct), truth(ct.array.shape, *moved))
    # 16 voxels of a tile, half overlapping: all 160 slices would take 19 rows of tiles.
    assert tiles_of(pipeline)["organs"] < tiles_of(pipeline)["coarse"]
    box = pipeline.locate(ct)
    assert box[0] == slice(76 - 4, 86 + 4)


def test_a_tumour_where_no_organ_is_named_is_all_that_is_marked():
    ct = patient(paint=(TUMOUR_AT,))
    # The coarse model has no label for tumours, and calls it liver.
    pipeline = method(coarse={hu_of(TUMOUR): LIVER}, organs={})
    assert np.array_equal(pipeline.segment(ct), truth(ct.array.shape, TUMOUR_AT))


def test_organs_without_a_tumour():
    ct = patient(paint=(LIVER_AT, KIDNEY_AT))
    assert np.array_equal(method().segment(ct), truth(ct.array.shape, LIVER_AT, KIDNEY_AT))


def test_where_the_coarse_model_finds_nothing_the_others_are_not_run():
    pipeline = method(coarse={})
    assert not pipeline.segment(patient(paint=(LIVER_AT, TUMOUR_AT))).any()
    tiles = tiles_of(pipeline)
    assert tiles["coarse"] > 0
    assert tiles["tumour1"] == tiles["tumour2"] == tiles["organs"] == 0


def test_in_air_no_network_is_run():
    image = sitk.GetImageFromArray(np.full((8, 9, 10), -1000, dtype=np.int16))
    pipeline = method()
    labels = pipeline.segment(from_image(image))
    assert labels.shape == (8, 9, 10)
    assert not labels.any()
    assert set(tiles_of(pipeline).values()) == {0}


def test_one_slice():
    painted = ((LIVER, (slice(0, 1), slice(10, 20), slice(10, 20))),)
    ct = patient((1, 40, 40), painted)
    assert np.array_equal(method().segment(ct), truth((1, 40, 40), *painted))


def test_a_tumour_is_what_either_model_calls_so_and_wins_over_the_organ():
    first, second = cube(19, 13, 13, 3), cube(22, 16, 16, 3)
    ct = patient(paint=(LIVER_AT,))
    ct.array[first], ct.array[second] = 1500, 1700
    everything = KNOWN | {1500: LIVER, 1700: LIVER}
    pipeline = method(coarse=everything, organs=everything, tumour1={1500: 14}, tumour2={1700: 14})
    labels = pipeline.segment(ct)
    assert np.array_equal(labels, truth(ct.array.shape, LIVER_AT, (14, first), (14, second)))


def test_what_tumour_models_call_organs_is_not_used():
    ct = patient(paint=(LIVER_AT, TUMOUR_AT))
    wrong = {hu_of(LIVER): 5, hu_of(TUMOUR): 14}
    labels = method(tumour1=wrong, tumour2=wrong).segment(ct)
    assert np.array_equal(labels, truth(ct.array.shape, LIVER_AT, TUMOUR_AT))


def test_a_tumour_outside_the_box_of_the_organs_cannot_be_found():
    far = cube(2, 4, 4, 4)
    ct = patient((60, 40, 40), ((LIVER, cube(48, 28, 28)), (TUMOUR, far)))
    labels = method().segment(ct)
    assert not labels[far].any()
    assert set(np.unique(labels)) == {0, LIVER}


def test_without_tumour_models_there_is_no_tumour():
    ct = patient(paint=(LIVER_AT, TUMOUR_AT))
    whole = method()
    organs = CoarseToFine(whole.plan, {name: whole.models[name] for name in ("coarse", "organs")})
    assert set(np.unique(organs.segment(ct))) == {0, LIVER}


def test_only_the_largest_part_of_an_organ_stays_but_every_part_of_a_tumour():
    small_liver, small_adrenal = cube(26, 29, 12, 3), cube(26, 12, 29, 2)
    painted = (LIVER_AT, KIDNEY_AT, (7, cube(24, 24, 14, 4)), TUMOUR_AT, (TUMOUR, cube(26, 24, 24, 2)))
    ct = patient(paint=(*painted, (LIVER, small_liver), (7, small_adrenal)))
    labels = method().segment(ct)
    # Of an adrenal gland, a label that is not among the single ones, every part stays.
    assert np.array_equal(labels, truth(ct.array.shape, *painted, (7, small_adrenal)))


def test_the_margin_is_in_millimetres_and_ends_at_the_body():
    ct = patient(paint=(LIVER_AT,))
    assert method().locate(ct) == (slice(14, 30), slice(7, 25), slice(7, 25))
    wide = method(rules=CoarseRules(margin_mm=1000)).locate(ct)
    assert wide[0] == slice(0, 40)
    assert wide[1].start <= 2


def test_probabilities_are_averaged_with_equal_weights_and_small_ones_count_as_nothing():
    """Against the average taken voxel by voxel, with a network whose answer depends on the tile alone."""
    answers = []

    class Moody:
        def logits(self, tile):
            logits = np.random.default_rng(len(answers)).normal(0, 2, (14, *tile.shape)).astype(np.float32)
            answers.append(logits.copy())
            return logits

    pipeline = method(averaging="probabilities", step=0.5)
    moody = Model(pipeline.models["organs"].plan, Moody())
    ct = patient((16, 16, 32))
    scores = pipeline.scores(ct, (slice(0, 16), slice(0, 16), slice(0, 32)), moody)
    assert len(answers) == 3
    total, count = np.zeros((14, 16, 16, 32)), np.zeros(32)
    for start, logits in zip((0, 8, 16), answers, strict=True):
        exponentials = np.exp(logits.astype(np.float64))
        total[..., start : start + 16] += exponentials / exponentials.sum(axis=0)
        count[start : start + 16] += 1
    mean = total / count
    sure = np.abs(mean - 0.1) > 1e-5
    assert np.allclose(scores[sure], np.where(mean < 0.1, 0, mean)[sure], atol=1e-6)
    assert (scores == 0).any()


def test_probabilities_add_up_to_one_also_for_large_logits():
    logits = np.array([[800.0, -900.0], [790.0, 0.0]], dtype=np.float32)
    probabilities = softmax(logits)
    assert np.allclose(probabilities.sum(axis=0), 1)
    assert np.allclose(probabilities[:, 0], [1 / (1 + np.exp(-10)), 1 / (1 + np.exp(10))])


def test_a_large_plane_shrinks_all_axes_by_one_factor():
    assert shrunk((200, 360, 300), 360) == (200, 360, 300)
    assert shrunk((200, 720, 300), 360) == (100, 360, 150)
    assert shrunk((1, 1440, 1440), 360) == (1, 360, 360)


def test_a_plane_that_is_too_large_is_run_on_a_coarser_grid():
    pipeline = method()
    narrow = MethodPlan(largest_plane=20)
    ct = patient(paint=((LIVER, cube(10, 10, 10, 20)),))
    box = CoarseToFine(narrow, pipeline.models).locate(ct)
    exact = pipeline.locate(ct)
    for coarse, fine in zip(box, exact, strict=True):
        assert abs(coarse.start - fine.start) <= 2
        assert abs(coarse.stop - fine.stop) <= 2


def test_an_averaging_that_is_none_is_refused():
    with pytest.raises(SegkitError, match="logits or probabilities"):
        CoarseToFineSettings(averaging="votes")
