"""Counting by key inside kernels: a hash table of whole numbers, which grows as needed.

Surface elements are counted by how far the nearest other one is, voxels by the pair of components that holds
them. There are few different keys, and millions of things to count.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from evaluator.compilation import kernel

_FIRST_SLOTS = 1024


@kernel
def new_tally():
    """Return an empty table: keys plus 1 (0 is a free slot), and counts."""
    return np.zeros(_FIRST_SLOTS, np.uint64), np.zeros(_FIRST_SLOTS, np.int64)


@kernel
def slot_of(keys, key):
    """Return where a key is, or is to be put."""
    mask = np.uint64(keys.size - 1)
    wanted = key + np.uint64(1)
    # The high half of the product, on which every bit of the key has a say.
    slot = (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40) & mask
    while keys[slot] != 0 and keys[slot] != wanted:
        slot = (slot + np.uint64(1)) & mask
    return slot


@kernel
def grown(keys, counts):
    """Return a table of twice the size with the same content."""
    more_keys, more_counts = np.zeros(2 * keys.size, np.uint64), np.zeros(2 * keys.size, np.int64)
    for i in range(keys.size):
        if keys[i] != 0:
            slot = slot_of(more_keys, keys[i] - np.uint64(1))
            more_keys[slot] = keys[i]
            more_counts[slot] = counts[i]
    return more_keys, more_counts


@kernel
def content(keys, counts):
    """Return the keys that were counted, in no order, and their counts."""
    used = np.flatnonzero(keys)
    return keys[used] - np.uint64(1), counts[used]
