"""The text of a new challenge's file: its labels, and limits and a ranking to start from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evaluator.labels import Label
from harness.text import printable, toml_value


def draft(
    name: str,
    labels: Sequence[Label],
    *,
    title: str = "",
    channels: Sequence[str] = (),
    rename: bool = False,
    memory: str = "8 GiB",
    time: str = "10 min",
) -> str:
    """Return a whole challenge as TOML, with what to set said in comments.

    Args:
        name: Any words; what a challenge's name may not have becomes a hyphen.
        labels: Labels and regions in the order of the tables.
        title: What heads tables and the report; the challenge's name where there is none.
        channels: The image channels of a case; one needs no name.
        rename: Whether the labels' names stand for better ones.
        memory: The most that a case may use, in words.
        time: The longest that a case may take, in words.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "challenge"
    parts = [_HEAD.format(name=toml_value(slug), title=toml_value(_words(title) or slug))]
    parts.append(_LABELS.format(rename=_RENAME if rename else ""))
    parts += [_label(label) for label in labels]
    parts.append(_LIMITS.format(memory=toml_value(memory), time=toml_value(time)))
    if len(channels) > 1:
        parts.append(f"[contract]\nchannels = {toml_value([_words(channel) for channel in channels])}\n")
    return "\n".join([*parts, _RANKING])


def _label(label: Label) -> str:
    value = f"values = {list(label.parts)}" if label.parts else f"value = {label.value}"
    return (
        f"[[labels]]\n{value}\nname = {toml_value(_words(label.name))}\ntolerance_mm = {label.tolerance_mm}\n"
    )


def _words(text: str) -> str:
    return printable(text).strip()


_HEAD = """\
# The rules of a challenge; docs/challenges.md has every key.
name = {name}  # names the folder of its results: lower case letters, digits, hyphens
title = {title}
"""

_RENAME = "; give each the name of its structure"

_LABELS = """\
# One block for each value of the label maps that is scored{rename}. 0 is background.
# tolerance_mm: how far two surfaces may lie apart and still count as the same (NSD). Set it for each label,
# for instance to what two readers differ by.
"""

_LIMITS = """\
# What an image may use for one case. `gpu = true` gives it one GPU, `cpus = 4` so many cores.
[limits]
memory = {memory}
shm = "1 GiB"
time = {time}
"""

_RANKING = """\
# Every metric ranks the teams, and the mean of their ranks decides; `labels` names a group of labels.
[ranking]
order = "rank-then-average"

[[ranking.metrics]]
metric = "dsc"
labels = "all"

[[ranking.metrics]]
metric = "nsd"
labels = "all"

# Time counts above 10 s, a quarter as much, without the signs in front:
# [[ranking.metrics]]
# metric = "runtime_s"
# tolerance = "10 s"
# weight = 0.25
"""
