"""Shipped challenges say what the published rules say, and a broken file is explained."""

import json
from pathlib import Path

import pytest

from harness.challenge import Challenge, Contract, Direction, load_challenge, shipped_names
from harness.errors import ConfigurationError

GIB = 1024**3


def test_the_six_challenges_of_the_plan_are_shipped_and_valid():
    assert shipped_names() == ["flare21", "flare22", "flare23", "flare24-task1", "flare24-task2", "phantom"]
    assert {load_challenge(name).name for name in shipped_names()} == set(shipped_names())


@pytest.mark.parametrize(
    ("name", "memory_gib", "gpu"),
    [
        ("flare22", 28, True),
        ("flare23", 28, True),
        ("flare24-task1", 28, True),
        ("flare24-task2", 8, False),
        ("phantom", 8, False),
    ],
)
def test_limits_are_the_published_ones(name, memory_gib, gpu):
    limits = load_challenge(name).limits
    assert limits.memory_bytes == memory_gib * GIB
    assert limits.gpu is gpu


def test_flare22_charges_a_stuck_container_the_published_values():
    failed = {metric.key: metric.failed for metric in load_challenge("flare22").ranking.metrics}
    assert failed == {
        "dsc:organs": 0.0,
        "nsd:organs": 0.0,
        "runtime_s": 3600.0,
        "gpu_memory_auc_byte_s": 29_491_200 * 1024**2,
        "cpu_utilisation_auc_percent_s": 360_000.0,
    }


def test_flare22_counts_gpu_and_cpu_metrics_by_half():
    weights = {metric.key: metric.weight for metric in load_challenge("flare22").ranking.metrics}
    assert weights["gpu_memory_auc_byte_s"] == weights["cpu_utilisation_auc_percent_s"] == 0.5
    assert weights["dsc:organs"] == 1.0


def test_flare22_gives_two_gib_of_gpu_memory_for_free():
    assert load_challenge("flare22").gpu_memory_free_bytes == 2048 * 1024**2


def test_flare23_ranks_organs_and_tumour_apart_and_tolerates_15_seconds():
    ranking = load_challenge("flare23").ranking
    assert [metric.key for metric in ranking.metrics][:4] == [
        "dsc:organs",
        "nsd:organs",
        "dsc:tumour",
        "nsd:tumour",
    ]
    assert next(m.tolerance for m in ranking.metrics if m.metric == "runtime_s") == 15.0


def test_flare21_divides_the_averaged_rank_by_the_number_of_teams():
    assert load_challenge("flare21").ranking.divide_by_teams


@pytest.mark.parametrize(
    "name", ["flare21", "flare22", "flare23", "flare24-task1", "flare24-task2", "phantom"]
)
def test_every_score_is_better_when_higher_and_every_cost_when_lower(name):
    for metric in load_challenge(name).ranking.metrics:
        expected = Direction.HIGHER if metric.metric in ("dsc", "nsd") else Direction.LOWER
        assert metric.direction is expected


def test_a_challenge_travels_through_json_unchanged():
    challenge = load_challenge("flare23")
    assert Challenge.model_validate_json(challenge.model_dump_json()) == challenge


def test_an_organisers_own_file_is_loaded_by_path(tmp_path):
    own = tmp_path / "ours.toml"
    own.write_text(
        'name = "ours"\ntitle = "Ours"\nlabel_table = "flare22"\n[label_groups]\norgans = [1, 2]\n'
        "[limits]\nmemory_bytes = 1073741824\ntime_s = 60.0\n"
        '[[ranking.metrics]]\nmetric = "dsc"\nlabels = "organs"\ndirection = "higher"\nfailed = 0.0\n'
    )
    assert load_challenge(str(own)).limits.time_s == 60.0


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"no challenge named 'flare99'.*flare24-task2"):
        load_challenge("flare99")


VALID = (
    'name = "x"\ntitle = "x"\nlabel_table = "flare22"\nlabel_groups = {a = [1]}\n'
    "[limits]\nmemory_bytes = 99999999\ntime_s = 1.0\n"
    '[[ranking.metrics]]\nmetric = "runtime_s"\ndirection = "lower"\nfailed = 1.0\n'
)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("name = ", "not TOML"),
        ('name = "x"', "the key title is missing"),
        (VALID.replace('"flare22"', '"flare32"'), "no label_table 'flare32'.*Did you mean flare2"),
        (VALID.replace("[1]", "[77]"), r"'a' holds \[77\]; the labels are"),
        (VALID.replace('"runtime_s"', '"dsc"'), r"metrics\[1\]: dsc is a number per label: `labels` must"),
        (VALID.replace("99999999", "1\nshm_bytes = 2"), "shm_bytes exceeds memory_bytes"),
    ],
)
def test_a_broken_file_is_explained(tmp_path, content, complaint):
    path = tmp_path / "broken.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=complaint):
        load_challenge(str(path))


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_challenge(str(tmp_path / "none.toml"))


