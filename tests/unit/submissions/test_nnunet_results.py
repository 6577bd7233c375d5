"""What of nnU-Net's results folders is found, and what is refused by name."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json
import pickle

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

from segkit.errors import PlanError
from segkit.nnunet.bundle import load_bundle
from segkit.nnunet.convert import Options, convert
from segkit.nnunet.results import find, read_postprocessing

from .nnunet_results import REGIONS, Training, write_results
from .test_nnunet_bundle import pickled

FOUR = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")


def model(results, name="3d_fullres"):
    return results / f"nnUNetTrainer__nnUNetPlans__{name}"


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_bundle_holds_json_and_safetensors_alone(tmp_path):
    results = write_results(tmp_path / "results", Training(("2d",), folds=("0", "3")))
    convert(model(results, "2d"), tmp_path / "bundle")
    files = {path.relative_to(tmp_path / "bundle").as_posix() for path in (tmp_path / "bundle").rglob("*.*")}
    assert files == {"bundle.json", "2d/fold_0/model.safetensors", "2d/fold_3/model.safetensors"}
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.configurations["2d"].folds == ("0", "3")
    assert bundle.labels == {"background": 0, "one": 1, "two": 2}


def test_what_find_best_chose_is_taken_with_its_post_processing(tmp_path):
    results = write_results(tmp_path / "results", Training(FOUR))
    place = results / "ensembles" / "ensemble___a___b___0"
    place.mkdir(parents=True)
    pickled(place, [[1, 2], 2])
    chosen = [
        {"trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans", "configuration": name}
        for name in ("2d", "3d_cascade_fullres")
    ]
    # The path is that of the machine that trained.
    told = {
        "selected_model_or_models": chosen,
        "postprocessing_file": "/elsewhere/Dataset001/ensembles/ensemble___a___b___0/postprocessing.pkl",
    }
    (results / "inference_information.json").write_text(json.dumps({"best_model_or_ensemble": told}))
    bundle = convert(results, tmp_path / "bundle")
    assert bundle.ensemble == ("2d", "3d_cascade_fullres")
    assert set(bundle.configurations) == {"2d", "3d_cascade_fullres", "3d_lowres"}
    assert bundle.postprocessing == ((1, 2), (2,))


def test_several_models_and_no_choice_are_asked_about(tmp_path):
    results = write_results(tmp_path / "results", Training(("2d", "3d_fullres")))
    with pytest.raises(PlanError, match=r"2 models .*--configuration"):
        find(results)


def test_the_words_of_v1_name_configurations(tmp_path):
    results = write_results(tmp_path / "results", Training(("2d", "3d_fullres")))
    assert [each.configuration for each in find(results, ["3d"]).ensemble] == ["3d_fullres"]


def test_numbered_folds_come_before_fold_all(tmp_path):
    results = write_results(tmp_path / "results", Training(folds=("all", "1")))
    bundle = convert(results, tmp_path / "bundle")
    assert bundle.configurations["3d_fullres"].folds == ("1",)
    bundle = convert(results, tmp_path / "bundle", Options(folds=["all"]))
    assert bundle.configurations["3d_fullres"].folds == ("all",)


def test_a_cascade_without_its_first_stage_is_refused(tmp_path):
    results = write_results(tmp_path / "results", Training(("3d_cascade_fullres",)))
    with pytest.raises(PlanError, match="needs the labels of 3d_lowres"):
        convert(results, tmp_path / "bundle")


def test_a_missing_fold_or_checkpoint_is_named(tmp_path):
    results = write_results(tmp_path / "results", Training())
    with pytest.raises(PlanError, match=r"no fold_4/checkpoint_final\.pth.*folds 0"):
        convert(results, tmp_path / "bundle", Options(folds=["4"]))
    with pytest.raises(PlanError, match=r"checkpoint_best\.pth.*checkpoint_final\.pth"):
        convert(results, tmp_path / "bundle", Options(checkpoint="checkpoint_best.pth"))


@pytest.mark.parametrize("name", ["plans.pkl", "fold_0/model_final_checkpoint.model"])
def test_checkpoints_of_v1_are_refused_by_name(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(PlanError, match="nnU-Net v1"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("place", "change", "reason"),
    [
        ("architecture", {"network_class_name": "x.Primus"}, "Primus"),
        ("architecture", {"network_class_name": "x.ResidualUNet"}, "ResidualUNet"),
        ("settings", {"preprocessor_name": "Mine"}, "Mine"),
        ("settings", {"normalization_schemes": ["Histogram"]}, "Histogram"),
        ("settings", {"resampling_fn_data": "mine"}, "resampled by mine"),
        ("plans", {"image_reader_writer": "NaturalImage2DIO"}, "NaturalImage2DIO"),
        ("plans", {"label_manager": "Mine"}, "Mine"),
        ("arguments", {"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"}, "BatchNorm3d"),
        ("arguments", {"nonlin": "torch.nn.GELU"}, "GELU"),
        ("arguments", {"features_per_stage": [8, 8, 8]}, "trainer nnUNetTrainer builds another one"),
        ("labels", {"background": 0, "far": 300}, "8-bit"),
        ("labels", {"background": 0, "gap": 2}, "0, 1, 2"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, place, change, reason):
    results = write_results(tmp_path / "results", Training())

    def apply(content):
        settings = content.get("configurations", {}).get("3d_fullres", {})
        architecture = settings.get("architecture", {})
        places = {
            "plans": content,
            "settings": settings,
            "architecture": architecture,
            "arguments": architecture.get("arch_kwargs"),
        }
        if place == "labels":
            content["labels"] = change
        else:
            places[place].update(change)

    changed(model(results) / ("dataset.json" if place == "labels" else "plans.json"), apply)
    with pytest.raises(PlanError, match=reason):
        convert(results, tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "bundle.json").exists()


def test_regions_keep_their_order(tmp_path):
    results = write_results(tmp_path / "results", Training(labels=REGIONS))
    bundle = convert(results, tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle") == bundle
    assert (bundle.regions_order, bundle.foreground, bundle.outputs) == ((1, 2, 3), (1, 2, 3), 3)


class Evil:
    """Would write a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_post_processing_pickle_runs_nothing(tmp_path):
    path, trace = tmp_path / "postprocessing.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps(([Evil(trace)], [{"labels_or_regions": 1}])))
    with pytest.raises(PlanError, match="read safely"):
        read_postprocessing(path)
    assert not trace.exists()


def test_a_checkpoint_runs_nothing(tmp_path):
    results = write_results(tmp_path / "results", Training())
    trace = tmp_path / "trace"
    torch.save({"network_weights": Evil(trace)}, model(results) / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(PlanError, match="opened safely"):
        convert(results, tmp_path / "bundle")
    assert not trace.exists()


def test_the_json_that_nnunet_writes_says_the_same_as_its_pickle(tmp_path):
    told = {
        "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"] * 2,
        "postprocessing_kwargs": [{"labels_or_regions": [1, 2]}, {"labels_or_regions": 1}],
    }
    (tmp_path / "postprocessing.json").write_text(json.dumps(told))
    assert read_postprocessing(tmp_path / "postprocessing.json") == ((1, 2), (1,))
    assert read_postprocessing(pickled(tmp_path, [[1, 2], 1])) == ((1, 2), (1,))
