"""segkit.training.dice: Dice of label maps that are seen piece by piece."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from segkit.training.dice import DiceCounter


def test_dice_is_over_all_volumes_and_leaves_absent_labels_out():
    counter = DiceCounter(4)
    counter.add(torch.tensor([1, 1, 0, 2]), torch.tensor([1, 0, 0, 0]))
    counter.add(torch.tensor([1, 1]), torch.tensor([1, 1]))
    one, two, three = counter.by_class()
    assert one == pytest.approx(2 * 3 / (4 + 3))
    assert two == 0
    assert math.isnan(three)
    assert counter.mean() == pytest.approx((one + 0) / 2)


def test_dice_is_counted_over_all_patches():
    counter = DiceCounter(3)
    counter.add(torch.tensor([[1, 1, 0, 0]]), torch.tensor([[1, 0, 0, 0]]))
    counter.add(torch.tensor([[1, 0]]), torch.tensor([[1, 0]]))
    assert counter.by_class()[0] == pytest.approx(0.8)
    assert math.isnan(counter.by_class()[1])
    assert counter.mean() == pytest.approx(0.8)