OWN = """\
name = "knee"
title = "Bones of the knee"

[[labels]]
value = 1
name = "femur"
tolerance_mm = 1
group = "bones"

[[labels]]
value = 2
name = "tibia"
tolerance_mm = 1
group = "bones"

[[labels]]
value = 9
name = "effusion"
tolerance_mm = 2.5
colour = "#4060ff"

[limits]
memory = "4 GiB"
time = "5 min"

[ranking]
order = "rank-then-average"

[[ranking.metrics]]
metric = "dsc"
labels = "bones"

[[ranking.metrics]]
metric = "hd95"
labels = "bones"

[[ranking.metrics]]
metric = "runtime_s"

[[ranking.metrics]]
metric = "peak_memory_bytes"
"""


@pytest.fixture
def own(tmp_path):
    """Write an organiser's file, with parts of it replaced, and return its path."""

    def write(*changes, encoding="utf-8"):
        content = OWN
        for old, new in changes:
            assert old in content
            content = content.replace(old, new, 1)
        path = tmp_path / "knee.toml"
        path.write_bytes(content.encode(encoding))
        return str(path)

    return write


def test_a_whole_challenge_of_ones_own_says_no_more_than_it_must(own):
    challenge = load_challenge(own())
    assert [label.value for label in challenge.labels] == [1, 2, 9]
    assert challenge.labels[9].colour == "#4060ff"
    assert challenge.label_groups == {"bones": (1, 2)}
    assert (challenge.limits.memory_bytes, challenge.limits.time_s) == (4 * GIB, 300)
    facts = {metric.key: (metric.direction, metric.failed) for metric in challenge.ranking.metrics}
    assert facts == {
        "dsc:bones": (Direction.HIGHER, 0.0),
        "hd95:bones": (Direction.LOWER, float("inf")),
        "runtime_s": (Direction.LOWER, 300.0),
        "peak_memory_bytes": (Direction.LOWER, 4 * GIB),
    }
    assert challenge.computed_metrics == ("dsc", "nsd", "hd95")
    assert Challenge.model_validate(json.loads(json.dumps(challenge.model_dump(mode="json")))) == challenge


def test_labels_without_groups_are_one_group(own):
    path = own(*[('group = "bones"\n', "")] * 2, *[('labels = "bones"', 'labels = "all"')] * 2)
    assert load_challenge(path).label_groups == {"all": (1, 2, 9)}


def test_a_label_may_be_in_more_groups_than_its_own(own):
    path = own(("[limits]", "[label_groups]\nweighted = [1, 9]\n[limits]"))
    assert load_challenge(path).label_groups == {"bones": (1, 2), "weighted": (1, 9)}


def test_what_is_computed_is_what_is_ranked_and_what_is_asked_for(own):
    path = own(("[ranking]", '[scoring]\nmetrics = ["ASSD", "dice"]\n[ranking]'))
    assert load_challenge(path).computed_metrics == ("dsc", "hd95", "assd")


def test_the_file_may_say_otherwise_than_the_metrics_facts(own):
    path = own(('metric = "hd95"', 'metric = "hd95"\nfailed = 374'), ('metric = "runtime_s"', TOLERANT))
    by_key = {metric.key: metric for metric in load_challenge(path).ranking.metrics}
    assert by_key["hd95:bones"].failed == 374
    assert (by_key["runtime_s"].failed, by_key["runtime_s"].tolerance) == (3600, 15)


TOLERANT = 'metric = "runtime"\nfailed = "1 h"\ntolerance = "15 s"'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_files_of_windows_editors_are_read(own, encoding, ending):
    expected = load_challenge(own())
    path = Path(own())
    path.write_bytes(OWN.replace("\n", ending).encode(encoding))
    assert load_challenge(str(path)) == expected


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("tolerance_mm = 2.5", "tolerance = 2.5"), r"no key labels\[3\].tolerance .*mean tolerance_mm"),
        (("value = 9", "value = 2"), "the label value 2 occurs twice"),
        (("value = 9", "value = true"), r"labels\[3\].value is True"),
        (
            ("[[ranking.metrics]]", '[[ranking.metrics]]\nmetric = "runtime"\n[[ranking.metrics]]'),
            "ranked twice",
        ),
        (('group = "bones"', "group = 3"), r"labels\[1\].group is 3"),
        (("value = 9", "value = 900"), r"labels\[3\].value is 900"),
        (('"effusion"', '"femur"'), "the label name 'femur' occurs twice"),
        (('"effusion"', '"bones"'), "'bones' is also the name of a label"),
        (("#4060ff", "blue"), r"labels\[3\].colour is 'blue'"),
        (('"4 GiB"', '"4 gigs"'), "`memory`: '4 gigs' is no size.*4 GiB"),
        (('"5 min"', "300"), '`time` is 300.*"5 min"'),
        (("time =", "tme ="), "no key limits.tme .*Did you mean time"),
        (('"5 min"', '"5 min"\ntime_s = 3.0'), "both `time` and `time_s`"),
        (("rank-then-average", "rank-than-average"), "ranking.order is .*Did you mean rank-then-average"),
        (('metric = "hd95"', 'metric = "hd_95"'), r"metrics\[2\].metric: there is no metric 'hd_95'.*hd95"),
        (('labels = "bones"', 'labels = "bone"'), "no group of labels 'bone'. Did you mean bones"),
        (('metric = "runtime_s"', 'metric = "runtime_s"\nlabels = "bones"'), "takes no `labels`"),
        (('title = "Bones', 'profile = "flair"\ntitle = "Bones'), "profile: there is no profile.*mean flare"),
        (("[ranking]", '[scoring]\nmetrics = ["runtime_s"]\n[ranking]'), "is measured in every run"),
        (('"femur"', '"a\\nb"'), r"labels\[1\].name: it must be words without control"),
        (
            ("[limits]", "[label_groups]\nbones = [9]\n[limits]"),
            "'bones' is the group of labels .1, 2. already",
        ),
        (('"knee"', '"My Knee"'), "name is 'My Knee'.*lower case"),
        (('title = "Bones', 'label_table = "flare22"\ntitle = "Bones'), "both .*labels.* and label_table"),
    ],
)
def test_a_mistake_names_its_file_its_key_and_what_may_be(own, change, complaint):
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_challenge(own(change))
    assert "knee.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


