"""segkit.training.phantoms: stores, renderings, and a loop that goes on where it stopped."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # tiny patches: threads only wait for each other

from segkit.errors import SegkitError
from segkit.model import load_model
from segkit.plan import Intensity
from segkit.training.phantoms import intensity, space
from segkit.training.phantoms.__main__ import main
from segkit.training.phantoms.loop import PhantomTrainer
from segkit.training.phantoms.objective import (
    DiceCounter,
    deep_dice_and_cross_entropy,
    dice_and_cross_entropy,
)
from segkit.training.phantoms.render import Renderer, Rendering
from segkit.training.phantoms.schedule import Schedule
from segkit.training.phantoms.speed import prepare_device, with_channels_last
from segkit.training.phantoms.store import BODY, read_store, read_volume, write_volume
from segkit.training.phantoms.train import read_recipe
from segkit.training.phantoms.trainee import Trainee, trainee_of

from .nnunet_files import plain_unet

WINDOW = {"clip_low_hu": -200, "clip_high_hu": 300, "mean_hu": 40, "std_hu": 60}
CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[3]


def make_arrays(shape=(24, 40, 44)):
    """A body in air; organ 1 on the patient's right (low x), organ 2 on his left."""
    hu = np.full(shape, -1000, dtype=np.int16)
    hu[:, 6:-6, 6:-6] = -100
    labels = np.zeros(shape, dtype=np.uint8)
    labels[6:18, 12:28, 8:16] = 1
    labels[6:18, 12:28, 28:36] = 2
    hu[labels == 1], hu[labels == 2] = 60, 120
    return hu, labels


@pytest.fixture
def store(tmp_path):
    """Three volumes of 3 x 2 x 2 mm."""
    folder = tmp_path / "store"
    folder.mkdir()
    hu, labels = make_arrays()
    for number in range(3):
        write_volume(
            folder / f"case{number}.safetensors",
            hu + number,
            labels,
            (3.0, 2.0, 2.0),
            kind="phantom",
            facts={"generator": 2},
        )
    return folder


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


def rendering(**changes):
    return Rendering(
        **{"patch": (16, 24, 24), "spacing_mm": (3.0, 2.0, 2.0), "window": Intensity(**WINDOW), **changes}
    )


def rendered(store, count=6, **changes):
    renderer = Renderer(read_store([store]), rendering(**changes), device=CPU, seed=3)
    return [renderer.sample(number) for number in range(count)]


def run(recipe, store, work, *options):
    return main(
        [str(recipe), str(store), "--work", str(work), "--device", "cpu", "--bfloat16", "no", *options]
    )


def test_a_volume_comes_back_from_its_store_cropped_to_the_body(tmp_path):
    hu, labels = make_arrays((24, 60, 64))
    wide = np.full((24, 200, 200), -1000, dtype=np.int16), np.zeros((24, 200, 200), dtype=np.uint8)
    wide[0][:, 60:120, 70:134], wide[1][:, 60:120, 70:134] = hu, labels
    # Turned views must be stored as they look, not as they lie in memory.
    write_volume(
        tmp_path / "case.safetensors", wide[0][::-1], wide[1][::-1], (3.0, 2.0, 2.0), kind="phantom", facts={}
    )
    volume = read_volume(tmp_path / "case.safetensors")
    assert volume.hu.shape[1] < 100
    assert volume.labels.shape == volume.hu.shape
    assert int((volume.labels == 1).sum()) == int((labels == 1).sum())
    assert (volume.hu[volume.labels == 2] == 120).all()
    assert volume.medians_hu == {1: 60.0, 2: 120.0}


def test_places_lie_in_their_labels(store):
    volume = read_store([store])[0]
    assert set(volume.places) == {1, 2, BODY}
    for label in (1, 2):
        assert all(volume.labels[tuple(place)] == label for place in volume.places[label])
    assert all(volume.hu[tuple(place)] > -500 for place in volume.places[BODY])


