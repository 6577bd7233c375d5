"""segkit.training: any task, grid and network through nnU-Net, in one process and on tiny cases."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

from segkit.log import show
from segkit.model import load_model, save_model
from segkit.training import Task, TrainingDataError, export, newest_checkpoint, pairs_of, run, train
from segkit.training.recipe import Recipe, Schedule

from .training_cases import EPOCHS, ORGAN, SPATIAL, TASK, TUMOUR, make_data, options, plain_network


@pytest.fixture
def data(tmp_path):
    """Two cases with an organ and a tumour, stored flipped."""
    return make_data(tmp_path / "data")


FLAT = {"spacing": [4.0, 4.0], "patch_size": [32, 16], "batch_size": 3}

STUB = '''
"""A network as small as one can be that has deep supervision."""

from torch import nn


class Decoder(nn.Module):
    def __init__(self, width, classes, deep_supervision):
        super().__init__()
        self.deep_supervision = deep_supervision
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for _ in range(2))

    def forward(self, levels):
        outputs = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        return outputs if self.deep_supervision else outputs[0]


class Stub(nn.Module):
    def __init__(self, input_channels, num_classes, width, strides, deep_supervision):
        super().__init__()
        self.first = nn.Conv2d(input_channels, width, 3, padding=1)
        self.decoder = Decoder(width, num_classes, deep_supervision)

    def forward(self, x):
        x = self.first(x).relu()
        return self.decoder([x, nn.functional.avg_pool2d(x, 2)])
'''


@pytest.fixture(autouse=True)
def shown():
    """What trainings tell is on stderr, as their programs have it."""
    show()


@pytest.fixture
def threads_for_processes(monkeypatch):
    """nnU-Net starts fresh processes for its preparations, which cost seconds each; threads do here."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda _kind: SimpleNamespace(Pool=ThreadPool))


@pytest.fixture
def stub(tmp_path):
    """An architecture whose class lies in a folder of its own."""
    folder = tmp_path / "networks"
    folder.mkdir()
    (folder / "stub_network.py").write_text(STUB)
    yield {
        "network_class_name": "stub_network.Stub",
        "arch_kwargs": {"width": 4, "strides": [[1, 1], [2, 2], [2, 2]]},
    }
    sys.modules.pop("stub_network", None)


def nnunet_variables():
    return {name: value for name, value in os.environ.items() if name.startswith("nnUNet")}


