"""Shipped challenges say what the published rules say, and a broken file is explained."""

import pytest

from harness.challenge import Challenge, Direction, MetricName, load_challenge, shipped_names
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
    assert next(m.tolerance for m in ranking.metrics if m.metric is MetricName.RUNTIME_S) == 15.0


def test_flare21_divides_the_averaged_rank_by_the_number_of_teams():
    assert load_challenge("flare21").ranking.divide_by_teams


@pytest.mark.parametrize(
    "name", ["flare21", "flare22", "flare23", "flare24-task1", "flare24-task2", "phantom"]
)
def test_every_score_is_better_when_higher_and_every_cost_when_lower(name):
    for metric in load_challenge(name).ranking.metrics:
        expected = Direction.HIGHER if metric.metric in (MetricName.DSC, MetricName.NSD) else Direction.LOWER
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
        ('name = "x"', "breaks the schema at"),
        (VALID.replace('"flare22"', '"moon"'), "label_table 'moon'"),
        (VALID.replace("[1]", "[77]"), r"\[77\], not in table"),
        (VALID.replace('"runtime_s"', '"dsc"'), "`labels` goes with dsc and nsd"),
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
