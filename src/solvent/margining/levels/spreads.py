"""Ordered tables of spreads: each in turn matches what is left of opposite amounts and uses it up.

Amounts (deltas of months, of products) belong to rows. A spread has legs on two sides. It forms as
often as its scarcest leg allows, `min |amount| / ratio`, where the legs of one side are long and
those of the other short; both ways round are tried. What it uses is gone for the spreads after it.
A leg of several rows offers what they hold of its sign together, and takes it row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from solvent.errors import check
from solvent.margining.levels.text import LegText, SpreadText

STANDING: Final = ("underlying", "settlement", "expiry", "kind", "strike", "right", "instrument")
"""Keys by which a leg of several rows takes from them in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """Rows that one leg may take from.

    `sign` is +1 for side A, −1 for side B. `ratio` is in units of the amount per spread. `rate`
    is what a unit that the leg used counts for.
    """

    rows: tuple[int, ...]
    sign: int
    ratio: Fraction
    rate: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One entry of the table; `rate` is money, or what else is counted, per spread."""

    legs: tuple[Leg, ...]
    rate: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """What a table did to a group of rows.

    Attributes:
        count: spreads formed. charge: Σ spreads × rate.
        used: [row] amount that spreads took, not negative. rated: [row] the same × leg's rate.
        left: [row] signed amount that no spread took.
    """

    count: Fraction
    charge: Fraction
    used: tuple[Fraction, ...]
    rated: tuple[Fraction, ...]
    left: tuple[Fraction, ...]


def match(amounts: Sequence[Fraction], spreads: Sequence[Spread]) -> Matching:
    """Form spreads in the table's order.

    >>> one = Fraction(1)
    >>> near, far = (Leg(rows=(r,), sign=s, ratio=one, rate=one) for r, s in ((0, 1), (1, -1)))
    >>> made = match([Fraction(10), Fraction(-7)], [Spread(legs=(near, far), rate=Fraction(150))])
    >>> int(made.charge), [int(x) for x in made.left]
    (1050, [3, 0])
    """
    left = list(amounts)
    used, rated = [Fraction(0)] * len(left), [Fraction(0)] * len(left)
    count = charge = Fraction(0)
    for spread in spreads:
        check(len(spread.legs) > 1, "a spread has two legs or more", len(spread.legs))
        for way in (1, -1):
            offered = [_offer(left, leg, way) / leg.ratio for leg in spread.legs]
            formed = min(offered)
            if formed <= 0:
                continue
            count += formed
            charge += formed * spread.rate
            for leg in spread.legs:
                _take(left, used, rated, leg, way, formed * leg.ratio)
    return Matching(
        count=count, charge=charge, used=tuple(used), rated=tuple(rated), left=tuple(left)
    )


def _offer(left: Sequence[Fraction], leg: Leg, way: int) -> Fraction:
    zero = Fraction(0)
    return sum((max(way * leg.sign * left[row], zero) for row in leg.rows), zero)


def _take(
    left: list[Fraction],
    used: list[Fraction],
    rated: list[Fraction],
    leg: Leg,
    way: int,
    wanted: Fraction,
) -> None:
    sign = way * leg.sign
    for row in leg.rows:
        part = min(max(sign * left[row], Fraction(0)), wanted)
        left[row] -= sign * part
        used[row] += part
        rated[row] += part * leg.rate
        wanted -= part
    check(wanted == 0, "legs of one side share no row", wanted)


def fitted(texts: Sequence[SpreadText], keys: Sequence[Mapping[str, Any]]) -> list[Spread]:
    """The spreads whose every leg finds rows in a group that has these keys, in their order."""
    made = (_fitted(text, keys) for text in texts)
    return [spread for spread in made if spread is not None]


def _fitted(text: SpreadText, keys: Sequence[Mapping[str, Any]]) -> Spread | None:
    legs = []
    for leg in text.legs:
        rows = [n for n, row in enumerate(keys) if named(leg, row)]
        if not rows:
            return None
        rate = text.rate if leg.rate is None else leg.rate
        legs.append(
            Leg(
                rows=tuple(sorted(rows, key=lambda n: standing(keys[n]))),
                sign=1 if leg.side == "A" else -1,
                ratio=Fraction(repr(leg.ratio)),
                rate=Fraction(repr(rate)),
            )
        )
    return Spread(legs=tuple(legs), rate=Fraction(repr(text.rate)))


def standing(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a row stands among those that one leg takes from: by its keys, the smallest first."""
    return tuple(str(row.get(key, "")) for key in STANDING)


def named(leg: LegText, row: Mapping[str, Any]) -> bool:
    """Whether a leg may take from a row that has these keys."""
    return all(
        str(row.get(key)) in ([wanted] if isinstance(wanted, str) else wanted)
        for key, wanted in leg.keys.items()
    )
