"""The cascade's training: its parts, and train.py from a FLARE-layout folder to weights on two tiny cases."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import csv
import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import SimpleITK as sitk
from cascade.model import build_network, load_network, save_phase
from cascade.plan import CascadePlan, LocationPlan, OrgansPlan, load_plan
from cascade.train.augment import Augmentation, turned
from cascade.train.cases import TrainingDataError, patch_at, prepare_cases
from cascade.train.loop import Trainer
from cascade.train.objective import DiceCounter, dice_and_cross_entropy
from cascade.train.sampler import Sampler, fixed_samples
from cascade.train.schedule import Schedule, load_recipe

from .conftest import SUBMISSIONS, make_body_hu

SCHEDULE = Schedule(
    iterations=2,
    batch=1,
    learning_rate=1e-3,
    lowest_learning_rate=1e-5,
    weight_decay=0.0,
    validate_every=1,
    validation_patches=1,
    by_label=True,
)
PLAN = CascadePlan(
    location=LocationPlan(size=(64, 64, 64)),
    organs=OrgansPlan(spacing_mm=(4.0, 4.0, 4.0), patch=(32, 32, 32), margin_mm=8.0),
)


@pytest.fixture
def data(tmp_path):
    """Two cases with two organs and a lesion, stored flipped."""
    folder = tmp_path / "data"
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number in range(2):
        array = make_body_hu((20, 40, 40), seed=number)
        labels = np.zeros(array.shape, dtype=np.uint8)
        labels[4:16, 10:20, 10:18] = 1
        labels[6:10, 22:30, 20:28] = 13
        labels[8:10, 12:15, 12:15] = 14
        array[labels > 0] += 200
        for values, path in (
            (array, folder / f"imagesTr/case{number}_0000.nii.gz"),
            (labels, folder / f"labelsTr/case{number}.nii.gz"),
        ):
            image = sitk.GetImageFromArray(values)
            image.SetSpacing((4.0, 4.0, 6.0))
            image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
            sitk.WriteImage(image, str(path))
    return folder


def prepared(data, tmp_path, phase, plan=PLAN):
    return prepare_cases(data, data / "labelsTr", tmp_path / phase, plan, phase)


def test_location_cases_are_the_whole_scan_with_one_label(data, tmp_path):
    (case, _) = prepared(data, tmp_path, "location")
    assert case.image().shape == (64, 64, 64)
    assert np.unique(case.labels()).tolist() == [0, 1]
    # Stored flipped, so the organ at the stored (8.., 14, 13) of 40 lies at 39 - that.
    assert case.labels()[26, 40, 40] == 1


def test_organ_cases_are_the_region_on_the_grid_without_lesion_labels(data, tmp_path):
    (case, _) = prepared(data, tmp_path, "organs")
    # 12 slices of 6 mm, 20 rows and 18 columns of 4 mm; 8 mm more on every side, out to whole voxels.
    assert case.image().shape == (24, 24, 22)
    assert case.image().dtype == np.float16
    assert np.unique(case.labels()).tolist() == [0, 1, 13]
    places, counts = case.places()
    for label in (1, 13):
        assert (case.labels()[tuple(places[label].T)] == label).all()
        assert counts[label] == (case.labels() == label).sum()


def test_preparing_is_done_once_and_refused_for_another_recipe(data, tmp_path):
    (case, _) = prepared(data, tmp_path, "organs")
    written = (case.folder / "image.npy").stat().st_mtime_ns
    prepared(data, tmp_path, "organs")
    assert (case.folder / "image.npy").stat().st_mtime_ns == written
    other = dataclasses.replace(PLAN, organs=dataclasses.replace(PLAN.organs, spacing_mm=(5.0, 4.0, 4.0)))
    with pytest.raises(TrainingDataError, match="another recipe"):
        prepared(data, tmp_path, "organs", other)


def test_a_missing_label_and_a_label_on_another_grid_are_named(data, tmp_path):
    path = data / "labelsTr/case1.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(path))[1:], str(path))
    with pytest.raises(TrainingDataError, match=r"case1\.nii\.gz: shape"):
        prepared(data, tmp_path, "organs")
    path.unlink()
    with pytest.raises(TrainingDataError, match=r"case1\.nii\.gz is missing"):
        prepared(data, tmp_path, "organs")


def test_a_patch_stays_inside_and_is_padded_only_where_the_volume_is_smaller():
    array = np.arange(10 * 4 * 6).reshape(10, 4, 6)
    patch = patch_at(array, np.array([9, 0, 3]), (4, 6, 4), fill=-1)
    assert np.array_equal(patch[:, 1:5], array[6:10, :, 1:5])
    assert (patch[:, [0, 5]] == -1).all()


def test_organs_are_drawn_equally_often_and_lie_in_the_patch(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    sampler = Sampler(cases, dataclasses.replace(SCHEDULE, wander=0.3), (8, 8, 8), seed=1)
    seen = [np.unique(sampler.batch()[1]).tolist() for _ in range(60)]
    assert all(any(label > 0 for label in labels) for labels in seen)
    small = sum(13 in labels for labels in seen)
    assert 15 < small < 45, "by volume it would be one in five"


def test_several_patches_are_drawn_from_each_case(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    sampler = Sampler(cases, dataclasses.replace(SCHEDULE, batch=2, crops=3), (8, 8, 8), seed=1)
    images, labels = sampler.batch()
    assert (images.shape, labels.shape) == ((6, 1, 8, 8, 8), (6, 8, 8, 8))


def test_a_step_in_parts_is_the_step_of_the_whole(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    weights = []
    for at_once in (None, 2):
        torch.manual_seed(0)
        network = torch.nn.Conv3d(1, 14, 1)  # no batch normalisation, which sees a part only
        trainer = Trainer(
            name="x",
            network=network,
            label_names=PLAN.labels,
            training=cases,
            validation=cases,
            patch=(8, 8, 8),
            schedule=dataclasses.replace(SCHEDULE, batch=2, crops=2, at_once=at_once),
            folder=tmp_path / "w",
            seed=1,
            device=torch.device("cpu"),
        )
        trainer.uses_bfloat16 = False
        trainer._step()
        weights.append(network.weight.detach().clone())
    assert torch.allclose(*weights, atol=1e-5)


def test_a_held_out_case_with_a_lesion_alone_is_looked_at_like_any_other(data, tmp_path):
    (case, other) = prepared(data, tmp_path, "organs")
    labels = np.zeros_like(case.labels())
    (case.folder / "labels.npy").unlink()
    np.save(case.folder / "labels.npy", labels)
    np.savez(
        case.folder / "places.npz", counts=np.array([[0, labels.size]]), **{"0": np.zeros((1, 3), np.int64)}
    )
    samples = fixed_samples([case, other], (8, 8, 8), per_case=2)
    assert [number for number, _ in samples] == [0, 0, 1, 1]
    assert all(
        (centre >= 0).all() and (centre < labels.shape).all() for number, centre in samples if number == 0
    )


def test_a_case_with_a_lesion_alone_has_no_region_to_learn_organs_in(data, tmp_path):
    path = data / "labelsTr/case1.nii.gz"
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    lesion = sitk.GetImageFromArray(np.where(array == 14, array, 0))
    lesion.CopyInformation(image)
    sitk.WriteImage(lesion, str(path))
    assert [case.name for case in prepared(data, tmp_path, "organs")] == ["case0"]


def test_cases_are_prepared_by_several_processes_as_by_one(data, tmp_path):
    one = prepared(data, tmp_path / "one", "organs")
    two = prepare_cases(data, data / "labelsTr", tmp_path / "two/organs", PLAN, "organs", processes=2)
    for first, second in zip(one, two, strict=True):
        assert np.array_equal(first.image(), second.image())
        assert np.array_equal(first.labels(), second.labels())


def test_the_full_schedule_is_the_published_one():
    _, schedules = load_recipe(SUBMISSIONS / "cascade/plans/full.json")
    organs = schedules["organs"]
    assert (organs.batch * organs.crops, organs.cycles, organs.iterations) == (48, 2, 12290)
    assert (organs.augmentation.gain, organs.augmentation.gain_size) == (0.1, 0.1)
    # Warm restarts after half of the training: the rate is the highest again.
    assert organs.learning_rate_at(0.5) == pytest.approx(organs.learning_rate)
    assert organs.learning_rate_at(0.499) < 2e-5


def test_a_phase_trained_alone_leaves_the_other_phases_plan(tmp_path):
    save_phase(tmp_path, "location", PLAN, build_network(PLAN, "location"), "first")
    other = dataclasses.replace(
        CascadePlan(organs=OrgansPlan(spacing_mm=(3.0, 3.0, 3.0))), location=LocationPlan(size=(96, 96, 96))
    )
    save_phase(tmp_path, "organs", other, build_network(other, "organs"), "second")
    kept = load_plan(tmp_path)
    assert kept.location.size == (64, 64, 64)
    assert kept.organs.spacing_mm == (3.0, 3.0, 3.0)
    assert kept.source == {"location": "first", "organs": "second"}


def test_the_same_seed_draws_the_same_and_its_state_goes_on(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    schedule = dataclasses.replace(SCHEDULE, augmentation=Augmentation(affine=1, noise_sd=1, shift=1))
    one, other = (Sampler(cases, schedule, (8, 8, 8), seed=5) for _ in range(2))
    assert torch.equal(one.batch()[0], other.batch()[0])
    state = one.random.get_state()
    expected = one.batch()[0]
    one.random.set_state(state)
    assert torch.equal(one.batch()[0], expected)


def test_validation_goes_through_all_organs_and_is_the_same_each_time(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    samples = fixed_samples(cases, (8, 8, 8), per_case=1)
    found = [cases[number].labels()[tuple(centre)] for number, centre in samples]
    assert sorted(found) == [1, 13]
    again = fixed_samples(cases, (8, 8, 8), per_case=1)
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(samples, again, strict=True))


def test_left_and_right_are_never_exchanged():
    image = torch.zeros(4, 4, 8)
    image[..., 6:] = 1
    labels = image.to(torch.uint8)
    everything = Augmentation(flip=1, shift=1, affine=1, angle=0.2, scale=0.05)
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        moved, moved_labels = everything(image, labels, random)
        assert moved_labels[..., 4:].sum() > 0
        assert moved_labels[..., :4].sum() == 0
        assert moved[..., :4].mean() < moved[..., 4:].mean()


def test_a_quarter_turn_is_that_of_numpy_also_where_sides_differ():
    image = torch.zeros(2, 12, 8)
    image[:, 5:8, 3:6] = torch.rand(2, 3, 3)
    labels = (image > 0).to(torch.uint8)
    moved, moved_labels = turned(image, labels, angle=math.pi / 2, scales=(1.0, 1.0, 1.0))
    square = np.pad(image.numpy(), ((0, 0), (0, 0), (2, 2)))
    expected = np.rot90(square, k=1, axes=(1, 2))[:, :, 2:10]
    assert np.allclose(moved, expected, atol=1e-4)
    assert np.array_equal(moved_labels, expected > 0)


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_does():
    labels = torch.randint(3, (1, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    right = 50.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    assert dice_and_cross_entropy(right, labels) < 1e-4
    assert dice_and_cross_entropy(-right, labels) > 1


def test_dice_is_over_all_volumes_and_leaves_absent_labels_out():
    counter = DiceCounter(4)
    counter.add(torch.tensor([1, 1, 0, 2]), torch.tensor([1, 0, 0, 0]))
    counter.add(torch.tensor([1, 1]), torch.tensor([1, 1]))
    one, two, three = counter.by_class()
    assert one == pytest.approx(2 * 3 / (4 + 3))
    assert two == 0
    assert math.isnan(three)
    assert counter.mean() == pytest.approx((one + 0) / 2)


def test_the_rate_warms_up_falls_by_a_cosine_and_starts_again_with_each_cycle():
    schedule = dataclasses.replace(SCHEDULE, warm_up=0.1, cycles=2)
    assert schedule.learning_rate_at(0.0) < 0.1 * schedule.learning_rate
    assert schedule.learning_rate_at(0.4999) == pytest.approx(schedule.lowest_learning_rate, rel=0.01)
    assert schedule.learning_rate_at(0.5) == pytest.approx(schedule.learning_rate)
    assert schedule.learning_rate_at(1.0) == pytest.approx(schedule.lowest_learning_rate)


def test_a_schedule_ends_by_steps_or_by_the_clock():
    schedule = dataclasses.replace(SCHEDULE, iterations=100, hours=1.0)
    assert schedule.progress(iteration=50, elapsed_s=360) == 0.5
    assert schedule.progress(iteration=5, elapsed_s=1800) == 0.5
    assert dataclasses.replace(schedule, hours=None).progress(iteration=5, elapsed_s=1e9) == 0.05


@pytest.mark.parametrize("name", ["full", "short"])
def test_the_shipped_recipes_can_be_read_and_fit_the_networks(name):
    plan, schedules = load_recipe(SUBMISSIONS / f"cascade/plans/{name}.json")
    assert set(schedules) == {"location", "organs"}
    assert all(side % 32 == 0 for side in plan.location.size)
    assert all(side % 16 == 0 for side in plan.organs.patch)


def test_a_recipe_with_an_unknown_setting_is_refused_by_name(tmp_path):
    content = json.loads((SUBMISSIONS / "cascade/plans/short.json").read_text())
    content["training"]["organs"]["lerning_rate"] = 1
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(TrainingDataError, match="lerning_rate"):
        load_recipe(tmp_path / "recipe.json")


class Tiny(torch.nn.Conv3d):
    """A network of one convolution."""

    def __init__(self):
        super().__init__(1, 14, 1)


def trainer_of(cases, folder, network, **changes):
    return Trainer(
        name="organs",
        network=network,
        label_names=PLAN.labels,
        training=cases,
        validation=cases,
        patch=(8, 8, 8),
        schedule=dataclasses.replace(SCHEDULE, **changes),
        folder=folder,
        seed=1,
        device=torch.device("cpu"),
    )


def test_a_step_with_gradients_that_are_not_finite_is_left_out(data, tmp_path):
    network = Tiny()
    trainer = trainer_of(prepared(data, tmp_path, "organs"), tmp_path / "run", network, iterations=1)
    network.bias.register_hook(lambda gradient: gradient * float("inf"))
    before = network.weight.detach().clone()
    trainer.run()
    assert trainer.state.skipped == 1
    assert torch.equal(network.weight, before)


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    torch.manual_seed(0)
    start = Tiny().state_dict()

    def network():
        made = Tiny()
        made.load_state_dict(start)
        return made

    whole = trainer_of(cases, tmp_path / "whole", network(), iterations=4)
    whole.run()

    broken = trainer_of(cases, tmp_path / "parts", network(), iterations=4)
    step = broken._step

    def step_or_stop():
        if broken.state.iteration == 2:
            raise KeyboardInterrupt
        return step()

    broken._step = step_or_stop
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = trainer_of(cases, tmp_path / "parts", Tiny(), iterations=4)
    resumed.run()
    assert resumed.state.iteration == 4
    assert torch.equal(resumed.network.weight, whole.network.weight)
    with (tmp_path / "parts/progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["1", "2", "3", "4"]


def train(data, tmp_path, iterations, *options):
    one = {**dataclasses.asdict(SCHEDULE), "iterations": iterations, "by_label": False}
    recipe = {**json.loads(PLAN.to_json()), "training": {"location": one, "organs": one}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    command = [sys.executable, SUBMISSIONS / "cascade/train.py", data, "--recipe", tmp_path / "recipe.json"]
    command += ["--work", tmp_path / "work", "--out", tmp_path / "weights", "--threads", "1"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_both_phases_are_trained_go_on_and_leave_weights_that_load(data, tmp_path):
    first = train(data, tmp_path, 1)
    assert first.returncode == 0, first.stderr
    more = train(data, tmp_path, 2, "--phase", "2")
    assert more.returncode == 0, more.stderr
    assert "organs: going on from step 1" in more.stderr
    plan = load_plan(tmp_path / "weights")
    assert plan.organs == PLAN.organs
    assert "1 steps" in plan.source["location"]
    assert "2 steps" in plan.source["organs"]
    for phase in ("location", "organs"):
        load_network(tmp_path / "weights", plan, phase)
        assert "<svg" in (tmp_path / "work" / phase / "progress.svg").read_text()
    with (tmp_path / "work/organs/progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["1", "2"]
    assert {"train_loss", "validation_dice", "dice_liver", "learning_rate", "elapsed_s"} <= set(rows[0])


def test_a_folder_without_images_says_what_it_should_hold(tmp_path):
    done = train(tmp_path, tmp_path, 1)
    assert done.returncode == 2
    assert "imagesTr" in done.stderr
    assert "Traceback" not in done.stderr
