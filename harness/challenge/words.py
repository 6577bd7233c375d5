"""Sizes and times in words: `memory = "4 GiB"` for `memory_bytes`, `time = "5 min"` for `time_s`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from harness.text import bytes_of, seconds_of

_READERS: dict[str, Callable[[str], float]] = {"_bytes": bytes_of, "_s": seconds_of}


def word_key(field: str) -> str:
    """Return what a field is called where its value is in words: `memory` for `memory_bytes`."""
    for suffix in _READERS:
        if field.endswith(suffix):
            return field.removesuffix(suffix)
    return field


def from_words(values: Any, fields: Iterable[str]) -> Any:
    """Return a table with words turned into bytes and seconds under the fields' own names.

    Args:
        values: A table as read from TOML; anything else is returned as it is.
        fields: The names of the record's fields; those that end in `_bytes` or `_s` may be in words.

    Raises:
        ValueError: a value is no size or time, or stands there twice.
    """
    if not isinstance(values, dict):
        return values
    read = dict(values)
    for field in fields:
        reader = next((reader for suffix, reader in _READERS.items() if field.endswith(suffix)), None)
        word = word_key(field)
        if reader is None or not ({field, word} & read.keys()):
            continue
        if field in read and word in read:
            raise ValueError(f"both `{word}` and `{field}` are given; keep one of them")
        value = read.pop(word) if word in read else read[field]
        if isinstance(value, str):
            read[field] = _read(reader, value, word)
        elif field in read or value is None:
            read[field] = value
        else:
            unit = "4 GiB" if field.endswith("_bytes") else "5 min"
            raise ValueError(f'`{word}` is {value!r}; write it with its unit, such as {word} = "{unit}"')
    return read


def _read(reader: Callable[[str], float], value: str, word: str) -> float:
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(f"`{word}`: {error}") from error