REGIONS = (
    'name = "kidneys"\ntitle = "Kidneys"\n'
    '[[labels]]\nvalue = 1\nname = "kidney"\ntolerance_mm = 1.0\ngroup = "parts"\n'
    '[[labels]]\nvalue = 2\nname = "tumour"\ntolerance_mm = 1.0\ngroup = "parts"\n'
    '[[labels]]\nvalues = [1, 2]\nname = "kidney and mass"\ntolerance_mm = 1.5\ngroup = "whole"\n'
    '[limits]\nmemory = "1 GiB"\ntime = "60 s"\n'
    '[[ranking.metrics]]\nmetric = "dsc"\nlabels = "whole"\n'
    '[[ranking.metrics]]\nmetric = "hd90"\nlabels = "whole"\n'
)


def opened(tmp_path: Path, content: str) -> Challenge:
    path = tmp_path / "own.toml"
    path.write_text(content)
    return load_challenge(str(path))


def test_a_region_of_several_values_is_a_label_with_a_group_of_its_own(tmp_path):
    challenge = opened(tmp_path, REGIONS)
    region = next(label for label in challenge.labels if label.name == "kidney and mass")
    assert region.voxel_values == (1, 2)
    assert region.tolerance_mm == 1.5
    assert challenge.label_groups == {"parts": (1, 2), "whole": (region.value,)}
    assert challenge.labels.voxel_values == (1, 2)
    assert Challenge.model_validate_json(challenge.model_dump_json()) == challenge


def test_any_percentile_of_the_hausdorff_distance_is_ranked_and_computed(tmp_path):
    challenge = opened(tmp_path, REGIONS)
    assert challenge.ranking.metrics[1].facts.title == "HD90"
    assert challenge.computed_metrics == ("dsc", "nsd", "hd90")
    same = opened(tmp_path, REGIONS.replace('"hd90"', '"HD95.0"'))
    assert same.ranking.metrics[1].metric == "hd95"


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("values = [1, 2]", "values = [1, 300]", r"labels\[3\].values"),
        ("values = [1, 2]", "values = [1, 1]", "names each value once"),
        ("values = [1, 2]", "values = []", r"labels\[3\].value is missing"),
        ("value = 2\n", "value = 300\n", r"labels\[2\].value is 300.*255"),
        ('"hd90"', '"volume_error"', "signed error.*absolute_volume_error"),
        ('"hd90"', '"hd101"', "no metric 'hd101'"),
    ],
)
def test_what_is_wrong_with_a_region_or_a_ranked_metric_is_said(tmp_path, before, after, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        opened(tmp_path, REGIONS.replace(before, after))


def test_a_signed_error_may_be_shown_beside_the_ranking(tmp_path):
    shown = REGIONS + '[scoring]\nmetrics = ["volume_error", "hd12.5"]\n'
    assert opened(tmp_path, shown).computed_metrics == ("dsc", "volume_error", "hd12.5", "hd90")


def test_a_run_that_is_no_algorithm_keeps_its_name():
    """The contract is part of a run's name: a field that it does not use must not change it."""
    fields = {"inputs", "outputs", "command", "input_suffix", "output_suffix", "channels", "runtime"}
    assert Contract().identity.keys() == fields
    sockets = {"input": "ct-image=ct", "output": "organs"}
    contract = Contract.model_validate({"grand_challenge": sockets})
    assert contract.identity.keys() == fields | {"grand_challenge"}
    assert (contract.inputs, contract.outputs, contract.command) == ("/input", "/output", None)
    assert contract.given_name("case_1", 0) == "images/ct/case_1.mha"
    assert contract.expected_name("case_1") == "images/organs/*.mha"
    assert Contract.model_validate(contract.model_dump(mode="json")) == contract
