"""Compiled kernels of `compute.curve_block_search`, a module apart because they need numba.

Losses are stored in blocks of `BLOCK` curves, point by point, so that one SIMD instruction works on
the same point of many curves. A float32 pass with rigorous rounding bounds first rejects most
curves of a block; the float64 distance of each remaining candidate is computed in exactly the order
of operations of `compute.curve_search.shape_distances`.

Bounds: with unit u, a float32 operation has a relative error of at most u. Losses are >= 0 and
exact. The error of a difference t = (x - mean) - q is at most u((points + 4) mean + 2|q| + 2|t|),
so by Minkowski's inequality the error of the root of a distance d is at most that with |t| as
sqrt(d). Under scale, d <= T means sum(w q c) >= (1 - T/2) std, where the error of both sides is at
most u(points + 4)(mean + std) (Cauchy-Schwarz, weights and norm of q being 1).

numba caches the machine code beside this file or in the user's cache folder, never in a data
directory, which must not contain code.
"""

import math
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from compute.curve_layout import BLOCK
from compute.jit import jit

# Twice the error bound of one float32 operation, to cover second-order terms.
_UNIT = 2.0**-23
PLAIN, LEVELLED, SCALED = 0, 1, 2
# Masks are read eight rows at a time.
_WORD = 8
_N_WORDS = BLOCK // _WORD
_ALL = np.uint64(0x0101010101010101)
_TOP_BYTE = np.uint64(56)
# At most this many selected rows: computing their distances is faster than the float32 pass.
_FEW_ROWS = 1
# Counts per block are summed in uint8, many bytes per instruction.
assert BLOCK <= 255, BLOCK


@intrinsic
@no_type_check
def _half_to_float(_context: Any, bits: Any) -> Any:
    """Convert the bits of a float16 to float32: exact, and one instruction per eight values."""

    def generate(_target, builder, _signature, arguments):
        half = builder.bitcast(arguments[0], ir.HalfType())
        return builder.fpext(half, ir.FloatType())

    return types.float32(types.uint16), generate


@jit
@no_type_check
def _read(block, row, weights, kind, flat_std, curve):
    """Write a row, normalized, to `curve`; return False if it has no shape to compare."""
    mean = 0.0
    for j in range(len(weights)):
        curve[j] = np.float64(_half_to_float(block[j, row]))
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
def _nearest_shift(curve, shifted, weights):
    """Return (distance, number of the shift) of a normalized curve, in float64."""
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
def _insert(distance, index, shift, distances, indices, shifts, size):
    """Insert a curve into the sorted results; return their new number."""
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
def _decode(block, values, means, weights, kind):
    """Write the losses of a block to `values`, centred under level and scale."""
    for i in range(BLOCK):
        means[i] = np.float32(0)
    for j in range(len(weights)):
        for i in range(BLOCK):
            values[j, i] = _half_to_float(block[j, i])
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
    """Write the least distance of every curve over the shifts to `best`."""
    for i in range(BLOCK):
        best[i] = np.float32(np.inf)
    for s in range(len(shifted)):
        for i in range(BLOCK):
            total[i] = np.float32(0)
        for j in range(len(weights)):
            target = shifted[s, j]
            weight = weights[j]
            for i in range(BLOCK):
                difference = values[j, i] - target
                total[i] += weight * (difference * difference)
        for i in range(BLOCK):
            best[i] = total[i] if total[i] < best[i] else best[i]


@jit
@no_type_check
def _largest_products(values, products, total, best):
    """Write the largest sum of w q c of every curve over the shifts to `best`."""
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
def _mark_near(best, means, root, margin, hits):
    """Mark the curves with a distance of possibly at most root²; return their number."""
    count = np.uint8(0)
    for i in range(BLOCK):
        limit = root + margin * means[i]
        hits[i] = best[i] <= limit * limit
        count = np.uint8(count + hits[i])
    return count


@jit
@no_type_check
def _mark_similar(values, weights, means, floor, least, margin, total, best, hits):
    """Mark the curves with a correlation of possibly at least `least`; return their number."""
    for i in range(BLOCK):
        total[i] = np.float32(0)
    for j in range(len(weights)):
        weight = weights[j]
        for i in range(BLOCK):
            total[i] += weight * (values[j, i] * values[j, i])
    count = np.uint8(0)
    for i in range(BLOCK):
        std = math.sqrt(total[i])
        slack = margin * (means[i] + std)
        hits[i] = (best[i] + slack >= least * std) & (std + slack >= floor)
        count = np.uint8(count + hits[i])
    return count


