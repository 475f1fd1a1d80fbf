"""The compiled part of `compute.curve_block_search`; imported by it alone, because it needs numba.

Losses lie in blocks of `BLOCK` curves, the points of a block one after the other, so that one
instruction works on the same point of many curves. A block is first looked at in float32, with
bounds on every rounding error; only a curve that could be among the nearest is measured in float64,
in exactly the order of operations of `compute.curve_search.shape_distances`.

Bounds: with unit u, a float32 operation is off by at most u of its result. Losses are >= 0 and
exact. A difference t = (x - mean) - q is off by at most u((points + 4) mean + 2|q| + 2|t|), so by
Minkowski's inequality the root of a distance d is off by at most that with |t| as sqrt(d). Under
scale, d <= T means sum(w q c) >= (1 - T/2) std, where both sides are off by at most
u(points + 4)(mean + std) (Cauchy-Schwarz, weights and norm of q being 1).

Compiled once a machine and kept beside this file (or in the user's cache folder), never in a data
directory: what is kept there is code.
"""

import math
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from compute.curve_layout import BLOCK
from compute.jit import jit

# Twice what one float32 operation is off by at most: it covers terms of second order.
_UNIT = 2.0**-23
PLAIN, LEVELLED, SCALED = 0, 1, 2
# Masks are read eight rows at a time.
_WORD = 8
_N_WORDS = BLOCK // _WORD
_ALL = np.uint64(0x0101010101010101)
_TOP_BYTE = np.uint64(56)
# So few curves of a block are sooner measured than the block is looked at.
_FEW = 1
# Counts of a block are kept in a byte: many of them are added at once.
assert BLOCK <= 255, BLOCK


@intrinsic
@no_type_check
def _number(_context: Any, bits: Any) -> Any:
    """Make a float32 of the bits of a float16: exact, and one instruction for eight of them."""

    def generated(_target, builder, _signature, arguments):
        half = builder.bitcast(arguments[0], ir.HalfType())
        return builder.fpext(half, ir.FloatType())

    return types.float32(types.uint16), generated


@jit
@no_type_check
def _read(block, row, weights, kind, flat_std, curve):
    """Put one curve, as it is compared, into `curve`; return whether it can be compared."""
    mean = 0.0
    for j in range(len(weights)):
        curve[j] = np.float64(_number(block[j, row]))
        mean += weights[j] * curve[j]
    if kind == PLAIN:
        return True
    variance = 0.0
    for j in range(len(weights)):
        curve[j] -= mean
        variance += weights[j] * (curve[j] * curve[j])
    if kind == LEVELLED:
        return True
    std = math.sqrt(variance)
    for j in range(len(weights)):
        curve[j] /= std
    return std >= flat_std


@jit
@no_type_check
def _measured(curve, shifted, weights):
    """(distance in float64, number of the shift) of a curve that was read."""
    best = np.inf
    nearest = 0
    for s in range(len(shifted)):
        distance = 0.0
        for j in range(len(weights)):
            difference = curve[j] - shifted[s, j]
            distance += weights[j] * (difference * difference)
        if distance < best:
            best = distance
            nearest = s
    return best, nearest


@jit
@no_type_check
def _is_behind(distance, index, other_distance, other_index):
    return distance > other_distance or (distance == other_distance and index > other_index)


@jit
@no_type_check
def _placed(distance, index, shift, distances, indices, shifts, size):
    """Put a curve in its place among the nearest so far; return how many these are then."""
    limit = len(distances)
    if size == limit and _is_behind(distance, index, distances[size - 1], indices[size - 1]):
        return size
    at = size if size < limit else limit - 1
    while at > 0 and _is_behind(distances[at - 1], indices[at - 1], distance, index):
        distances[at] = distances[at - 1]
        indices[at] = indices[at - 1]
        shifts[at] = shifts[at - 1]
        at -= 1
    distances[at] = distance
    indices[at] = index
    shifts[at] = shift
    return size + 1 if size < limit else limit


@jit
@no_type_check
def _decoded(block, values, means, weights, kind):
    """Put the losses of a block into `values`, without their means under level and scale."""
    for i in range(BLOCK):
        means[i] = np.float32(0)
    for j in range(len(weights)):
        for i in range(BLOCK):
            values[j, i] = _number(block[j, i])
    if kind == PLAIN:
        return
    for j in range(len(weights)):
        weight = weights[j]
        for i in range(BLOCK):
            means[i] += weight * values[j, i]
    for j in range(len(weights)):
        for i in range(BLOCK):
            values[j, i] -= means[i]


@jit
@no_type_check
def _least_distances(values, shifted, weights, total, best):
    """Put the least distance of every curve over the shifts into `best`."""
    for i in range(BLOCK):
        best[i] = np.float32(np.inf)
    for s in range(len(shifted)):
        for i in range(BLOCK):
            total[i] = np.float32(0)
        for j in range(len(weights)):
            asked = shifted[s, j]
            weight = weights[j]
            for i in range(BLOCK):
                difference = values[j, i] - asked
                total[i] += weight * (difference * difference)
        for i in range(BLOCK):
            best[i] = total[i] if total[i] < best[i] else best[i]


@jit
@no_type_check
def _largest_products(values, products, total, best):
    """Put the largest sum of w q c of every curve over the shifts into `best`."""
    for i in range(BLOCK):
        best[i] = np.float32(-np.inf)
    for s in range(len(products)):
        for i in range(BLOCK):
            total[i] = np.float32(0)
        for j in range(products.shape[1]):
            product = products[s, j]
            for i in range(BLOCK):
                total[i] += product * values[j, i]
        for i in range(BLOCK):
            best[i] = total[i] if total[i] > best[i] else best[i]


