"""segkit.training.phantoms: recipes, and a loop that goes on where it stopped."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # tiny patches: threads only wait for each other

from segkit.model import load_model
from segkit.training.phantoms.__main__ import main
from segkit.training.phantoms.loop import PhantomTrainer
from segkit.training.phantoms.objective import deep_dice_and_cross_entropy, dice_and_cross_entropy
from segkit.training.phantoms.render import Renderer
from segkit.training.phantoms.schedule import Schedule
from segkit.training.phantoms.speed import prepare_device, with_channels_last
from segkit.training.phantoms.store import read_store
from segkit.training.phantoms.train import read_recipe
from segkit.training.phantoms.trainee import Trainee, trainee_of

from .nnunet_files import plain_unet
from .phantom_stores import CPU, WINDOW, make_store, rendering

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path):
    """Three volumes of 3 x 2 x 2 mm."""
    return make_store(tmp_path / "store")


@pytest.fixture
def recipe(tmp_path):
    """A recipe of a tiny network, beside its architecture as a submission has it."""
    plans = tmp_path / "method" / "plans"
    plans.mkdir(parents=True)
    (plans / "architecture.json").write_text(
        json.dumps(plain_unet([4, 8, 8], convs=[1, 1, 1], convs_decoder=[1, 1]))
    )
    content = {
        "architecture": "architecture.json",
        "labels": ["background", "one", "two"],
        "spacing_mm": [3.0, 2.0, 2.0],
        "patch": [16, 24, 24],
        "window": WINDOW,
        "schedule": {"steps": 4, "batch": 2, "judged_patches": 2, "judge_every_s": 1e9},
        "cuda": {"patch": [32, 32, 32], "schedule": {"batch": 8}},
    }
    (plans / "phantom.json").write_text(json.dumps(content))
    return plans / "phantom.json"


def run(recipe, store, work, *options):
    return main(
        [str(recipe), str(store), "--work", str(work), "--device", "cpu", "--bfloat16", "no", *options]
    )


def test_the_loss_is_least_where_the_prediction_is_right():
    target = torch.randint(0, 3, (2, 8, 8, 8))
    right = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float() * 20
    coarse = right[:, :, ::2, ::2, ::2]
    assert dice_and_cross_entropy(right, target) < -0.99
    assert deep_dice_and_cross_entropy([right, coarse], target) < deep_dice_and_cross_entropy(
        [-right, coarse], target
    )


def test_a_training_leaves_a_model_that_loads(recipe, store, tmp_path):
    assert run(recipe, store, tmp_path / "work") == 0
    plan, network = load_model(tmp_path / "work" / "model")
    assert plan.labels == ("background", "one", "two")
    assert plan.source["training"].startswith("4 steps of 2")
    assert network(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)
    with (tmp_path / "work" / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["4"]
    assert {"dice_one", "dice_two", "validation_dice"} <= rows[0].keys()


def test_a_stopped_training_ends_with_the_weights_of_one_that_was_not(recipe, store, tmp_path):
    def trainer(work, steps):
        content = read_recipe(recipe, "cpu")
        torch.manual_seed(5)
        volumes = read_store([store])
        trainee = trainee_of(content, recipe.parent.parent)
        renderers = [Renderer(volumes, rendering(), device=CPU, seed=1) for _ in range(2)]
        schedule = Schedule(steps=6, batch=1, judged_patches=1, judge_every_s=1e9, warm_up=0.0)
        made = PhantomTrainer(
            "x",
            trainee,
            schedule,
            training=renderers[0],
            judging=renderers[1],
            folder=work,
            bfloat16="no",
        )
        step = made.step

        def stopping():
            if made.standing.step == steps:
                raise KeyboardInterrupt
            return step()

        made.step = stopping
        return made

    whole = trainer(tmp_path / "whole", 99).run()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "parts", 3).run()
    resumed = trainer(tmp_path / "parts", 99)
    parts = resumed.run()
    assert resumed.standing.step == 6
    assert all(torch.allclose(whole[name], parts[name], atol=1e-6) for name in whole)


def test_a_finished_training_is_not_run_again(recipe, store, tmp_path, capfd):
    assert run(recipe, store, tmp_path / "work") == 0
    assert run(recipe, store, tmp_path / "work") == 0
    assert "finished already, with 4 steps" in capfd.readouterr().err


def test_weights_to_start_from_are_copied_into_network_and_average(recipe, store, tmp_path):
    assert run(recipe, store, tmp_path / "first") == 0
    model = tmp_path / "first" / "model"
    assert run(recipe, store, tmp_path / "second", "--start-from", str(model), "--steps", "1") == 0
    before, after = (load_model(tmp_path / name / "model")[1].state_dict() for name in ("first", "second"))
    change = max(float((before[name] - after[name]).abs().max()) for name in before)
    assert 0 < change < 0.01
    other = json.loads(recipe.read_text())
    other["labels"] = ["background", "one"]
    other["learnt"] = {"1": 1}
    (recipe.parent / "other.json").write_text(json.dumps(other))
    assert run(recipe.parent / "other.json", store, tmp_path / "third", "--start-from", str(model)) == 2


def test_a_step_with_gradients_that_are_no_numbers_changes_nothing(recipe, store, tmp_path):
    trainee = trainee_of(read_recipe(recipe, "cpu"), recipe.parent.parent)

    def broken(network, images):
        return [level * float("nan") for level in trainee.logits(network, images)]

    renderer = Renderer(read_store([store]), rendering(), device=CPU, seed=1)
    trainer = PhantomTrainer(
        "x",
        Trainee(**{**vars(trainee), "logits": broken}),
        Schedule(steps=3, batch=1),
        training=renderer,
        judging=renderer,
        folder=tmp_path / "work",
        bfloat16="no",
    )
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.bfloat16, trainer.logits = False, broken
    trainer.step()
    assert all(torch.equal(before[name], value) for name, value in trainer.network.state_dict().items())


@pytest.mark.parametrize("batch", [1, 2])
def test_channels_last_gives_the_same_logits_gradients_and_names(recipe, batch):
    networks = []
    for change in (lambda network: network, with_channels_last):
        torch.manual_seed(1)
        trainee = trainee_of(read_recipe(recipe, "cpu"), recipe.parent.parent)
        networks.append(change(trainee.network))
    images = torch.randn(batch, 1, 8, 16, 16)
    results = [trainee.logits(network, images) for network in networks]
    for plain, laid_out in zip(*results, strict=True):
        assert torch.allclose(plain, laid_out, atol=1e-4)
    for levels in results:
        sum(level.square().mean() for level in levels).backward()
    for (name, one), (same_name, other) in zip(
        *(network.named_parameters() for network in networks), strict=True
    ):
        assert name == same_name
        assert torch.allclose(one.grad, other.grad, atol=1e-4)
    assert networks[0].state_dict().keys() == networks[1].state_dict().keys()


def test_a_gpu_looks_for_the_quickest_convolutions(monkeypatch):
    backends = SimpleNamespace(cudnn=SimpleNamespace(), cuda=SimpleNamespace(matmul=SimpleNamespace()))
    monkeypatch.setattr(torch, "backends", backends)
    prepare_device(CPU)
    assert not vars(backends.cudnn)
    prepare_device(torch.device("cuda"))
    assert backends.cudnn.benchmark
    assert backends.cudnn.allow_tf32
    assert backends.cuda.matmul.allow_tf32


def test_a_gpus_recipe_trains_on_larger_patches_and_ships_the_same_tile(recipe):
    on_gpu, on_cpu = read_recipe(recipe, "cuda"), read_recipe(recipe, "cpu")
    assert (on_gpu["patch"], on_gpu["tile"], on_gpu["schedule"]["batch"]) == ([32, 32, 32], [16, 24, 24], 8)
    assert (on_cpu["patch"], on_cpu["schedule"]["batch"]) == ([16, 24, 24], 2)
    assert on_gpu["schedule"]["steps"] == 4


def test_the_rate_rises_falls_and_follows_the_clock():
    schedule = Schedule(steps=1000, batch=1, hours=1.0)
    assert schedule.rate_at(0.0) < schedule.rate_at(0.02) > schedule.rate_at(0.5) > schedule.rate_at(1.0) > 0
    assert schedule.progress(step=10, elapsed_s=1800) == pytest.approx(0.5)
    assert schedule.progress(step=900, elapsed_s=1800) == pytest.approx(0.9)


@pytest.mark.parametrize(
    "path",
    sorted(
        path.relative_to(ROOT / "submissions") for path in ROOT.glob("submissions/*/plans/phantom.*.json")
    ),
    ids=str,
)
def test_every_shipped_recipe_describes_a_network_and_a_rendering(path):
    from segkit.training.phantoms.render import rendering_of

    for device in ("cpu", "cuda"):
        content = read_recipe(ROOT / "submissions" / path, device)
        trainee = trainee_of(content, ROOT / "submissions" / path.parent.parent)
        told = rendering_of(content, trainee.outputs)
        assert max(told.outputs) == len(trainee.labels) - 1
        Schedule(**content["schedule"])


def test_phantoms_are_made_and_trained_on_without_the_libraries_of_inference(tmp_path):
    hidden = [
        "SimpleITK",
        "nibabel",
        "nnunetv2",
        "openvino",
        "dynamic_network_architectures",
        "isal",
        "matplotlib",
    ]
    program = f"""
import sys
for name in {hidden}:
    sys.modules[name] = None
import segkit.training.phantoms.train, segkit.training.phantoms.make
from harness.data.phantom import make_case
sys.path += ["submissions/cascade", "submissions/distilled_student"]
import cascade.train.phantoms, distilled.phantoms
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'submissions/segkit'}", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
