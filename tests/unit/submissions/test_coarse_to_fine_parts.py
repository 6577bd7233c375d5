"""coarse_to_fine's parts: rules of the coarse map, truncated network, costs, plans, exact coordinates."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from coarse_to_fine.cleaning import centroid_z, cleaned
from coarse_to_fine.cost import costs, gmac
from coarse_to_fine.model import load_in_torch, plan_of
from coarse_to_fine.network import TruncatedUNet
from coarse_to_fine.phantoms import fitted
from coarse_to_fine.plan import CoarseRules, MethodPlan, load_plan
from segkit.errors import PlanError, SegkitError
from segkit.labels import labels_from_logits
from segkit.model import save_model
from segkit.network import PlainConvUNet
from torch.nn import functional

from .conftest import make_tiny_plan

RULES = CoarseRules(reach_voxels=10)
SINGLE = MethodPlan().single


def deep_plan(channels_out=3, stages=4):
    """A plan of four stages, as many as it takes for a head at stride 4."""
    network = replace(
        make_tiny_plan().network,
        channels_out=channels_out,
        features=(4, 6, 8, 10)[:stages],
        kernels=((3, 3, 3),) * stages,
        strides=((1, 1, 1), *((2, 2, 2),) * (stages - 1)),
        convs_encoder=(2,) * stages,
        convs_decoder=(2,) * (stages - 1),
    )
    return make_tiny_plan(network=network, labels=tuple(f"label{number}" for number in range(channels_out)))


def deep_network(**changes):
    torch.manual_seed(0)
    return PlainConvUNet(deep_plan(**changes).network).eval()


# ---- the coarse map ------------------------------------------------------------------------------


def coarse_map(*painted, shape=(40, 12, 12)):
    labels = np.zeros(shape, dtype=np.uint8)
    for label, z, size in painted:
        labels[z : z + size, 2 : 2 + size, 2 : 2 + size] = label
    return labels


def test_parts_far_above_and_below_the_liver_go():
    labels = coarse_map((1, 18, 4), (3, 26, 3), (11, 2, 3), (13, 35, 3))
    # Middles: liver 19.5, spleen 27, stomach 3, kidney 36.
    assert set(np.unique(cleaned(labels, RULES, SINGLE))) == {0, 1, 3}


def test_a_part_at_the_reach_stays_and_one_beyond_goes():
    labels = coarse_map((1, 10, 3), (3, 20, 3))
    assert 3 in cleaned(labels, RULES, SINGLE)
    assert 3 not in cleaned(labels, CoarseRules(reach_voxels=9.99), SINGLE)


def test_organs_that_touch_are_one_part():
    labels = coarse_map((1, 18, 4))
    labels[22:34, 2:4, 2:4] = 5  # an aorta that begins at the liver and ends far away
    assert 5 in cleaned(labels, CoarseRules(reach_voxels=4), SINGLE)


def test_without_a_liver_nothing_is_too_far():
    labels = coarse_map((3, 2, 3), (13, 35, 3))
    assert set(np.unique(cleaned(labels, RULES, SINGLE))) == {0, 3, 13}


def test_the_liver_is_its_largest_part():
    labels = coarse_map((1, 30, 2), (1, 4, 5), (3, 12, 2))
    assert centroid_z(labels == 1) == 6
    assert cleaned(labels, RULES, SINGLE)[30:32].sum() == 0


def test_labels_that_do_not_count_are_dropped_and_others_lose_their_smaller_parts():
    labels = coarse_map((1, 18, 4))
    labels[18:20, 8:10, 8:10] = 3
    labels[22, 10, 10] = 3
    for column, label in enumerate((7, 8, 12)):
        labels[24:26, 8:10, 3 * column : 3 * column + 2] = label
    kept = cleaned(labels, RULES, SINGLE)
    assert set(np.unique(kept)) == {0, 1, 3}
    assert (kept == 3).sum() == 8
    assert (labels == 7).any()  # the map that was given is not changed


def test_an_empty_map_stays_empty():
    assert not cleaned(np.zeros((4, 5, 6), dtype=np.uint8), RULES, SINGLE).any()


# ---- the truncated network -----------------------------------------------------------------------


@pytest.mark.parametrize("head", [0, 1, 2])
def test_a_truncated_network_gives_the_logits_of_its_head(head):
    network = deep_network()
    image = torch.randn(1, 1, 16, 24, 32)
    with torch.inference_mode():
        wanted = network.deep_logits(image)[head]
        have = TruncatedUNet(network, head)(image)
    assert have.shape[2:] == image.shape[2:]
    assert wanted.shape[2] == 16 // 2**head
    enlarged = functional.interpolate(wanted, image.shape[2:], mode="trilinear", align_corners=False)
    assert torch.allclose(have, enlarged, atol=1e-6)


def test_planes_may_be_halved_more_often_than_slices():
    plan = replace(deep_plan().network, strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2)))
    network = TruncatedUNet(PlainConvUNet(plan), 2)
    assert network.enlarge_by == (2.0, 4.0, 4.0)
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 8, 16, 24)).shape == (1, 3, 8, 16, 24)


@pytest.mark.parametrize("head", [3, -1])
def test_a_head_that_there_is_not_is_refused(head):
    with pytest.raises(PlanError, match="its heads are 0, the finest, to 2"):
        TruncatedUNet(deep_network(), head)


def test_openvino_runs_the_truncated_network_as_torch_does(tmp_path):
    pytest.importorskip("openvino")
    from coarse_to_fine.export import export
    from segkit.openvino_engine import OpenVINOEngine

    weights = models_in(tmp_path / "weights")
    export(weights, tmp_path / "model")
    assert load_plan(tmp_path / "model") == load_plan(weights)
    tile = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    for name in ("coarse", "organs"):
        network = load_in_torch(weights, load_plan(weights), name)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(tile)[None, None])[0].numpy()
        have = OpenVINOEngine(tmp_path / "model" / name / "network.xml").logits(tile)
        assert np.abs(have - wanted).max() < 2e-3


def models_in(folder):
    """Four tiny models and the rules."""
    for name in MethodPlan().models:
        torch.manual_seed(len(name))
        save_model(folder / name, deep_plan(), PlainConvUNet(deep_plan().network).state_dict())
    (folder / "plans.json").write_text(MethodPlan().to_json())
    return folder


# ---- costs ---------------------------------------------------------------------------------------


def test_gmac_of_a_single_convolution():
    with torch.device("meta"):
        layer = torch.nn.Conv3d(1, 5, 3, stride=2, padding=1)
    assert gmac(layer, (8, 8, 8)) == pytest.approx(4**3 * 5 * 27 / 1e9)
    with torch.device("meta"):
        layer = torch.nn.ConvTranspose3d(1, 5, 2, 2)
    assert gmac(layer, (8, 8, 8)) == pytest.approx(8**3 * 5 * 8 / 1e9)


def test_the_published_networks_have_the_published_cost(submissions):
    """30.8 million parameters each, and 524 GMAC of which 230 are left at the head of stride 4."""
    published = {cost.name: cost for cost in costs(submissions / "coarse_to_fine/plans/published")}
    assert list(published) == ["coarse", "tumour1", "tumour2", "organs"]
    assert all(round(cost.parameters / 1e6, 1) == 30.8 for cost in published.values())
    assert published["coarse"].whole_gmac == pytest.approx(524, abs=1)
    assert published["coarse"].run_gmac == pytest.approx(230, abs=1)
    assert published["organs"].run_gmac == published["organs"].whole_gmac


def test_published_recipes_and_published_plans_agree(submissions):
    plans = submissions / "coarse_to_fine/plans"
    for name in ("coarse", "tumour1", "tumour2", "organs"):
        recipe = json.loads((plans / f"{name}.full.json").read_text())
        plan = plan_of(plans / "published", name)
        assert recipe["patch_size"] == list(plan.patch)
        assert recipe["spacing"] == pytest.approx(plan.spacing_mm, abs=1e-4)
    rules = load_plan(plans / "published")
    assert rules.coarse.reach_voxels == pytest.approx(170 / 3)
    assert rules == replace(MethodPlan(), source=rules.source)


# ---- plans ---------------------------------------------------------------------------------------


def test_rules_survive_their_file():
    plan = MethodPlan(coarse=CoarseRules(head=1, dropped=(2, 3)), tumours=("only",), source={"from": "here"})
    assert MethodPlan.from_json(plan.to_json(), where="x") == plan
    assert plan.models == ("coarse", "only", "organs")


@pytest.mark.parametrize("text", ["{", "[]", '{"coarse": {"reach": 3}}', '{"margin": 1, "coarse": {}}'])
def test_what_are_no_rules_is_refused(text):
    with pytest.raises(PlanError, match=r"weights/plans\.json holds no rules"):
        MethodPlan.from_json(text, where="weights/plans.json")


def test_a_folder_without_rules_says_what_is_missing(tmp_path):
    with pytest.raises(PlanError, match="beside the folders of the models"):
        load_plan(tmp_path)


def test_a_model_that_was_not_trained_on_turned_volumes_is_refused(tmp_path):
    folder = tmp_path / "coarse"
    folder.mkdir()
    (folder / "plans.json").write_text(make_tiny_plan(orientation="stored").to_json())
    with pytest.raises(PlanError, match="in LPS"):
        plan_of(tmp_path, "coarse")


def test_shipped_weights_are_whole_small_and_have_a_card(submissions):
    weights = submissions / "coarse_to_fine/weights"
    plan = load_plan(weights)
    assert sum(path.stat().st_size for path in weights.rglob("*") if path.is_file()) < 20e6
    assert (weights / "MODEL_CARD.md").is_file()
    for name in plan.models:
        load_in_torch(weights, plan, name)
    # The same distance as in the source, whose slices are 2.301 mm thick.
    slice_mm = plan_of(weights, "coarse").spacing_mm[0]
    assert plan.coarse.reach_voxels * slice_mm == pytest.approx(170 / 3 * 2.3009669, rel=1e-3)
    assert plan.single == MethodPlan().single


# ---- beginning with another model ----------------------------------------------------------------


def test_a_deeper_network_lends_its_finer_stages_and_labels_by_name():
    deeper, mine = deep_network(channels_out=3).state_dict(), deep_network(channels_out=3, stages=3)
    own = mine.state_dict()
    lent = fitted(deeper, ("background", "liver", "tumour"), own, ("background", "tumour", "spleen"))
    # The decoder counts from the coarsest stage.
    for name, place in (
        ("encoder.stages.2.0", "encoder.stages.2.0"),
        ("decoder.stages.1", "decoder.stages.2"),
    ):
        weight = "convs.1.conv.weight"
        assert torch.equal(lent[f"{name}.{weight}"], deeper[f"{place}.{weight}"])
    head, theirs = lent["decoder.seg_layers.1.weight"], deeper["decoder.seg_layers.2.weight"]
    assert torch.equal(head[0], theirs[0])
    assert torch.equal(head[1], theirs[2])
    assert torch.equal(head[2], own["decoder.seg_layers.1.weight"][2])
    mine.load_state_dict(lent)


def test_a_network_of_another_width_lends_nothing():
    wider = PlainConvUNet(replace(deep_plan().network, features=(5, 6, 8, 10))).state_dict()
    with pytest.raises(SegkitError, match=r"no encoder\.stages\.0\.0\.convs\.0\.conv\.weight of shape"):
        fitted(wider, deep_plan().labels, deep_network().state_dict(), deep_plan().labels)


# ---- exact coordinates ---------------------------------------------------------------------------


def smooth_scores(seed=0, shape=(3, 12, 9, 10)):
    scores = torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))
    return functional.avg_pool3d(scores[None], 3, 1, 1)[0].numpy()


def test_labels_have_no_seams_wherever_a_volume_is_cut_into_slabs():
    """Each thread enlarges a slab of slices; where they are cut changes no voxel."""
    scores = smooth_scores()
    whole = np.empty((61, 31, 33), dtype=np.uint8)
    labels_from_logits(scores, whole, threads=1)
    exact = functional.interpolate(
        torch.from_numpy(scores.astype(np.float64))[None], whole.shape, mode="trilinear", align_corners=False
    )[0]
    best = exact.topk(2, dim=0).values
    sure = (best[0] - best[1] > 1e-6).numpy()
    assert np.array_equal(whole[sure], exact.argmax(0).numpy()[sure])
    assert sure.mean() > 0.999
    for threads in (2, 3, 5, 8):
        slabs = np.empty_like(whole)
        labels_from_logits(scores, slabs, threads=threads)
        assert np.array_equal(slabs, whole)


def test_slabs_that_are_enlarged_by_themselves_would_have_seams():
    """What is avoided here: the source enlarges each slab from its own first to its own last slice."""
    scores = torch.from_numpy(smooth_scores())[None]
    whole = functional.interpolate(scores, (60, 31, 33), mode="trilinear", align_corners=True)
    slabs = [
        functional.interpolate(part, (20, 31, 33), mode="trilinear", align_corners=True)
        for part in scores.split(4, dim=2)
    ]
    differs = (torch.cat(slabs, dim=2).argmax(1) != whole.argmax(1)).float().mean()
    assert differs > 0.01
