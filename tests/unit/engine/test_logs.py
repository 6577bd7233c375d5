"""A log of any length is kept in bounded memory, both ends of it."""

from __future__ import annotations

import random

from harness.engine.logs import LogKeeper


def test_a_short_log_is_kept_whole() -> None:
    log = LogKeeper(100)
    log.write(b"hello ")
    log.write(b"world\n")
    assert log.content() == b"hello world\n"


def test_a_long_log_loses_its_middle_and_says_how_much() -> None:
    log = LogKeeper(20)
    log.write(b"the beginning")
    log.write(b"x" * 1000)
    log.write(b"the end")
    assert log.content() == b"the beginn\n[... 1000 bytes of the log were dropped here ...]\nxxxthe end"


def test_the_pieces_it_comes_in_do_not_matter() -> None:
    text = bytes(range(256)) * 40
    whole = LogKeeper(1000)
    whole.write(text)
    pieces = LogKeeper(1000)
    position, source = 0, random.Random(3)
    while position < len(text):
        step = source.randint(1, 700)
        pieces.write(text[position : position + step])
        position += step
    assert pieces.content() == whole.content()
    assert pieces.total_bytes == len(text)


def test_memory_stays_bounded_for_single_bytes() -> None:
    log = LogKeeper(1000)
    for _ in range(100_000):
        log.write(b"y")
    assert len(log._tail) <= 1000


def test_the_last_line_is_printable_short_and_not_blank() -> None:
    log = LogKeeper(1000)
    log.write(b"first\n\x1b]0;owned\x07 \xff" + b"z" * 500 + b"\n\n  \n")
    last = log.last_line()
    assert last.isprintable()
    assert last.startswith("?]0;owned?")
    assert len(last) == 300


def test_an_empty_log_has_an_empty_last_line() -> None:
    assert LogKeeper(10).last_line() == ""
