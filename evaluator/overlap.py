"""Dice: two counts of voxels and the count of those that both volumes share."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from evaluator._bits import count_bits
from evaluator._compile import kernel


@kernel
def count_overlap(mask_a, box_a, mask_b, box_b):
    """Count the voxels that are in both masks; see masks.py for boxes."""
    z_a, y_a, w_a, slices_a, rows_a, words_a = box_a
    z_b, y_b, w_b, slices_b, rows_b, words_b = box_b
    count = 0
    first_word = max(w_a, w_b)
    words = min(w_a + words_a, w_b + words_b) - first_word
    for z in range(max(z_a, z_b), min(z_a + slices_a, z_b + slices_b)):
        for y in range(max(y_a, y_b), min(y_a + rows_a, y_b + rows_b)):
            row_a = ((z - z_a) * rows_a + y - y_a) * words_a + first_word - w_a
            row_b = ((z - z_b) * rows_b + y - y_b) * words_b + first_word - w_b
            for w in range(words):
                count += count_bits(mask_a[row_a + w] & mask_b[row_b + w])
    return count


def dice(overlap_voxels: int, first_voxels: int, second_voxels: int) -> float:
    """Return 2 |A and B| / (|A| + |B|), to the last bit as surface-distance computes it.

    Args:
        overlap_voxels: Voxels in both.
        first_voxels: Voxels in one, not 0 together with `second_voxels`.
        second_voxels: Voxels in the other.
    """
    return 2 * overlap_voxels / (first_voxels + second_voxels)
