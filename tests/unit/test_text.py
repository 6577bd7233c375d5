"""Sizes and times in words."""

from __future__ import annotations

import pytest

from harness.text import bytes_of, seconds_of


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
