"""The flare profile gives the official scripts' numbers, and says where it follows an odd rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles
import pytest
from volumes import blobs, box, save, volume

from evaluator import (
    LABEL_TABLES,
    CaseScore,
    EmptyRule,
    GeometryError,
    LabelVolume,
    profile_named,
    score_case,
)

CHALLENGES = ["flare21", "flare22", "flare23", "flare24-task1", "flare24-task2"]


def flare(reference: Path, prediction: Path, challenge: str) -> CaseScore:
    return score_case(reference, prediction, labels=LABEL_TABLES[challenge], profile="flare")


def both(tmp_path: Path, reference: np.ndarray, prediction: np.ndarray, spacing: tuple) -> tuple[Path, Path]:
    return (
        save(tmp_path / "reference.nii.gz", reference, spacing),
        save(tmp_path / "prediction.nii.gz", prediction, spacing),
    )


@pytest.mark.parametrize("challenge", CHALLENGES)
@pytest.mark.parametrize("seed", range(6))
def test_every_challenge_scores_as_its_official_script(tmp_path: Path, challenge: str, seed: int) -> None:
    spacing = [(0.8, 0.8, 2.5), (1.0, 1.0, 1.0), (0.7, 0.9, 5.0)][seed % 3]
    highest = {"flare21": 4, "flare23": 14, "flare24-task1": 1}.get(challenge, 13)
    reference = blobs((40, 36, 24), seed=seed, labels=highest)
    prediction = np.roll(reference, (1, 1, 0), axis=(0, 1, 2))
    prediction[::9] = 0
    if seed % 2:
        prediction[prediction == highest] = 0
        prediction[:3, :3, -2:] = 2 if highest > 1 else 1
    paths = both(tmp_path, reference, prediction, spacing)
    expected = oracles.official_flare(challenge, *paths)
    score = flare(*paths, challenge)
    for label in score.labels:
        if expected[label.label] is oracles.CRASH:
            assert "crashes" in label.note
            continue
        assert (label.dsc, label.nsd) == pytest.approx(expected[label.label], abs=1e-12), label
    assert [label.label for label in score.labels] == list(expected)


def test_scores_have_four_decimals_except_in_flare21(tmp_path: Path) -> None:
    reference, prediction = box((9, 9, 9), (1, 1, 1), (8, 5, 6)), box((9, 9, 9), (1, 2, 2), (8, 6, 7))
    paths = both(tmp_path, reference, prediction, (1.0, 1.0, 1.0))
    assert flare(*paths, "flare22")[1].dsc == 0.6
    assert flare(*paths, "flare21")[1].dsc == 2 * 7 * 3 * 4 / (2 * 7 * 4 * 5)
    assert profile_named("flare", "flare21").decimals is None


def test_a_label_in_neither_volume_scores_one_and_in_one_volume_zero(tmp_path: Path) -> None:
    paths = both(
        tmp_path, box((6, 6, 6), (1, 1, 1), (4, 4, 4), 1), box((6, 6, 6), (1, 1, 1), (4, 4, 4), 2), (1, 1, 1)
    )
    score = flare(*paths, "flare22")
    assert [(score[label].dsc, score[label].nsd) for label in (1, 2, 3)] == [(0, 0), (0, 0), (1, 1)]
    assert [score[label].note for label in (1, 2, 3)] == [
        "not in the prediction",
        "not in the reference",
        "in neither volume",
    ]


@pytest.mark.parametrize("label", [5, 6, 10])
def test_long_organs_are_scored_without_the_last_reference_slice(tmp_path: Path, label: int) -> None:
    reference = box((12, 12, 10), (3, 3, 2), (7, 7, 7), label)
    flooded = reference.copy()
    flooded[:, :, 7:] = label  # beyond the reference's slices: free of charge
    flooded[:, :, 6] = 0  # its last slice: never looked at
    paths = both(tmp_path, reference, flooded, (1.0, 1.0, 1.0))
    score = flare(*paths, "flare22")[label]
    assert (score.dsc, score.nsd) == (1.0, 1.0)
    assert score.true_positive_voxels == 4 * 4 * 4
    assert score.prediction_ml == pytest.approx((4 * 4 * 4 + 12 * 12 * 3) / 1000)
    exact = score_case(*paths, labels=LABEL_TABLES["flare22"])[label]
    assert exact.dsc < 0.3


def test_long_organs_are_scored_whole_in_flare21_and_elsewhere(tmp_path: Path) -> None:
    assert profile_named("flare", "flare23").cropped_labels == {5, 6, 10}
    for challenge in ("flare21", "flare24-task1", "a challenge of one's own"):
        assert not profile_named("flare", challenge).cropped_labels


def test_a_single_slice_aorta_gets_the_stated_value_and_a_note_where_the_official_script_crashes(
    tmp_path: Path,
) -> None:
    aorta = box((12, 12, 10), (3, 3, 4), (7, 7, 5), 5)
    paths = both(tmp_path, aorta, aorta, (1.0, 1.0, 1.0))
    assert oracles.official_flare("flare22", *paths)[5] is oracles.CRASH
    score = flare(*paths, "flare22")[5]
    assert (score.dsc, score.nsd) == (0.0, 0.0)
    assert "crashes" in score.note
    kinder = replace(profile_named("flare", "flare22"), cropped_to_nothing=1.0)
    assert score_case(*paths, labels=LABEL_TABLES["flare22"], profile=kinder)[5].dsc == 1.0


def test_a_low_dice_makes_the_surface_dice_zero(tmp_path: Path) -> None:
    adrenal = box((20, 20, 20), (5, 5, 5), (6, 15, 15), 7)
    shifted = np.roll(adrenal, 1, axis=0)
    paths = both(tmp_path, adrenal, shifted, (1.0, 1.0, 1.0))
    score = flare(*paths, "flare22")[7]
    assert (score.dsc, score.nsd) == (0.0, 0.0)
    assert "below 0.2" in score.note
    assert score_case(*paths, labels=LABEL_TABLES["flare22"])[7].nsd == 1.0
    without = replace(profile_named("flare", "flare22"), least_dsc_for_nsd=0.0)
    assert score_case(*paths, labels=LABEL_TABLES["flare22"], profile=without)[7].nsd == 1.0


def test_a_lesion_prediction_with_any_value_above_one_scores_zero(tmp_path: Path) -> None:
    lesion = box((9, 9, 9), (2, 2, 2), (6, 6, 6))
    prediction = lesion.copy()
    prediction[8, 8, 8] = 2
    paths = both(tmp_path, lesion, prediction, (1.0, 1.0, 1.0))
    score = flare(*paths, "flare24-task1")
    assert (score[1].dsc, score[1].nsd) == (0.0, 0.0)
    assert any("above 1" in note for note in score.notes)
    assert score_case(*paths, labels=LABEL_TABLES["flare24-task1"])[1].dsc == 1.0


@pytest.mark.parametrize("challenge", ["flare21", "flare22", "flare24-task1"])
def test_stored_numbers_are_cut_to_eight_bits_as_numpy_does(tmp_path: Path, challenge: str) -> None:
    reference = box((9, 9, 9), (2, 2, 2), (6, 6, 6)).astype(np.float32)
    prediction = reference.copy()
    prediction[2] = 1.9999
    prediction[3] *= 257
    prediction[4] *= -255
    paths = both(tmp_path, reference, prediction, (1.0, 1.0, 1.0))
    expected = oracles.official_flare(challenge, *paths)[1]
    score = flare(*paths, challenge)[1]
    assert (score.dsc, score.nsd) == pytest.approx(expected, abs=1e-12)


def test_numbers_in_memory_are_cut_as_those_of_files_are() -> None:
    organ = box((9, 9, 9), (2, 2, 2), (6, 6, 6)).astype(np.int32)
    one, other = LabelVolume(organ, (1, 1, 1)), LabelVolume(organ * 257, (1, 1, 1))
    assert score_case(one, other, labels=LABEL_TABLES["flare22"], profile="flare")[1].dsc == 1.0
    exact = score_case(one, other, labels=LABEL_TABLES["flare22"])
    assert exact[1].dsc == 0.0
    assert exact.notes == ("prediction: 64 voxels hold values below 0 or above 255, taken as background",)


def test_the_spacing_stays_what_float32_makes_of_it(tmp_path: Path) -> None:
    reference, prediction = (
        box((30, 20, 20), (5, 5, 5), (15, 15, 15), 9),
        box((30, 20, 20), (10, 5, 5), (20, 15, 15), 9),
    )
    paths = both(tmp_path, reference, prediction, (0.4, 0.4, 0.4))
    official = oracles.official_flare("flare22", *paths)[9]
    assert flare(*paths, "flare22")[9].nsd == official[1]
    assert official[1] < 1.0
    assert score_case(*paths, labels=LABEL_TABLES["flare22"])[9].nsd == 1.0


def test_the_affine_is_not_looked_at_but_the_shape_is(tmp_path: Path) -> None:
    organ = box((9, 9, 9), (2, 2, 2), (6, 6, 6))
    reference = save(tmp_path / "a.nii.gz", organ)
    moved = save(tmp_path / "b.nii.gz", organ, affine=np.diag([-3.0, 1.0, 1.0, 1.0]))
    assert flare(reference, moved, "flare22")[1].dsc == 1.0
    smaller = save(tmp_path / "c.nii.gz", organ[:-1])
    with pytest.raises(GeometryError, match="shape 8x9x9 against 9x9x9"):
        flare(reference, smaller, "flare22")


def test_the_rules_of_a_profile_can_be_changed_one_by_one() -> None:
    empty = volume(np.zeros((4, 4, 4)))
    unknown = EmptyRule(both=float("nan"), reference=0.0, prediction=0.0)
    rules = replace(profile_named("exact", "flare22"), empty={"dsc": unknown}, name="strict")
    score = score_case(empty, empty, labels=LABEL_TABLES["flare22"], profile=rules)
    assert score.profile == "strict"
    assert np.isnan(score[1].dsc) and np.isnan(score.mean_dsc) and score[1].nsd == 1.0