def table_of(checkpoint):
    with (checkpoint.parent / "progress.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_trainings_follow_each_other_in_a_process(data, tmp_path, stub, threads_for_processes, capfd):
    before = nnunet_variables(), list(sys.path)
    volumes = train(
        pairs_of(data), TASK, {**SPATIAL, "schedule": EPOCHS}, plain_network(), options(tmp_path, "volumes")
    )
    schedule = {
        **EPOCHS,
        "hours": 1.0,
        "epochs": 2,
        "mirror_axes": [1],
        "elastic_probability": 1.0,
        "jitter": {"label_sd": 0.2, "texture_sd": 0.3},
        "seed": 1,
    }
    slices = train(
        pairs_of(data, cases=["case1"]),
        Task("flat", ("background", "organ", "tumour"), {ORGAN: 1, TUMOUR: 2}),
        {**FLAT, "schedule": schedule},
        stub,
        options(tmp_path, "slices", import_from=(tmp_path / "networks",)),
    )
    assert (nnunet_variables(), list(sys.path)) == before
    assert volumes == tmp_path / (
        "volumes/results/Dataset001_block/EpochTrainer__segkit__3d/fold_all/checkpoint_final.pth"
    )
    assert slices == tmp_path / (
        "slices/results/Dataset001_flat/ClockTrainer__segkit__2d/fold_all/checkpoint_final.pth"
    )

    export(volumes, tmp_path / "model")
    plan, _ = load_model(tmp_path / "model")
    assert plan.labels == ("background", "block")
    assert plan.patch == (16, 16, 16)
    assert plan.orientation == "canonical"

    rows = table_of(slices)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(np.isfinite(float(row["train_loss"])) for row in (*rows, *table_of(volumes)))
    assert {"learning_rate", "elapsed_s", "pseudo_dice_1", "pseudo_dice_2"} <= rows[0].keys()
    assert "<svg" in slices.with_name("progress.svg").read_text()
    assert "flat: epoch 2: loss" in capfd.readouterr().err
    plans = json.loads((slices.parent.parent / "plans.json").read_text())
    assert plans["configurations"]["2d"]["architecture"]["network_class_name"] == "stub_network.Stub"
    assert plans["configurations"]["2d"]["patch_size"] == [32, 16]


def test_forked_workers_are_ended_by_sigterm_at_any_moment_during_a_training():
    # A handler in Python would not run in some of them, and their pool would wait for ever.
    context = multiprocessing.get_context("fork")
    with run.stopping_on_sigterm():
        workers = [context.Process(target=time.sleep, args=(600,), daemon=True) for _ in range(40)]
        for number, worker in enumerate(workers):
            worker.start()
            time.sleep(number % 4 * 0.002)
            worker.terminate()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [-signal.SIGTERM] * len(workers)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_a_polite_kill_leaves_a_checkpoint_to_go_on_from(
    data, tmp_path, stub, threads_for_processes, monkeypatch, capfd
):
    from segkit.training.trainers import EpochTrainer

    taken = []
    step = EpochTrainer.train_step

    def step_and_be_killed(self, batch):
        taken.append(self.current_epoch)
        if len(taken) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(EpochTrainer, "train_step", step_and_be_killed)
    handler = signal.getsignal(signal.SIGTERM)
    recipe = {**FLAT, "schedule": {**EPOCHS, "epochs": 3, "seed": 5}}
    job = (pairs_of(data), TASK, recipe, stub)
    how = options(tmp_path, import_from=(tmp_path / "networks",))
    with pytest.raises(KeyboardInterrupt):
        train(*job, how)
    assert signal.getsignal(signal.SIGTERM) is handler
    latest = newest_checkpoint(TASK, recipe, how)
    assert latest.name == "checkpoint_latest.pth"
    assert [row["epoch"] for row in table_of(latest)] == ["0"]

    final = train(*job, how)
    assert final.name == "checkpoint_final.pth"
    assert "going on from epoch 1" in capfd.readouterr().err
    assert taken == [0, 0, 1, 1, 1, 1, 2, 2]
    assert [row["epoch"] for row in table_of(final)] == ["0", "1", "2"]
    # A finished training is found finished.
    assert train(*job, how) == final
    assert "finished, with 3 epochs" in capfd.readouterr().err
    assert len(taken) == 8


# torch's compiler imports a module of torch's own that is written in torch's older way.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_weights_to_start_from_fit_a_compiled_network(tmp_path, tiny_model):
    plan, network = tiny_model
    save_model(tmp_path / "model", plan, network.state_dict())
    other = type(network)(plan.network)
    compiled = torch.compile(other)
    assert all(name.startswith("_orig_mod.") for name in compiled.state_dict())
    run.copy_weights(tmp_path / "model", compiled)
    assert all(
        torch.allclose(a, b, atol=1e-3) for a, b in zip(other.parameters(), network.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trainer": "mine"}, "no entry 'trainer'"),
        ({"spacing": [1.0, 1.0]}, "both need three entries"),
        ({"schedule": {"epochs": 3}}, "lacks the entry 'learning_rate'"),
        ({"schedule": {**EPOCHS, "mirror_axes": [3]}}, "mirrors along axes"),
        ({"schedule": {**EPOCHS, "jitter": {"label_sd": 1.0}}}, "lacks the entry 'texture_sd'"),
    ],
)
def test_a_recipe_that_makes_no_sense_says_why(change, said):
    with pytest.raises(TrainingDataError, match=said):
        Recipe.from_dict({**SPATIAL, "schedule": EPOCHS, **change})


def test_a_schedule_survives_the_plans():
    schedule = Schedule.from_dict(
        {**EPOCHS, "mirror_axes": [], "jitter": {"label_sd": 0.1, "texture_sd": 0.2}, "seed": 1}
    )
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
    assert schedule.mirror_axes == ()
    assert Schedule.from_dict(EPOCHS).mirror_axes is None


@pytest.mark.parametrize(
    ("strides", "said"),
    [
        ([[1, 1, 1], [2, 2, 2]], "at least three"),
        ([[1, 1], [2, 2], [2, 2]], "strides of 2 axes"),
        ([[1, 1, 1], [4, 4, 4], [8, 2, 2]], "not divisible by"),
    ],
)
def test_a_network_that_does_not_fit_its_patch_says_why(tmp_path, strides, said):
    from segkit.training.nnunet import Layout, write_plans

    fingerprint = {
        "foreground_intensity_properties_per_channel": {"0": {}},
        "spacings": [[3.0, 2.0, 2.0]],
        "shapes_after_crop": [[16, 32, 32]],
    }
    recipe = Recipe.from_dict({**SPATIAL, "schedule": EPOCHS})
    architecture = {"network_class_name": "a.Network", "arch_kwargs": {"strides": strides}}
    with pytest.raises(TrainingDataError, match=said):
        write_plans(Layout(tmp_path, "block", 3), fingerprint, recipe, architecture)


def test_of_several_gpus_the_first_one_alone_writes(tmp_path):
    from segkit.training.trainers import EpochTrainer

    trainer = EpochTrainer.__new__(EpochTrainer)
    trainer.local_rank = 1
    trainer.output_folder = str(tmp_path)
    trainer.save_checkpoint(str(tmp_path / "checkpoint.pth"))
    trainer._plot()
    assert list(tmp_path.iterdir()) == []


def test_more_gpus_than_there_are_or_than_a_batch_has_patches_are_refused(tmp_path, monkeypatch):
    recipe = Recipe.from_dict({**SPATIAL, "schedule": EPOCHS})
    for there, said in ((0, "there are 0 GPUs"), (2, "a batch of 1 cannot be shared")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda there=there: there)
        with pytest.raises(TrainingDataError, match=said):
            run._train_on_several(None, {}, recipe, options(tmp_path, gpus=2))


def test_hours_are_for_schedules_that_follow_the_clock(tmp_path):
    recipe = {**SPATIAL, "schedule": EPOCHS}
    with pytest.raises(TrainingDataError, match="it counts epochs"):
        newest_checkpoint(TASK, recipe, options(tmp_path, hours=1.0))
    with pytest.raises(TrainingDataError, match="train first"):
        newest_checkpoint(TASK, recipe, options(tmp_path))


@pytest.mark.parametrize("size", [(8, 12), (6, 8, 12)])
def test_jitter_shifts_each_label_and_works_on_slices_and_volumes(size):
    from segkit.training.augment import TissueJitter

    torch.manual_seed(0)
    labels = torch.zeros(1, *size, dtype=torch.int16)
    labels[..., 6:] = 1
    labels[..., :2] = -1  # outside of the image
    image = torch.zeros(1, *size)
    moved = TissueJitter(label_sd=1.0, texture_sd=0.0)(image=image, segmentation=labels)["image"]
    assert len(moved[labels == 1].unique()) == 1
    assert moved[labels == 1][0] != moved[labels == 0][0]
    assert torch.equal(moved[labels == -1].unique(), moved[labels == 0].unique())
    textured = TissueJitter(label_sd=0.0, texture_sd=1.0)(image=image, segmentation=labels)["image"]
    assert textured.shape == image.shape
    assert textured.std() > 0


@pytest.mark.parametrize(("patch", "place"), [((32, 128, 192), 3), ((48, 80, 96), 1), ((160, 192), 1)])
def test_jitter_comes_right_after_the_spatial_steps(patch, place):
    from segkit.training.augment import TissueJitter
    from segkit.training.trainers import EpochTrainer

    trainer = EpochTrainer.__new__(EpochTrainer)
    trainer.schedule = Schedule.from_dict(
        {**EPOCHS, "elastic_probability": 0.2, "jitter": {"label_sd": 0.1, "texture_sd": 0.2}}
    )
    flat = max(patch) / patch[0] > 3
    steps = trainer.get_training_transforms(patch, (-0.5, 0.5), None, (), flat, use_mask_for_norm=[False])
    kinds = [type(step) for step in steps.transforms]
    assert kinds.index(TissueJitter) == place
    spatial = next(step for step in steps.transforms if hasattr(step, "p_elastic_deform"))
    assert spatial.p_elastic_deform == 0.2


def test_importing_it_does_not_import_torch():
    code = "import sys, segkit.training; sys.exit('torch' in sys.modules or 'nnunetv2' in sys.modules)"
    path = [folder for folder in sys.path if folder.endswith("segkit")]
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(path)}, check=False
    )
    assert done.returncode == 0
