"""What an option is worth after a jump: by its surface, or by the model that jumped.

Two answers, and a switch. *By the surface* an option keeps its volatility, shifted by what surfaces
did in the large moves of history (`scenarios.jumps.VolResponse`): that is the default, since the
fitted models miss real surfaces by points of volatility (`jump_surface` tells by how much), and a
margin must not carry a model's misfit into every scenario. *By the model* the jump moves the price
and lifts the variance by its mean jump, and options are worth what the model then says: the ratio
of its volatilities after and before, at each strike, so that its misfit today cancels. It is for
markets that have not seen a jump yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from solvent.pricing.implied import implied_vol
from solvent.pricing.jump_surface import fixed_price
from solvent.pricing.transforms import Svcj
from solvent.units import Float64

_YEARS: Final = np.array([7.0, 30.0, 90.0]) / 365.0
_DEVIATIONS: Final = np.linspace(-2.0, 2.0, 9)
_LEVEL_MAX: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponse:
    """The surface of an SVCJ model after a jump, as shifts of today's surface by strike."""

    model: Svcj

    def shifts(self, log_move: ArrayLike, /) -> tuple[Float64, Float64, Float64]:
        """Level, skew and term of each log move: least squares over 7, 30 and 90 days and strikes
        within two standard deviations. A move of 0 is no jump and shifts nothing."""
        moves = np.atleast_1d(np.asarray(log_move, dtype=np.float64))
        found = {x: self._shift(x) if x != 0.0 else np.zeros(3) for x in set(moves.tolist())}
        told = np.array([found[x] for x in moves.tolist()]).reshape(len(moves), 3)
        return np.clip(told[:, 0], -_LEVEL_MAX, _LEVEL_MAX), told[:, 1], told[:, 2]

    def vols(self, k: ArrayLike, years: float, *, jumped: float = 0.0) -> Float64:
        """Volatilities at ln(strike/forward of today), before (0) or after a log jump; NaN where
        the model's price has none."""
        x = np.atleast_1d(np.asarray(k, dtype=np.float64)) - jumped
        side = np.where(x >= 0.0, 1.0, -1.0)
        call = fixed_price(self._after() if jumped else self.model, x, years)
        price = np.where(x >= 0.0, call, call - 1.0 + np.exp(x))
        return implied_vol(price=price, forward=1.0, strike=np.exp(x), years=years, side=side)

    def _after(self) -> Svcj:
        heston = self.model.heston
        return replace(self.model, heston=replace(heston, v0=heston.v0 + self.model.variance_jump))

    def _shift(self, jumped: float) -> Float64:
        rows: list[Float64] = []
        ratios: list[Float64] = []
        for years in _YEARS.tolist():
            middle = float(self.vols(0.0, years)[0])
            k = _DEVIATIONS * middle * np.sqrt(years)
            before, after = self.vols(k, years), self.vols(k, years, jumped=jumped)
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = np.log(after / before)
                x = k / (before * np.sqrt(years))
            known = np.isfinite(ratio)
            term = np.full(int(known.sum()), np.log(years * 365.0 / 30.0))
            rows.append(np.column_stack([np.ones(len(term)), x[known], term]))
            ratios.append(ratio[known])
        design, target = np.vstack(rows), np.concatenate(ratios)
        if len(target) < 3:
            return np.zeros(3)
        return np.asarray(np.linalg.lstsq(design, target, rcond=None)[0])