def test_a_damaged_volume_is_refused_with_a_mend(store):
    (store / "case1.safetensors").write_bytes(b"no tensors")
    with pytest.raises(SegkitError, match=r"case1.*make the store anew"):
        read_store([store])


def test_the_same_number_gives_the_same_patch_and_another_one_another(store):
    first, again, other = rendered(store)[2], rendered(store)[2], rendered(store)[3]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_left_stays_left_however_a_patch_is_turned(store):
    seen = 0
    for _, labels in rendered(store, 40, patch=(24, 40, 44)):
        columns = [torch.nonzero(labels == label)[:, 2].float() for label in (1, 2)]
        if all(len(column) > 50 for column in columns):
            assert columns[0].mean() < columns[1].mean()
            seen += 1
    assert seen > 10


def test_a_straight_patch_shows_the_volume_as_it_is(store):
    plain = rendering(
        patch=(24, 40, 44),
        deformation=space.STRAIGHT,
        randomisation=intensity.Randomisation(
            **{**vars(intensity.PLAIN), "blur_voxels": 0.0, "noise_sd_hu": (0.001, 0.002)}
        ),
        sampling=space.Sampling(slabs=0.0),
    )
    volume = read_store([store])[0]
    image, labels = Renderer([volume], plain, device=CPU, seed=1).sample(0)
    expected = (volume.hu.float().clamp(-200, 300) - 40) / 60
    assert labels.shape == (24, 40, 44)
    middle = tuple(slice((have - 20) // 2, (have + 20) // 2) for have in volume.hu.shape)
    centre = tuple(slice((have - 20) // 2, (have + 20) // 2) for have in labels.shape)
    assert torch.equal(labels[centre], volume.labels[middle])
    assert (image[centre] - expected[middle]).abs().max() < 0.01


def test_tissues_without_a_label_move_apart():
    fat_minus_muscle = []
    for seed in range(60):
        table, _ = intensity.draw_table(
            np.random.default_rng(seed),
            intensity.Randomisation(scrambled=0, synthetic=0, unchanged=0, erase=0),
            {},
        )
        fat, muscle = table[0][-100 - intensity.LOWEST_HU], table[0][50 - intensity.LOWEST_HU]
        fat_minus_muscle.append(fat - muscle)
    # One shift for all background would leave their difference at exactly -150.
    assert np.std(fat_minus_muscle) > 15


def test_air_stays_air_in_every_drawing():
    for seed in range(30):
        table, _ = intensity.draw_table(
            np.random.default_rng(seed), intensity.Randomisation(erase=0), {1: 60.0}
        )
        assert np.allclose(table[:, -1000 - intensity.LOWEST_HU], -1000)


def test_random_convolutions_keep_strength_and_edges_and_change_contrast():
    image = torch.ones(16, 16, 40)
    image[:, :, 20:] = -1.5
    random = torch.Generator().manual_seed(3)
    contrasts = []
    for _ in range(6):
        changed = intensity.randomly_convolved(image, random)
        assert changed.shape == image.shape
        assert float(changed.norm()) == pytest.approx(float(image.norm()), rel=1e-3)
        left, right = changed[5:11, 5:11, 5:15], changed[5:11, 5:11, 25:35]
        # What is flat stays flat, away from its border.
        assert max(float(left.std()), float(right.std())) < 1e-3
        contrasts.append(float(left.mean() - right.mean()))
    assert np.std(contrasts) > 0.05


def test_noise_of_real_scans_replaces_the_drawn_one_in_its_share(store, tmp_path):
    rng = np.random.default_rng(0)
    hu, labels = make_arrays()
    grain = np.rint(rng.normal(0, 20, hu.shape)).astype(np.int16)
    scans = tmp_path / "scans"
    scans.mkdir()
    for number, array in enumerate((hu, hu + grain)):
        write_volume(scans / f"scan{number}.safetensors", array, labels, (3.0, 2.0, 2.0), kind="ct", facts={})
    smooth, noisy = read_store([scans])
    found = intensity.residual(noisy.hu)
    assert 12 < float(found[found != 0].std()) < 25
    assert float(intensity.residual(smooth.hu).abs().max()) < 12  # organs' borders are 160 HU
    draw = np.random.default_rng(1)
    assert intensity.patch_of_residual(found, (50, 60, 7), draw).shape == (50, 60, 7)

    def sds(share):
        # Scans without noise: whoever takes theirs has none.
        quiet = {"real_noise": share, "texture_sd_hu": 0.0, "streaks": 0.0, "noise_sd_hu": (40.0, 45.0)}
        rendering = Rendering(
            patch=(12, 20, 20),
            spacing_mm=(3.0, 2.0, 2.0),
            window=Intensity(**WINDOW),
            randomisation=intensity.Randomisation(**{**vars(intensity.PLAIN), **quiet}),
        )
        renderer = Renderer(read_store([store]), rendering, device=CPU, seed=1, noise_from=[smooth])
        return [float(renderer.sample(number)[0].diff(dim=2).abs().median()) for number in range(6)]

    assert max(sds(1.0)) < 1e-4 < 0.1 < max(sds(0.0))


def test_an_erased_organ_loses_its_label_and_its_intensity(store):
    always = intensity.Randomisation(**{**vars(intensity.PLAIN), "erase": 1.0})
    for image, labels in rendered(
        store, 12, randomisation=always, deformation=space.STRAIGHT, patch=(24, 40, 44)
    ):
        assert len(set(labels.unique().tolist()) & {1, 2}) <= 1
        assert torch.isfinite(image).all()


def test_what_was_not_scanned_is_zero_and_background(store):
    short = space.Sampling(slabs=1.0)
    heights = []
    for image, labels in rendered(store, 30, patch=(64, 24, 24), sampling=short):
        empty = (image == 0).flatten(1).all(dim=1)
        assert not labels[empty].any()
        heights.append(int((~empty).sum()))
    assert min(heights) < 20 < max(heights) <= 52


def test_the_whole_volume_is_seen_at_any_size(store):
    whole = space.Sampling(whole=True)
    found = [
        labels.unique().tolist() for _, labels in rendered(store, 20, patch=(16, 16, 16), sampling=whole)
    ]
    assert sum({1, 2} <= set(values) for values in found) > 10


def test_real_scans_keep_their_intensities(tmp_path):
    folder = tmp_path / "cts"
    folder.mkdir()
    hu, labels = make_arrays()
    write_volume(folder / "ct.safetensors", hu, labels, (3.0, 2.0, 2.0), kind="ct", facts={})
    still = intensity.Randomisation(thick_slices=0.0, gain=0.0, shift_hu=0.0)
    image, seen = rendered(folder, 1, patch=(24, 40, 44), randomisation=still, deformation=space.STRAIGHT)[0]
    assert image[seen == 1].median() == pytest.approx((60 - 40) / 60, abs=0.3)


def test_outputs_follow_the_recipe(store):
    as_one = tuple(int(label > 0) for label in range(15))
    assert {int(v) for _, labels in rendered(store, outputs=as_one) for v in labels.unique()} == {0, 1}


def test_the_loss_is_least_where_the_prediction_is_right():
    target = torch.randint(0, 3, (2, 8, 8, 8))
    right = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float() * 20
    coarse = right[:, :, ::2, ::2, ::2]
    assert dice_and_cross_entropy(right, target) < -0.99
    assert deep_dice_and_cross_entropy([right, coarse], target) < deep_dice_and_cross_entropy(
        [-right, coarse], target
    )


def test_dice_is_counted_over_all_patches():
    counter = DiceCounter(3)
    counter.add(torch.tensor([[1, 1, 0, 0]]), torch.tensor([[1, 0, 0, 0]]))
    counter.add(torch.tensor([[1, 0]]), torch.tensor([[1, 0]]))
    assert counter.by_class()[0] == pytest.approx(0.8)
    assert np.isnan(counter.by_class()[1])
    assert counter.mean() == pytest.approx(0.8)


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
        step = made._step

        def stopping():
            if made.standing.step == steps:
                raise KeyboardInterrupt
            return step()

        made._step = stopping
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
    trainer._step()
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
