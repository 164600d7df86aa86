"""The book way of ordered spread tables: all groups form their spreads together, one by one.

A group's sums do not depend on other groups, so that a block of accounts may be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.margining.levels.spreads import STANDING, named, standing
from solvent.margining.levels.text import LegText, SpreadText
from solvent.units import Float64

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Side:
    """Rows of a leg in each group, first to last: `places[n]` holds the n-th of every group."""

    rows: Int64
    groups: Int64
    places: tuple[Int64, ...]
    sign: float
    ratio: float
    rate: float


def match_groups(
    texts: Sequence[SpreadText],
    *,
    groups: Int64,
    count: int,
    amounts: Float64,
    codes: Mapping[str, Int64],
    names: Mapping[str, Sequence[str]],
) -> dict[str, Float64]:
    """`form.SPREAD_FIELDS` of every row and group.

    `codes` is key → code of each row, `names` key → name of every code. A group with an amount that
    is not known is NaN throughout.

    >>> leg = [LegText(side=s, keys={"expiry": e}) for s, e in (("A", "1"), ("B", "2"))]
    >>> made = match_groups([SpreadText(rate=150, legs=leg)], groups=np.array([0, 0]), count=1,
    ...                     amounts=np.array([10.0, -7.0]), codes={"expiry": np.array([0, 1])},
    ...                     names={"expiry": ["1", "2"]})
    >>> made["charge"].tolist(), made["left"].tolist()
    ([1050.0], [3.0, 0.0])
    """
    unknown = np.bincount(groups, weights=np.isnan(amounts), minlength=count) > 0
    left = np.where(unknown[groups], 0.0, amounts)
    used, rated = np.zeros(len(left)), np.zeros(len(left))
    formed_all, charge = np.zeros(count), np.zeros(count)
    members = _members(codes, names)
    for text in texts:
        sides = [_side(leg, text.rate, members, groups) for leg in text.legs]
        for way in (1.0, -1.0) if all(len(side.rows) for side in sides) else ():
            formed = np.min([_offer(left, side, way, count) for side in sides], axis=0)
            if not formed.any():
                continue
            formed_all += formed
            charge += formed * text.rate
            for side in sides:
                _take(left, used, rated, side, way, formed * side.ratio, groups)
    missing = np.where(unknown, np.nan, 0.0)
    return {
        "count": formed_all + missing,
        "charge": charge + missing,
        "used": used + missing[groups],
        "rated": rated + missing[groups],
        "left": left + missing[groups],
    }


@dataclass(frozen=True, slots=True)
class _Members:
    """Rows of one combination of keys."""

    keys: Mapping[str, str]
    rows: Int64


def _members(codes: Mapping[str, Int64], names: Mapping[str, Sequence[str]]) -> list[_Members]:
    """Rows by what tells them apart, in the order in which a leg takes from them."""
    used = [key for key in STANDING if key in codes]
    table = np.column_stack([codes[key] for key in used])
    combined, of = np.unique(table, axis=0, return_inverse=True)
    order = np.argsort(of.ravel(), kind="stable")
    first = np.searchsorted(of.ravel()[order], np.arange(len(combined) + 1))
    found = [
        _Members(
            {key: names[key][code] for key, code in zip(used, one, strict=True)},
            order[first[n] : first[n + 1]],
        )
        for n, one in enumerate(combined)
    ]
    return sorted(found, key=lambda members: standing(members.keys))


def _side(leg: LegText, rate: float, members: Sequence[_Members], groups: Int64) -> _Side:
    blocks = [one.rows for one in members if named(leg, one.keys)]
    rows = np.concatenate([np.zeros(0, np.int64), *blocks])
    mine = groups[rows]
    order = np.argsort(mine, kind="stable")
    depth = np.arange(len(order)) - np.searchsorted(mine[order], mine[order])
    places = tuple(rows[order[depth == n]] for n in range(int(depth.max(initial=-1)) + 1))
    own = rate if leg.rate is None else leg.rate
    return _Side(rows, mine, places, 1.0 if leg.side == "A" else -1.0, leg.ratio, own)


def _offer(left: Float64, side: _Side, way: float, count: int) -> Float64:
    held = np.maximum(way * side.sign * left[side.rows], 0.0)
    return np.bincount(side.groups, weights=held, minlength=count) / side.ratio


def _take(
    left: Float64, used: Float64, rated: Float64, side: _Side, way: float, wanted: Float64,
    groups: Int64,
) -> None:  # fmt: skip
    sign = way * side.sign
    for rows in side.places:
        part = np.minimum(np.maximum(sign * left[rows], 0.0), wanted[groups[rows]])
        left[rows] -= sign * part
        used[rows] += part
        rated[rows] += part * side.rate
        wanted[groups[rows]] -= part
