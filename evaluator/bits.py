"""Five machine instructions that Python has no words for, for use inside the compiled kernels.

Volumes are scanned 64 voxels at a time and masks hold 64 voxels in one word, bit i of word w standing for
x = 64 * w + i. Finding the set bits of such a word, counting them, and comparing 64 voxels with their left
neighbours are each one or a few instructions; these functions hand them to the compiler as they are.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic as numba_intrinsic

WORD_BITS = 64

# An intrinsic is called with one argument less than it is defined with, which no type checker can follow.
intrinsic: Any = numba_intrinsic

_I1, _I8, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))


@intrinsic
def lowest_bit(typing_context: Any, word: Any) -> Any:
    """Return the position of the lowest set bit of a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(_I1, 1))

    return types.int64(types.uint64), generate


@intrinsic
def highest_bit(typing_context: Any, word: Any) -> Any:
    """Return the position of the highest set bit of a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = builder.ctlz(arguments[0], ir.Constant(_I1, 1))
        return builder.sub(ir.Constant(_I64, WORD_BITS - 1), zeros)

    return types.int64(types.uint64), generate


@intrinsic
def count_bits(typing_context: Any, word: Any) -> Any:
    """Return the number of set bits of a word."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def changes(typing_context: Any, voxels: Any, first: Any, before: Any) -> Any:
    """Return a word whose bit i says that voxel `first + i` differs from the voxel before it.

    Args (inside a kernel):
        voxels: 1D uint8 array; `first + 63` must be inside.
        first: Index of the first of the 64 voxels.
        before: What the first voxel is compared with.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(_I8, WORD_BITS)
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        here = builder.load(pointer, align=1)
        carried = builder.insert_element(
            ir.Constant(vector, ir.Undefined), arguments[2], ir.Constant(_I32, 0)
        )
        # Lane 0 is the carried voxel (lane 64 of the pair), lane i is voxel i - 1.
        lanes = ir.Constant(
            ir.VectorType(_I32, WORD_BITS),
            [ir.Constant(_I32, lane) for lane in (WORD_BITS, *range(WORD_BITS - 1))],
        )
        left = builder.shuffle_vector(here, carried, lanes)
        return builder.bitcast(builder.icmp_unsigned("!=", here, left), _I64)

    uint8_array = isinstance(voxels, types.Array) and voxels.ndim == 1 and voxels.dtype == types.uint8
    if not uint8_array:
        raise TypeError(f"changes() needs a 1D uint8 array, not {voxels}")
    return types.uint64(voxels, types.int64, types.uint8), generate