@jit
@no_type_check
def _mark_candidates(block, shifted, weights, buffers, kind, flat_std, largest, bound):
    """Mark the curves of a block with a distance of possibly at most `bound`; count them.

    `block` has bits of losses, (points, BLOCK); `shifted` the query at every shift, times the
    weights if SCALED, float32 (shifts, points). The last of `buffers` receives the marks. `largest`
    is the largest absolute value of the query.
    """
    values, means, total, best, hits = buffers
    unit = _UNIT * (len(weights) + 8)
    _decode(block, values, means, weights, kind)
    if kind == SCALED:
        _largest_products(values, shifted, total, best)
        floor = np.float32(flat_std * (1 - unit))
        least = np.float32(1 - 0.5 * bound - 4 * unit)
        margin = np.float32(4 * unit)
        return _mark_similar(values, weights, means, floor, least, margin, total, best, hits)
    _least_distances(values, shifted, weights, total, best)
    # The last term covers squares that underflow in float32.
    root = (math.sqrt(bound) * (1 + unit) + unit * largest) * (1 + unit) + 1e-18
    return _mark_near(best, means, np.float32(root), np.float32(unit), hits)


@jit
@no_type_check
def _read_mask(mask, words, first, last, selected):
    """Write the mask of a block to `selected`; return the number of selected rows."""
    if len(mask) == 0:
        selected[:] = _ALL
        return BLOCK
    if last - first == BLOCK and last <= len(words) * _WORD:
        for k in range(_N_WORDS):
            selected[k] = words[first // _WORD + k]
    else:
        # The last rows may not fill a word.
        selected[:] = 0
        as_bytes = selected.view(np.uint8)
        for row in range(first, last):
            as_bytes[row - first] = mask[row]
    counts = np.uint64(0)
    for k in range(_N_WORDS):
        counts += selected[k]  # byte by byte: none exceeds the number of words
    return np.int64((counts * _ALL) >> _TOP_BYTE)  # the sum of the bytes


@jit
@no_type_check
def nearest_of_blocks(blocks, span, query, masks, after, results, size):
    """Merge the nearest curves of some blocks into the results so far.

    Args:
        blocks: bits of float16 losses, (blocks, points, BLOCK), read-only; padding is NaN.
        span: (first block, last block, exclusive, number of curves in all blocks).
        query: (normalized query at every shift, (shifts, points); weights; PLAIN, LEVELLED or
            SCALED; least standard deviation of a comparable curve if SCALED).
        masks: (uint8, 1 for rows that may match, empty for all; the whole words of that mask,
            eight rows per uint64).
        after: (distance, index); only curves behind it match.
        results: (distances, indices, numbers of shifts), sorted, changed in place.
        size: number of results so far.

    Returns:
        Number of results.
    """
    distances = results[0]
    weights = query[1].astype(np.float32)
    shifted = (query[0] * query[1] if query[2] == SCALED else query[0]).astype(np.float32)
    largest = np.abs(query[0]).max()
    buffers = _make_buffers(len(weights))
    hits = buffers[4].view(np.uint64)
    selected = np.empty(_N_WORDS, np.uint64)
    curve = np.empty(len(weights), np.float64)
    for b in range(span[0], span[1]):
        first, last = b * BLOCK, min(b * BLOCK + BLOCK, span[2])
        n_selected = _read_mask(masks[0], masks[1], first, last, selected)
        if n_selected == 0:
            continue
        if n_selected <= _FEW_ROWS:
            hits[:] = _ALL
        else:
            bound = distances[size - 1] if size == len(distances) else np.inf
            n_candidates = _mark_candidates(
                blocks[b], shifted, weights, buffers, query[2], query[3], largest, bound
            )
            if n_candidates == 0:
                continue
        for k in range(_N_WORDS):
            if hits[k] & selected[k]:
                hits[k] &= selected[k]
                rows = (first + k * _WORD, min(last, first + k * _WORD + _WORD))
                size = _insert_hits(
                    blocks[b], first, rows, buffers[4], query, after, results, size, curve
                )
    return size


@jit
@no_type_check
def _insert_hits(block, first, rows, hits, query, after, results, size, curve):
    """Insert the marked rows of a block into the results; return their new number."""
    shifted, weights, kind, flat_std = query
    for row in range(rows[0], rows[1]):
        if hits[row - first] and _read(block, row - first, weights, kind, flat_std, curve):
            distance, s = _nearest_shift(curve, shifted, weights)
            if distance < np.inf and _is_behind(distance, row, after[0], after[1]):
                size = _insert(distance, row, s, results[0], results[1], results[2], size)
    return size


@jit
@no_type_check
def _make_buffers(n_points):
    """Allocate the buffers of `_mark_candidates`, small enough for the processor's cache."""
    return (
        np.empty((n_points, BLOCK), np.float32),
        np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.uint8),
    )
