"""segkit.training: any task, grid and network through nnU-Net, in one process and on tiny cases."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import csv
import dataclasses
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

import SimpleITK as sitk
from segkit.errors import SegkitError
from segkit.log import show
from segkit.model import load_model, save_model
from segkit.training import Options, Task, TrainingDataError, export, newest_checkpoint, pairs_of, run, train
from segkit.training.data import check_sources, read_case
from segkit.training.recipe import Preparation, Recipe, Schedule

from .conftest import make_body_hu
from .nnunet_files import plain_unet

ORGAN, TUMOUR = 3, 14
TASK = Task("block", ("background", "block"), {TUMOUR: 1})
EPOCHS = {"epochs": 1, "learning_rate": 0.01, "iterations_per_epoch": 2, "validation_iterations_per_epoch": 1}
SPATIAL = {"spacing": [4.0, 4.0, 4.0], "patch_size": [16, 16, 16], "batch_size": 1}
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
def data(tmp_path):
    """Two cases with an organ and a tumour, stored flipped."""
    folder = tmp_path / "data"
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number in range(2):
        array = make_body_hu((16, 32, 32), seed=number)
        labels = np.zeros(array.shape, dtype=np.uint8)
        labels[4:12, 8:24, 8:24] = ORGAN
        labels[6:10, 10:20, 10 + number : 20 + number] = TUMOUR
        array[labels == TUMOUR] += 300
        write(folder / f"imagesTr/case{number}_0000.nii.gz", array)
        write(folder / f"labelsTr/case{number}.nii.gz", labels)
    return folder


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


def write(path, array):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((2.0, 2.0, 3.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


def plain_network():
    return plain_unet([4, 8, 8], convs=[1, 1, 1], convs_decoder=[1, 1])


def nnunet_variables():
    return {name: value for name, value in os.environ.items() if name.startswith("nnUNet")}


def options(tmp_path, name="work", **changes):
    return Options(work=tmp_path / name, threads=1, device="cpu", **changes)


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


def test_a_case_is_read_as_inference_sees_it_with_the_task_s_labels(data):
    first, _ = pairs_of(data)
    hu, labels, spacing_mm = read_case(first, TASK)
    assert spacing_mm == (3.0, 2.0, 2.0)
    assert np.unique(labels).tolist() == [0, 1]
    assert int(labels.sum()) == 4 * 10 * 10
    # Stored with x to the right and y to the front; LPS has both the other way round.
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(first.image)))
    assert np.array_equal(hu[:, :, :], stored[:, ::-1, ::-1][tuple(slice(0, size) for size in hu.shape)])


def test_a_work_folder_of_other_data_is_refused(data, tmp_path):
    note = tmp_path / "work/sources.json"
    check_sources(pairs_of(data), TASK, note)
    check_sources(pairs_of(data), TASK, note)
    with pytest.raises(TrainingDataError, match="1 cases differ, the first is case1"):
        check_sources(pairs_of(data, cases=["case0"]), TASK, note)
    with pytest.raises(TrainingDataError, match="the labels differ"):
        check_sources(pairs_of(data), Task("block", TASK.labels, {ORGAN: 1}), note)
    write(data / "labelsTr/case0.nii.gz", np.full((16, 32, 32), TUMOUR, dtype=np.uint8))
    with pytest.raises(TrainingDataError, match="the first is case0"):
        check_sources(pairs_of(data), TASK, note)


def test_a_recipe_may_keep_the_slices_around_the_labels_and_clip(data):
    first, _ = pairs_of(data)
    whole, all_labels, _ = read_case(first, TASK)
    held = np.flatnonzero(all_labels.any(axis=(1, 2)))
    how = Preparation(slices_around_labels=2, clip_hu=(-100, 60))
    hu, labels, _ = read_case(first, TASK, how)
    kept = slice(max(0, held[0] - 2), held[-1] + 3)
    assert hu.shape[0] == len(held) + 4 < whole.shape[0]
    assert np.array_equal(labels, all_labels[kept])
    assert np.array_equal(hu, whole[kept].clip(-100, 60))
    # More than there are is all; and where no label is, nothing can be cut.
    assert read_case(first, TASK, Preparation(slices_around_labels=99))[0].shape == whole.shape
    nothing = Task("none", TASK.labels, {7: 1})
    assert read_case(first, nothing, how)[0].shape == whole.shape


def test_a_work_folder_of_another_preparation_is_refused(data, tmp_path):
    note = tmp_path / "work/sources.json"
    check_sources(pairs_of(data), TASK, note, Preparation(label_order=0))
    check_sources(pairs_of(data), TASK, note, Preparation(label_order=0))
    with pytest.raises(TrainingDataError, match="prepared in another way"):
        check_sources(pairs_of(data), TASK, note)


def test_splines_of_a_recipe_reach_the_plans_and_the_cases(data, tmp_path):
    """Against scipy's splines, on the grid that halves y and x."""
    from scipy import ndimage
    from segkit.training import prepare
    from segkit.training.nnunet import Layout, write_plans

    made = {}
    for order in (1, 3):
        how = Preparation(image_order=order, label_order=0)
        recipe = Recipe.from_dict({**SPATIAL, "spacing": [3.0, 4.0, 4.0], "schedule": EPOCHS})
        recipe = dataclasses.replace(recipe, preparation=how)
        layout = Layout(tmp_path / str(order), TASK.name, 3)
        prepare.write_description(TASK, 2, layout)
        pairs = pairs_of(data)
        fingerprint = prepare.make_fingerprint(pairs, TASK, layout, 1, how)
        plans = write_plans(layout, fingerprint, recipe, plain_network())
        kwargs = plans["configurations"]["3d"]["resampling_fn_data_kwargs"]
        assert (kwargs["order"], kwargs["order_z"]) == (order, order)
        assert plans["configurations"]["3d"]["resampling_fn_seg_kwargs"]["order"] == 0
        prepare.preprocess(pairs, TASK, layout, plans, 1, how)
        made[order] = preprocessed(layout, pairs[0].case)
    hu, _, _ = read_case(pairs[0], TASK)
    intensity = plans["foreground_intensity_properties_per_channel"]["0"]
    window = (intensity["percentile_00_5"], intensity["percentile_99_5"])
    scaled = (hu.clip(*window) - intensity["mean"]) / intensity["std"]
    y, x = (np.arange(size) * 2 + 0.5 for size in made[3].shape[1:])
    wanted = ndimage.map_coordinates(
        scaled, np.meshgrid(np.arange(len(scaled)), y, x, indexing="ij"), order=3, mode="nearest"
    )
    wanted = wanted.clip(scaled.min(), scaled.max())  # the resampler does not overshoot
    inner = (slice(2, -2),) * 3  # nor does it reflect at the border as scipy does
    error = {order: float(np.abs(image - wanted)[inner].mean()) for order, image in made.items()}
    assert error[3] < 0.1 * error[1]


