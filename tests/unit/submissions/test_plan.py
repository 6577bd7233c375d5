from __future__ import annotations

import pytest

pytest.importorskip("torch")

from segkit.errors import PlanError
from segkit.plan import Plan, from_nnunet

from .conftest import make_tiny_plan
from .nnunet_files import dataset_json, plans_json, plans_json_v20


def test_a_plan_survives_the_way_through_json():
    plan = make_tiny_plan(orientation="stored", source={"trainer": "mine"})
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"network": {}}', '{"network": 3}'])
def test_a_text_that_is_no_plan_is_refused_with_the_mend(text):
    with pytest.raises(PlanError, match=r"weights/plans\.json is no segkit plan .*segkit\.convert"):
        Plan.from_json(text, where="weights/plans.json")


@pytest.mark.parametrize("plans", [plans_json(), plans_json_v20()], ids=["2.3 and later", "2.0 to 2.2"])
def test_plans_of_old_and_new_nnunet_describe_the_same_model(plans):
    plan = from_nnunet(plans, dataset_json(), "3d_fullres", "stored")
    expected = make_tiny_plan(orientation="stored", source=plan.source)
    assert plan == expected


def test_a_configuration_inherits_what_it_does_not_say():
    plans = plans_json()
    plans["configurations"]["coarse"] = {"inherits_from": "3d_fullres", "spacing": [6.0, 4.0, 4.0]}
    plan = from_nnunet(plans, dataset_json(), "coarse", "stored")
    assert plan.spacing_mm == (6.0, 4.0, 4.0)
    assert plan.patch == (16, 16, 16)


def test_labels_given_as_text_are_understood():
    dataset = {**dataset_json(), "labels": {"background": "0", "one": "1", "two": "2"}}
    assert from_nnunet(plans_json(), dataset, "3d_fullres", "stored").labels == ("background", "one", "two")


def changed(where: str, value) -> dict:
    plans = plans_json()
    target = plans
    *path, last = where.split("/")
    for key in path:
        target = target[key]
    target[last] = value
    return plans


ARCHITECTURE = "configurations/3d_fullres/architecture"


@pytest.mark.parametrize(
    ("plans", "reason"),
    [
        (changed(f"{ARCHITECTURE}/network_class_name", "x.Primus"), "Primus"),
        (changed(f"{ARCHITECTURE}/arch_kwargs/nonlin", "torch.nn.GELU"), "LeakyReLU"),
        (changed(f"{ARCHITECTURE}/arch_kwargs/conv_op", "torch.nn.modules.conv.Conv1d"), "Conv1d"),
        (changed(f"{ARCHITECTURE}/arch_kwargs/norm_op", "torch.nn.BatchNorm3d"), "InstanceNorm"),
        (changed("configurations/3d_fullres/patch_size", [16, 16]), "three-dimensional"),
        (
            changed("configurations/3d_fullres/normalization_schemes", ["ZScoreNormalization"]),
            "CTNormalization",
        ),
        (changed("transpose_forward", [2, 0, 1]), "transpose"),
        (changed("configurations/3d_fullres/previous_stage", "3d_lowres"), "cascade"),
        (changed("configurations", {"2d": {}}), "no configuration 3d_fullres"),
    ],
)
def test_a_model_that_segkit_does_not_run_is_refused_by_name(plans, reason):
    with pytest.raises(PlanError, match=reason):
        from_nnunet(plans, dataset_json(), "3d_fullres", "stored")


def test_regions_are_refused():
    dataset = {**dataset_json(), "labels": {"background": 0, "whole": [1, 2], "core": 2}}
    with pytest.raises(PlanError, match="region"):
        from_nnunet(plans_json(), dataset, "3d_fullres", "stored")


def test_a_patch_that_the_network_cannot_halve_is_refused():
    with pytest.raises(PlanError, match="patch"):
        make_tiny_plan(patch=(15, 16, 16))
