"""Sizes and times in words."""

from __future__ import annotations

import tomllib

import pytest

from harness.text import bytes_of, seconds_of, toml_text


@pytest.mark.parametrize(
    ("words", "size"),
    [("4 GiB", 4 * 2**30), ("512MiB", 512 * 2**20), ("1.5 gib", 3 * 2**29), ("8 GB", 8 * 10**9), ("7 B", 7)],
)
def test_sizes_are_read_with_their_unit(words, size):
    assert bytes_of(words) == size


@pytest.mark.parametrize(
    ("words", "seconds"), [("90 s", 90), ("5 min", 300), ("1.5 h", 5400), ("1 d", 86400)]
)
def test_times_are_read_with_their_unit(words, seconds):
    assert seconds_of(words) == seconds


@pytest.mark.parametrize("words", ["", "4", "GiB", "-1 GiB", "4 GiB more", "4 gigs", "1e3 B", "nan GiB"])
def test_what_is_no_size_is_refused_with_an_example(words):
    with pytest.raises(ValueError, match="4 GiB"):
        bytes_of(words)


@pytest.mark.parametrize("words", ["", "5", "five min", "5 minutes or so", "5 m"])
def test_what_is_no_time_is_refused_with_an_example(words):
    with pytest.raises(ValueError, match="5 min"):
        seconds_of(words)


def test_toml_comes_back_as_it_went_out():
    values = {
        "name": "a",
        "title": 'quotes " and \\ and\nlines \x7f é',
        "number": 8.5,
        "yes": True,
        "list": ["a", "b c"],
        "limits": {"memory_gb": 8.0},
        "challenge": {"flare24-task1": {"build_args": {"A B": "1"}}, "odd name": {"x": 1}},
    }
    assert tomllib.loads(toml_text(values)) == values
