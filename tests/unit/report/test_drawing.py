"""The pieces that figures are made of."""

from __future__ import annotations

import numpy as np
import pytest

from harness.report.failures import log_tail
from harness.report.overlays import outline
from harness.report.resources import pareto, read_timeline
from harness.report.svg import Linear, Log, Svg, short
from harness.report.write import page_name


def test_text_and_attributes_are_escaped():
    svg = Svg(10, 10, label='"><script>')
    svg.text(1, 2, "<b>&", tip="</title><script>")
    markup = str(svg.markup())
    assert "<script" not in markup
    assert "&lt;b&gt;&amp;" in markup


def test_a_long_name_is_cut_and_kept_whole_in_its_tooltip():
    svg = Svg(10, 10, label="x")
    svg.name(0, 0, "a" * 50)
    assert f"<title>{'a' * 50}</title>" in str(svg.markup())
    assert f">{short('a' * 50)}</text>" in str(svg.markup())


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (Linear(0, 1, 0, 100), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Linear(0.6, 1, 0, 100), [0.6, 0.7, 0.8, 0.9, 1]),
        (Linear(3, 3, 0, 100), [3]),
        (Log(1, 100, 0, 10), [1, 2, 5, 10, 20, 50, 100]),
        (Log(1, 1e6, 0, 10), [1, 10, 100, 1000, 1e4, 1e5, 1e6]),
    ],
)
def test_ticks_are_round_and_within_the_axis(scale, expected):
    assert scale.ticks() == pytest.approx(expected)


def test_scales_map_ends_to_ends():
    assert [Linear(0, 10, 100, 0)(v) for v in (0, 5, 10)] == [100, 50, 0]
    assert [Log(1, 100, 0, 10)(v) for v in (0.1, 1, 10, 100)] == pytest.approx([0, 0, 5, 10])


def test_the_pareto_front_holds_what_nothing_beats_in_both():
    points = [(5.0, 0.9), (1.0, 0.7), (3.0, 0.6), (5.0, 0.8), (9.0, 0.9), (2.0, 0.8)]
    assert pareto(points) == [1, 5, 0]
    assert pareto([]) == []


def test_an_outline_runs_along_pixel_edges():
    labels = np.zeros((4, 5), dtype=np.uint8)
    labels[1:3, 1:4] = 7
    assert sorted(outline(labels).replace("M", " M").split(" M")[1:]) == ["1 1h3", "1 1v2", "1 3h3", "4 1v2"]


def test_an_outline_separates_touching_labels_and_closes_at_the_border():
    assert sorted(outline(np.array([[1, 2]])).replace("M", " M").split(" M")[1:]) == [
        "0 0h2",
        "0 0v1",
        "0 1h2",
        "1 0v1",
        "2 0v1",
    ]


def test_a_long_time_line_is_thinned_without_losing_its_peak(tmp_path):
    path = tmp_path / "timeline.csv"
    lines = ["t_s,memory_bytes", *(f"{i / 10},{100 if i != 777 else 9999}" for i in range(2000)), "200,"]
    path.write_text("\n".join(lines))
    timeline = read_timeline(path)
    assert len(timeline) < 200
    assert timeline[:, 1].max() == 9999


def test_a_time_line_that_is_missing_or_damaged_is_empty(tmp_path):
    (tmp_path / "bad.csv").write_text("t_s,memory_bytes\nx,y\n")
    assert len(read_timeline(tmp_path / "bad.csv")) == len(read_timeline(tmp_path / "none.csv")) == 0


def test_a_log_tail_is_short_and_holds_no_control_signs(tmp_path):
    log = tmp_path / "container.log"
    log.write_bytes(b"line\n" * 10_000 + b"\x1b[31mred\x1b[0m \xff\n")
    tail = log_tail(log)
    assert len(tail) < 7000
    assert tail.endswith(" [31mred [0m �")
    assert log_tail(tmp_path / "none") == ""


def test_page_names_stay_in_their_folder_and_never_clash():
    names = [page_name(team, number) for number, team in enumerate(["a/../../b", "A B", "a-b", "", "名前"])]
    assert len(set(names)) == 5
    for name in names:
        assert name.startswith("submissions/")
        assert name.count("/") == 1
        assert ".." not in name
