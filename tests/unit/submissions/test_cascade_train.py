"""The cascade's training: schedule, loop, and train.py from a folder to weights on two tiny cases."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import csv
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cascade.model import build_network, load_network, save_phase
from cascade.plan import CascadePlan, LocationPlan, OrgansPlan, load_plan
from cascade.train.cases import TrainingDataError
from cascade.train.loop import Trainer
from cascade.train.objective import dice_and_cross_entropy
from cascade.train.sampler import fixed_samples
from cascade.train.schedule import load_recipe

from .cascade_cases import PLAN, SCHEDULE, make_data, prepared
from .conftest import SUBMISSIONS


@pytest.fixture
def data(tmp_path):
    """Two cases with two organs and a lesion, stored flipped."""
    return make_data(tmp_path / "data")


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
        trainer.step()
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


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_does():
    labels = torch.randint(3, (1, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    right = 50.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    assert dice_and_cross_entropy(right, labels) < 1e-4
    assert dice_and_cross_entropy(-right, labels) > 1


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
    step = broken.step

    def step_or_stop():
        if broken.state.iteration == 2:
            raise KeyboardInterrupt
        return step()

    broken.step = step_or_stop
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