def preprocessed(layout, case):
    """The image of a case as the training reads it."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    folder = layout.preprocessed / f"segkit_{layout.configuration}"
    return np.asarray(nnUNetDatasetBlosc2(str(folder), [case]).load_case(case)[0][:])[0]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((16, 32, 32), 14.5, dtype=np.float32), "no whole numbers"),
        (np.zeros((16, 32, 30), dtype=np.uint8), "must lie on the image's grid"),
    ],
)
def test_a_label_that_does_not_fit_is_named(data, array, said):
    write(data / "labelsTr/case1.nii.gz", array)
    with pytest.raises(SegkitError, match=rf"case1\.nii\.gz.*{said}"):
        read_case(pairs_of(data)[1], TASK)


def test_an_interrupted_preprocessing_goes_on_with_the_cases_that_are_left(data, tmp_path, monkeypatch):
    from segkit.training import prepare

    read = []

    def reading(pair, task, *how):
        read.append(pair.case)
        if len(read) == 4:
            raise KeyboardInterrupt
        return read_case(pair, task, *how)

    monkeypatch.setattr(prepare, "read_case", reading)
    job = (
        pairs_of(data),
        TASK,
        {**SPATIAL, "schedule": EPOCHS},
        plain_network(),
        options(tmp_path, processes=1),
    )
    with pytest.raises(KeyboardInterrupt):
        train(*job)
    monkeypatch.setattr(run, "_train_network", lambda *_: None)
    with pytest.raises(TrainingDataError, match="train first"):
        train(*job)
    # The fingerprint reads both, preprocessing too; the second of these was interrupted.
    assert read == ["case0", "case1", "case0", "case1", "case1"]
    assert not (tmp_path / "work/raw").exists()
    (cases,) = (tmp_path / "work/preprocessed").glob("*/segkit_3d")
    assert sorted(path.name for path in cases.glob("*.pkl")) == ["case0.pkl", "case1.pkl"]


def test_cases_are_prepared_on_as_many_cores_as_cores_and_memory_allow(monkeypatch):
    from segkit.training.prepare import process_count

    pages = {"SC_PAGE_SIZE": 4096, "SC_AVPHYS_PAGES": 64 * 2**30 // 4096}
    monkeypatch.setattr(os, "sysconf", pages.get)
    assert process_count(None, 32) == 16
    assert process_count(None, 64) == 16
    assert process_count(None, 1) == 1
    assert process_count(40, 2) == 40


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


def test_pairs_come_from_the_labels_and_cases_asked_for(data, tmp_path):
    assert [pair.case for pair in pairs_of(data)] == ["case0", "case1"]
    (pair,) = pairs_of(data, cases=["case1"])
    assert pair.image.name == "case1_0000.nii.gz"
    other = tmp_path / "other"
    other.mkdir()
    (data / "labelsTr/case0.nii.gz").rename(other / "case0.nii.gz")
    assert pairs_of(data, labels=other, cases=["case0"])[0].label == other / "case0.nii.gz"
    with pytest.raises(TrainingDataError, match="every training image needs its label"):
        pairs_of(data, labels=other)
    with pytest.raises(TrainingDataError, match=r"case7_0000\.nii\.gz is missing"):
        pairs_of(data, cases=["case7"])
    with pytest.raises(TrainingDataError, match="none of the cases"):
        pairs_of(data, cases=[])


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
