"""Top-k of a column against a full sort."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from compute import top_k as module
from compute.top_k import top_k

VALUES = hnp.arrays(
    np.float16, st.integers(0, 40), elements=st.sampled_from([0.0, 0.5, 1.0, 3.0, np.nan])
)


@pytest.mark.parametrize("block_rows", [1, 7, 1 << 20])
@given(values=VALUES, limit=st.integers(0, 12), is_descending=st.booleans(), data=st.data())
def test_pages_equal_a_full_sort(
    values: NDArray[np.float16], limit: int, is_descending: bool, data: Any, block_rows: int
) -> None:
    mask = data.draw(st.none() | hnp.arrays(np.bool_, len(values)))
    keys = np.where(np.isnan(values), np.inf, -values if is_descending else values)
    order = np.lexsort((np.arange(len(values)), keys))
    order = order if mask is None else order[mask[order]]
    first = data.draw(st.integers(0, len(order)))
    after = (float(keys[order[first - 1]]), int(order[first - 1])) if first else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ROWS", block_rows)
        rows, row_keys = top_k(values, limit, mask=mask, is_descending=is_descending, after=after)
    expected = order[first : first + limit]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(row_keys, keys[expected])
