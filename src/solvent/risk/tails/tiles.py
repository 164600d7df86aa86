"""A matrix of scenarios laid out so that 64 of them are one small matrix, for compiled passes."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.units import Float64

LANES: Final = 8
TILE: Final = 64


class Tiles:
    """A matrix laid out tile by tile, when first asked for: a tile's rows lie side by side."""

    def __init__(self, matrix: Float64, columns: int) -> None:
        self.matrix, self.columns = matrix, columns
        self._samples: dict[bytes, Float64] = {}

    @cached_property
    def array(self) -> Float64:
        """[tile, instrument, 64]; the last tile is filled up with the first scenario."""
        rows, count = len(self.matrix), -(-self.columns // TILE)
        raw = np.empty(count * rows * TILE + LANES)
        offset = (-raw.ctypes.data // 8) % LANES
        laid = raw[offset : offset + count * rows * TILE].reshape(count, rows, TILE)
        for tile in range(count):
            some = self.matrix[:, tile * TILE : min((tile + 1) * TILE, self.columns)]
            laid[tile, :, : some.shape[1]] = some
            laid[tile, :, some.shape[1] :] = self.matrix[:, :1]
        return laid

    def sample(self, chosen: NDArray[np.int64]) -> Float64:
        """[tile, instrument, 64] of some whole tiles' worth of columns alone; kept."""
        key = chosen.tobytes()
        if key not in self._samples:
            laid = self.matrix[:, chosen].reshape(len(self.matrix), -1, TILE)
            self._samples[key] = np.ascontiguousarray(laid.transpose(1, 0, 2))
        return self._samples[key]
