"""The gap charge as parts of a rulebook: far moves of a jump law, asked for beyond the core scan.

Two scans, `gap_down` and `gap_up`, revalue the book at moves from the grid's edge to the far end of
the jump law, with the volatility that was measured to follow such moves. What the requirement takes
of them is

    gap = max(gap_down − max(core, f·linear_down), gap_up − max(core, f·linear_up), 0)

where linear_down is what the book's futures alone lose at the far fall. With f = 0 (*strict*) all
of the gap beyond the core is asked for; with f = 1 (*wings*) what futures explain is forgiven, so
that futures alone pay nothing. Both are continuous in the book. A scenario's weight is 1, or falls
with its probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from math import exp, expm1, log1p
from typing import Any, Final

from solvent.errors import check
from solvent.margining.fragments import Fragment, merged
from solvent.scenarios.jumps import VolResponse

POINTS: Final = 5
"""Moves of a side: the edge, the far end, and three between."""
_VOL_MAX: Final = 5.0


class Weighting(StrEnum):
    """How much of a gap scenario's loss counts."""

    FULL = "full"
    REACH = "reach"
    """Edge/|move|: a future loses as much as at the edge, as venues weigh their far moves."""
    PROBABILITY = "probability"
    """The share of moves beyond the edge that go at least so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GapMoves:
    """The gap of one coin. Moves are relative and positive; `down` ends below 1.

    `edge` is where the grid ends, `far` where the gap does. `rate` is how fast the probability of
    a move beyond falls, per unit of log move (η of Kou's law), for weights by probability.
    """

    underlying: str
    edge_down: float
    edge_up: float
    far_down: float
    far_up: float
    response: VolResponse
    rate_down: float
    rate_up: float

    def __post_init__(self) -> None:
        check(0.0 < self.edge_down <= self.far_down < 1.0, "falls", self.edge_down, self.far_down)
        check(0.0 < self.edge_up <= self.far_up, "rises", self.edge_up, self.far_up)

    def moves(self, side: str) -> tuple[float, ...]:
        """Signed relative moves of a side, evenly spaced in logs from the edge to the far end.

        >>> gap = GapMoves(underlying="BTC", edge_down=0.2, edge_up=0.25, far_down=0.5, far_up=1.0,
        ...                response=VolResponse(), rate_down=10.0, rate_up=10.0)
        >>> [round(x, 3) for x in gap.moves("down")]
        [-0.2, -0.289, -0.368, -0.438, -0.5]
        """
        return tuple(expm1(x) for x in self._logs(side))

    def _logs(self, side: str) -> list[float]:
        edge, far = _logs_of(self, side)
        return [edge + (far - edge) * k / (POINTS - 1) for k in range(POINTS)]

    def values(self, weighting: Weighting) -> dict[str, float]:
        """The coin's row of the table `gap`."""
        row: dict[str, float] = {}
        for side in ("down", "up"):
            rate = self.rate_down if side == "down" else self.rate_up
            logs = self._logs(side)
            for k, (log_move, move) in enumerate(zip(logs, self.moves(side), strict=True)):
                level, _, term = self.response.shifts(log_move)
                row[f"{side}_{k}"] = round(move, 6)
                row[f"{side}_level_{k}"] = round(float(level), 6)
                row[f"{side}_term_{k}"] = round(float(term), 6)
                row[f"{side}_weight_{k}"] = round(
                    {
                        Weighting.FULL: 1.0,
                        Weighting.REACH: abs(self.moves(side)[0] / move),
                        Weighting.PROBABILITY: exp(-rate * abs(log_move - logs[0])),
                    }[weighting],
                    6,
                )
        return row


def _logs_of(gap: GapMoves, side: str) -> tuple[float, float]:
    if side == "down":
        return log1p(-gap.edge_down), log1p(-gap.far_down)
    return log1p(gap.edge_up), log1p(gap.far_up)


def gap_parts(
    coins: Sequence[GapMoves],
    *,
    node: str,
    into: str,
    core: str,
    effective: date,
    source: str,
    forgiven: float = 0.0,
    weighting: Weighting = Weighting.FULL,
) -> Fragment:
    """Tables, volatility rules, scenarios, scans and sums of the gap; `let.gap` of the requirement.

    `node` groups by settlement asset and counts in it (PnL is added there), `into` is the
    requirement's node and counts in dollars; `core` names what is already asked for, a scan or a
    `let` of the requirement. `forgiven` is f above. The requirement then adds `gap`.
    """
    check(0.0 <= forgiven <= 1.0, "a part of what futures explain", forgiven)
    rows = [
        {
            "keys": [one.underlying],
            "effective": effective,
            "source": source,
            "evidence": "fitted",
            "values": one.values(weighting),
        }
        for one in coins
    ]
    parts: Fragment = {
        "parameters": {"gap_forgiven": float(forgiven)},
        "tables": {"gap": {"by": "underlying", "rows": rows}},
        "vols": {},
        "scenarios": {},
        "scans": {},
        "sums": {},
    }
    # Of an inverse future a fall of x costs x/(1 − x) coin, a rise x/(1 + x).
    last = POINTS - 1
    for side, scale in (("down", f"-gap.down_{last}"), ("up", f"gap.up_{last}")):
        shared = f"gap_{side}"
        for k in range(POINTS):
            parts["vols"][f"{shared}_{k}"] = {"shocked": _vol(side, k)}
        points = [
            {
                "move": f"gap.{side}_{k}",
                "vol": f"{shared}_{k}",
                "weight": f"gap.{side}_weight_{k}",
            }
            for k in range(POINTS)
        ]
        parts["scenarios"][shared] = {"points": points}
        parts["scans"][shared] = {"scenarios": [shared], "node": node, "into": into}
        parts["sums"][f"linear_{side}"] = {
            "node": into,
            "unit": "dollar",
            "per_lot": f"(1 - is_option) * delta * index * {scale} * gap.{side}_weight_{last}"
            f" / where(coin, 1 + gap.{side}_{last}, 1)",
        }
    parts["requirement"] = {"let": {"gap": beyond_formula(core, forgiven="gap_forgiven")}}
    return parts


def _vol(side: str, k: int) -> str:
    """σ·exp(level + term·ln(days/30)), the exponent within ±2, as joint shocks have it."""
    shift = f"gap.{side}_level_{k} + gap.{side}_term_{k} * log(max(days, 0.1) / 30)"
    return f"min(iv * exp(clip({shift}, -2, 2)), {_VOL_MAX})"


def beyond_formula(core: str, *, forgiven: str) -> str:
    """What the gap asks for beyond `core`, of a requirement: a formula of the parts' names."""
    down = f"gap_down - max({core}, {forgiven} * linear_down)"
    up = f"gap_up - max({core}, {forgiven} * -linear_up)"
    return f"max({down}, {up}, 0)"


def with_gap(content: Fragment, parts: Fragment) -> dict[str, Any]:
    """A rulebook of scans with the whole gap added to both margins: `x` becomes `x + gap`."""
    whole = merged(content, parts)
    required = whole["requirement"]
    required["initial"] = f"({content['requirement']['initial']}) + gap"
    required["maintenance"] = f"({content['requirement']['maintenance']}) + gap"
    return whole
