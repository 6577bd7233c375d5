"""One CT through both phases, with networks that are simple rules; the folder as its container runs it."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("openvino")

import SimpleITK as sitk
from cascade.export import export
from cascade.model import build_network, load_network, save_network, save_plan
from cascade.pipeline import Cascade, CascadeSettings
from cascade.plan import CascadePlan, LocationPlan, OrgansPlan, load_plan
from cascade.preprocess import network_image, scaling_for
from cascade.region import find_region
from segkit.components import drop_side_parts
from segkit.errors import PlanError
from segkit.image import from_image
from segkit.labels import winners
from segkit.plan import Intensity

from .conftest import SUBMISSIONS, make_body_hu

WINDOW = Intensity(clip_low_hu=0, clip_high_hu=200, mean_hu=0, std_hu=100)
PLAN = CascadePlan(
    location=LocationPlan(size=(32, 32, 32), smallest_part_ml=1.0, window=WINDOW),
    organs=OrgansPlan(spacing_mm=(2.0, 2.0, 2.0), patch=(24, 24, 24), margin_mm=6.0, window=WINDOW),
)


class Threshold:
    """A network that knows intensities only: each label from a value (in 100 HU) on."""

    def __init__(self, classes, *thresholds):
        self.classes, self.thresholds, self.calls = classes, thresholds, 0

    def logits(self, tile):
        self.calls += 1
        logits = np.zeros((self.classes, *tile.shape), dtype=np.float32)
        for label, threshold in enumerate(self.thresholds, start=1):
            logits[label] = 10 * (tile - threshold)
        return logits


def cascade_of(plan=PLAN, **changes):
    return Cascade(plan, Threshold(2, 0.5), Threshold(14, 0.5), **changes)


def ct_of(array, spacing=(2.0, 2.0, 2.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return from_image(image)


def scan(shape, organ, background=-50):
    array = np.full(shape, background, dtype=np.int16)
    array[organ] = 150
    return array


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


ORGAN = (slice(10, 40), slice(20, 70), slice(25, 60))


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (0.9, 0.9, 5.0), (3.0, 1.0, 1.0)])
@pytest.mark.parametrize(
    "direction",
    [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, 0, 1, 0, 1, 0), (0.96, -0.28, 0, 0.28, 0.96, 0, 0, 0, 1)],
)
def test_an_organ_is_found_where_it_lies_whatever_the_header(spacing, direction):
    array = scan((60, 100, 90), ORGAN)
    ct = ct_of(array, spacing, direction)
    labels = ct.orientation.to_stored(cascade_of().segment(ct))
    assert labels.dtype == np.uint8
    # The surface is interpolated on a grid that may be coarser than the scan's.
    assert dice(labels == 1, array > 100) > 0.93
    shift = np.argwhere(labels == 1).mean(axis=0) - np.argwhere(array > 100).mean(axis=0)
    assert np.abs(shift * spacing[::-1]).max() < 1.0, "half a voxel of the network's grid"


def test_nothing_found_is_an_empty_map_and_phase_2_does_not_run():
    cascade = cascade_of()
    assert not cascade.segment(ct_of(scan((20, 30, 40), (slice(0, 0),) * 3))).any()
    assert cascade.organs.calls == 0


def test_air_is_an_empty_map_and_no_network_runs():
    cascade = cascade_of()
    assert not cascade.segment(ct_of(np.full((5, 6, 7), -1024, dtype=np.int16))).any()
    assert cascade.location.calls == 0


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 1, 1), (3, 2, 5), (200, 3, 3)])
def test_one_slice_and_tiny_volumes_work(shape):
    organ = tuple(slice(size // 4, max(1, 3 * size // 4)) for size in shape)
    plan = CascadePlan(
        location=LocationPlan(size=(32, 32, 32), smallest_part_ml=0.0, window=WINDOW), organs=PLAN.organs
    )
    array = scan(shape, organ)
    labels = cascade_of(plan).segment(ct_of(array))
    assert labels.shape == shape
    assert (labels[array > 100] == 1).mean() > 0.5


def test_parts_too_small_for_an_organ_are_no_region():
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[1, 1, 1] = True
    arguments = ((20, 40, 10), (1.0, 1.0, 10.0))  # a voxel of the mask is 2 x 4 x 10 mm
    assert find_region(mask, *arguments, smallest_part_ml=0.081, margin_mm=0.0) is None
    region = find_region(mask, *arguments, smallest_part_ml=0.079, margin_mm=0.0)
    assert region.box == (slice(2, 4), slice(4, 8), slice(1, 2))
    wider = find_region(mask, *arguments, smallest_part_ml=0.079, margin_mm=3.0)
    assert wider.box == (slice(0, 7), slice(1, 11), slice(0, 3))


def test_the_mask_on_a_grid_covers_what_it_covers_on_the_scan():
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[2:6, 3:5, 1:7] = True
    region = find_region(mask, (16, 80, 24), (1.0, 1.0, 1.0), smallest_part_ml=0.0, margin_mm=0.0)
    assert region.on_grid((8, 20, 18)).all()
    whole = find_region(mask, (16, 80, 24), (1.0, 1.0, 1.0), smallest_part_ml=0.0, margin_mm=99.0)
    assert np.array_equal(whole.on_grid((16, 80, 24)), np.kron(mask, np.ones((2, 10, 3), dtype=bool)))


def test_tiles_without_region_are_not_run():
    array = scan((100, 40, 40), (slice(2, 12), slice(5, 35), slice(5, 35)))
    array[88:98, 5:35, 5:35] = 150
    cascade = cascade_of()
    labels = cascade.segment(ct_of(array))
    # 5 x 2 x 2 tiles cover the box; the middle layers hold nothing.
    assert 0 < cascade.organs.calls <= 16
    assert labels[5, 20, 20] == 1


def test_only_the_largest_part_of_an_organ_is_left():
    array = scan((40, 60, 60), (slice(5, 30), slice(5, 30), slice(5, 30)))
    array[32:38, 50:56, 50:56] = 150
    labels = cascade_of().segment(ct_of(array))
    assert labels[15, 15, 15] == 1
    assert not labels[31:, 45:, 45:].any()


def test_side_parts_become_background_even_where_another_organ_is_second():
    logits = np.zeros((3, 1, 1, 9), dtype=np.float32)
    logits[1, 0, 0, :4] = 5
    logits[1, 0, 0, 6:8] = 5
    logits[2, 0, 0, 6:8] = 4
    drop_side_parts(logits, winners(logits), (1, 2))
    assert winners(logits)[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_a_region_too_large_for_the_memory_is_run_on_a_coarser_grid(caplog):
    array = scan((60, 100, 90), ORGAN)
    limit = 16 * 4 * 30**3
    labels = cascade_of(settings=CascadeSettings(logits_limit_bytes=limit)).segment(
        ct_of(array, (8.0, 8.0, 8.0))
    )
    assert "coarser" in caplog.text
    assert dice(labels == 1, array > 100) > 0.8


def test_percentiles_of_the_whole_scan_set_the_range_and_air_does_not_shift_the_mean():
    array = np.full((20, 20, 20), -1000, dtype=np.int16)
    array[5:15, 2:18, 2:18] = np.random.default_rng(1).integers(-100, 200, (10, 16, 16))
    low, high = np.percentile(array, (5, 95))
    image = network_image(array, array.shape, scaling_for(array, None))
    inside = np.clip((array - low) / (high - low), 0, 1)
    above = inside[inside > 0]
    assert np.allclose(image, (inside - above.mean()) / above.std(), atol=1e-4)


@pytest.mark.parametrize("value", [-1000, 0, 3000])
def test_a_constant_scan_is_scaled_to_finite_values(value):
    array = np.full((4, 5, 6), value, dtype=np.int16)
    assert np.isfinite(network_image(array, (8, 8, 8), scaling_for(array, None))).all()


def test_a_plan_is_read_back_as_it_was_written(tmp_path):
    save_plan(tmp_path, PLAN)
    assert load_plan(tmp_path) == PLAN


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"location": {"sise": 1}, "organs": {}}'])
def test_what_is_no_plan_is_said_in_one_line(tmp_path, text):
    (tmp_path / "plans.json").write_text(text)
    with pytest.raises(PlanError, match=r"plans\.json is no plan of a cascade"):
        load_plan(tmp_path)


def test_a_training_that_diverged_is_not_saved(tmp_path):
    network = build_network(PLAN, "location")
    with torch.no_grad():
        network.classify.bias[0] = float("inf")
    with pytest.raises(PlanError, match="diverged"):
        save_network(tmp_path, "location", network)
    assert not list(tmp_path.iterdir())


def test_missing_and_foreign_weights_are_refused(tmp_path):
    with pytest.raises(PlanError, match=r"location\.safetensors is missing"):
        load_network(tmp_path, PLAN, "location")
    save_network(tmp_path, "location", build_network(PLAN, "location"))
    (tmp_path / "location.safetensors").rename(tmp_path / "organs.safetensors")
    with pytest.raises(PlanError, match="does not hold the weights"):
        load_network(tmp_path, PLAN, "organs")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """What the image holds in /workspace, with random weights for small tiles."""
    folder = tmp_path_factory.mktemp("workspace")
    plan = CascadePlan(
        location=LocationPlan(size=(64, 64, 64), smallest_part_ml=0.0),
        organs=OrgansPlan(spacing_mm=(4.0, 4.0, 4.0), patch=(32, 32, 32)),
    )
    torch.manual_seed(1)
    save_plan(folder / "weights", plan)
    for phase in ("location", "organs"):
        save_network(folder / "weights", phase, build_network(plan, phase))
    (folder / "weights").rename(folder / "trained")
    export(folder / "trained", folder / "weights")
    for name in ("predict.sh", "predict.py", "settings.json"):
        shutil.copy(SUBMISSIONS / "cascade" / name, folder)
    shutil.copytree(SUBMISSIONS / "cascade/cascade", folder / "cascade")
    return folder


def run(workspace, tmp_path, *options):
    inputs, outputs = tmp_path / "inputs", tmp_path / "outputs"
    inputs.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(SUBMISSIONS / "segkit"), "PATH": path}
    return subprocess.run(
        ["sh", "predict.sh", "--inputs", inputs, "--outputs", outputs, *options],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def write(path, array):
    path.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.5, 1.0, 2.5))
    image.SetOrigin((10, -20, 30))
    image.SetDirection((-1, 0, 0, 0, 0, 1, 0, 1, 0))
    sitk.WriteImage(image, str(path))


@pytest.mark.slow
def test_every_case_gets_its_label_map_on_its_own_grid_and_torch_agrees(workspace, tmp_path):
    write(tmp_path / "inputs/a_0000.nii.gz", make_body_hu((40, 80, 76)))
    write(tmp_path / "inputs/one.slice_0000.nii.gz", make_body_hu((1, 40, 40)))
    write(tmp_path / "inputs/air_0000.nii.gz", np.full((5, 6, 7), -1024, dtype=np.int16))

    done = run(workspace, tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    written = {path.name: sitk.ReadImage(str(path)) for path in (tmp_path / "outputs").iterdir()}
    assert sorted(written) == ["a.nii.gz", "air.nii.gz", "one.slice.nii.gz"]
    for name, labels in written.items():
        image = sitk.ReadImage(str(tmp_path / "inputs" / name.replace(".nii.gz", "_0000.nii.gz")))
        assert labels.GetPixelID() == sitk.sitkUInt8
        for geometry in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(labels, geometry)() == getattr(image, geometry)()
    assert not sitk.GetArrayFromImage(written["air.nii.gz"]).any()
    assert sitk.GetArrayFromImage(written["a.nii.gz"]).any()

    done = run(workspace, tmp_path, "--weights", workspace / "trained", "--set", "engine=torch")
    assert done.returncode == 0, done.stderr
    from_torch = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "outputs/a.nii.gz")))
    assert (from_torch == sitk.GetArrayFromImage(written["a.nii.gz"])).mean() > 0.98


def test_a_broken_file_and_empty_inputs_are_said_in_one_line(workspace, tmp_path):
    done = run(workspace, tmp_path)
    assert done.returncode == 2
    assert "no <case>_0000.nii.gz" in done.stderr
    (tmp_path / "inputs/a_0000.nii.gz").write_bytes(b"broken")
    done = run(workspace, tmp_path)
    assert done.returncode == 1
    assert "a_0000.nii.gz: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_the_compiled_networks_says_which_file_is_missing(workspace, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/plans.json").write_text(PLAN.to_json())
    (tmp_path / "inputs").mkdir()
    write(tmp_path / "inputs/a_0000.nii.gz", make_body_hu((4, 8, 8)))
    done = run(workspace, tmp_path, "--weights", tmp_path / "model", "--mode", "exact")
    assert done.returncode == 2
    assert "location.xml or its .bin is missing" in done.stderr
    assert "Traceback" not in done.stderr
