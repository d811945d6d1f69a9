"""Cosines of half-precision rows with one direction, at the speed of reading them from memory.

Moving q asks for a new z of every pair, so every caption embedding is read again. numpy would write
a float32 copy first; here a row is widened in registers: product and length are summed in single
precision as it goes by. Compiled by numba, which umap-learn brings along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from cfbd_core.machine.workers import usable_cores

BLOCK_ROWS = 2**14


def half_cosines(shards: Sequence[np.ndarray], direction: np.ndarray, out: np.ndarray) -> None:
    """Write ⟨row, direction⟩ / ‖row‖ of every row to ``out`` (N,) float32.

    ``shards`` are float16 (rows, d), memory maps included, N rows in all; ``direction`` float32 (d,).
    A row that is all zeros or not finite gives NaN. Each row is summed in the same order wherever it
    stands, so equal rows give equal values.
    """
    kernel = _kernel()
    start = 0
    with ThreadPoolExecutor(usable_cores()) as workers:
        for shard in shards:
            bits = shard.view(np.uint16)
            blocks = range(0, len(shard), BLOCK_ROWS)
            done = [
                workers.submit(
                    kernel,
                    bits[at : at + BLOCK_ROWS],
                    direction,
                    out[start + at : start + min(at + BLOCK_ROWS, len(shard))],
                )
                for at in blocks
            ]
            for block in done:
                block.result()
            start += len(shard)


@cache
def _kernel() -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
    """Compile once a process (half a second).

    Threads are ours, not numba's: its default threading layer must not be entered by two at once, and
    a web server's sessions are threads.
    """
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    @intrinsic
    def widened(typing_context: Any, bits: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            half = builder.bitcast(arguments[0], ir.HalfType())
            return builder.fpext(half, ir.FloatType())

        return numba.float32(numba.uint16), generate

    widen: Any = widened

    def cosines(bits: np.ndarray, direction: np.ndarray, out: np.ndarray) -> None:
        for i in range(bits.shape[0]):
            product = np.float32(0)
            square = np.float32(0)
            for j in range(bits.shape[1]):
                value: Any = widen(bits[i, j])
                product += value * direction[j]
                square += value * value
            usable = np.isfinite(square) and square > np.float32(0)
            out[i] = product / np.sqrt(square) if usable else np.float32(np.nan)

    # Sums may be taken in any order (so they run in vector registers), but NaN and ∞ keep their meaning.
    compiled: Any = numba.njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})(cosines)
    compiled.compile("void(Array(uint16, 2, 'C', readonly=True), float32[::1], float32[::1])")
    compiled.compile("void(uint16[:, ::1], float32[::1], float32[::1])")
    kernel: Callable[[np.ndarray, np.ndarray, np.ndarray], None] = compiled
    return kernel