@jit
@no_type_check
def _near(best, means, root, margin, hits):
    """Mark the curves whose distance may be at most root²; return how many there are."""
    found = np.uint8(0)
    for i in range(BLOCK):
        limit = root + margin * means[i]
        hits[i] = best[i] <= limit * limit
        found = np.uint8(found + hits[i])
    return found


@jit
@no_type_check
def _alike(values, weights, means, floor, least, margin, total, best, hits):
    """Mark the curves whose correlation may be at least `least`; return how many there are."""
    for i in range(BLOCK):
        total[i] = np.float32(0)
    for j in range(len(weights)):
        weight = weights[j]
        for i in range(BLOCK):
            total[i] += weight * (values[j, i] * values[j, i])
    found = np.uint8(0)
    for i in range(BLOCK):
        std = math.sqrt(total[i])
        slack = margin * (means[i] + std)
        hits[i] = (best[i] + slack >= least * std) & (std + slack >= floor)
        found = np.uint8(found + hits[i])
    return found


@jit
@no_type_check
def _candidates(block, asked, light, work, kind, flat_std, largest, bound):
    """Mark the curves of a block whose distance may be at most `bound`; return their number.

    Args:
        block: bits of losses, (points, BLOCK).
        asked: float32, (shifts, points): the asked curve, times the weights if SCALED.
        light: weights, float32.
        work: arrays to work in; the last one gets the marks.
        kind, flat_std: as `nearest_of_blocks` takes them.
        largest: of the asked curve, without sign.
        bound: distance.
    """
    values, means, total, best, hits = work
    unit = _UNIT * (len(light) + 8)
    _decoded(block, values, means, light, kind)
    if kind == SCALED:
        _largest_products(values, asked, total, best)
        floor = np.float32(flat_std * (1 - unit))
        least = np.float32(1 - 0.5 * bound - 4 * unit)
        margin = np.float32(4 * unit)
        return _alike(values, light, means, floor, least, margin, total, best, hits)
    _least_distances(values, asked, light, total, best)
    # The last term stands for squares too small for float32.
    root = (math.sqrt(bound) * (1 + unit) + unit * largest) * (1 + unit) + 1e-18
    return _near(best, means, np.float32(root), np.float32(unit), hits)


@jit
@no_type_check
def _wanted_of(mask, words, first, last, wanted):
    """Put the mask of a block into `wanted`; return how many of its rows may be found."""
    if len(mask) == 0:
        wanted[:] = _ALL
        return BLOCK
    if last - first == BLOCK and last <= len(words) * _WORD:
        for k in range(_N_WORDS):
            wanted[k] = words[first // _WORD + k]
    else:
        # The last rows may be no whole words.
        wanted[:] = 0
        as_bytes = wanted.view(np.uint8)
        for row in range(first, last):
            as_bytes[row - first] = mask[row]
    found = np.uint64(0)
    for k in range(_N_WORDS):
        found += wanted[k]  # byte by byte: none grows beyond the number of words
    return np.int64((found * _ALL) >> _TOP_BYTE)  # the sum of the bytes


@jit
@no_type_check
def nearest_of_blocks(blocks, span, query, masks, after, found, size):
    """Take the nearest curves of some blocks in among those found so far.

    Args:
        blocks: bits of float16 losses, (blocks, points, BLOCK), read-only; filling is NaN.
        span: (first block, last block, exclusive, number of curves in all blocks).
        query: (asked curve at every shift, made ready, (shifts, points); weights; PLAIN, LEVELLED
            or SCALED; the least standard deviation that compares if SCALED).
        masks: (1 for rows that may be found, uint8, empty for all; the same, eight rows in a
            uint64, as far as they go).
        after: (distance, index): only what comes behind it counts.
        found: (distances, indices, numbers of shifts) of the nearest so far, changed in place.
        size: how many these are.

    Returns:
        How many there are now.
    """
    distances = found[0]
    light = query[1].astype(np.float32)
    asked = (query[0] * query[1] if query[2] == SCALED else query[0]).astype(np.float32)
    largest = np.abs(query[0]).max()
    work = _work(len(light))
    hits = work[4].view(np.uint64)
    wanted = np.empty(_N_WORDS, np.uint64)
    curve = np.empty(len(light), np.float64)
    for b in range(span[0], span[1]):
        first, last = b * BLOCK, min(b * BLOCK + BLOCK, span[2])
        n_wanted = _wanted_of(masks[0], masks[1], first, last, wanted)
        if n_wanted == 0:
            continue
        if n_wanted <= _FEW:
            hits[:] = _ALL
        else:
            bound = distances[size - 1] if size == len(distances) else np.inf
            if not _candidates(blocks[b], asked, light, work, query[2], query[3], largest, bound):
                continue
        for k in range(_N_WORDS):
            if hits[k] & wanted[k]:
                hits[k] &= wanted[k]
                rows = (first + k * _WORD, min(last, first + k * _WORD + _WORD))
                size = _taken_in(blocks[b], first, rows, work[4], query, after, found, size, curve)
    return size


@jit
@no_type_check
def _taken_in(block, first, rows, hits, query, after, found, size, curve):
    """Measure the marked ones of some rows of a block; return how many are found now."""
    shifted, weights, kind, flat_std = query
    for row in range(rows[0], rows[1]):
        if hits[row - first] and _read(block, row - first, weights, kind, flat_std, curve):
            distance, s = _measured(curve, shifted, weights)
            if distance < np.inf and _is_behind(distance, row, after[0], after[1]):
                size = _placed(distance, row, s, found[0], found[1], found[2], size)
    return size


@jit
@no_type_check
def _work(n_points):
    """Arrays that `_candidates` works in: they stay in the processor's cache."""
    return (
        np.empty((n_points, BLOCK), np.float32),
        np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.uint8),
    )
