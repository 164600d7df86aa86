"""Liquidation the slow way: lot by lot, unit by unit, by trying. Twins of `liquidation`.

Money is whole units, weights and shares fractions or whole numbers; nothing is rounded but where it
is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

Number = Fraction | int


def least_lots(good: Callable[[int], bool], most: int) -> int | None:
    """The first number of lots that is good, from 0 up.

    >>> least_lots(lambda lots: 7 * lots >= 30, 10)
    5
    """
    for lots in range(most + 1):
        if good(lots):
            return lots
    return None


def poured(
    weights: Sequence[Number], caps: Sequence[Number | None], total: Number
) -> list[Fraction]:
    """By weight, none beyond its cap: share among all, fix those that overflow, and start again.

    >>> [str(one) for one in poured([1, 1, 2], [1, None, None], 10)]
    ['1', '3', '6']
    """
    fixed: dict[int, Fraction] = {
        row: Fraction(0) for row, weight in enumerate(weights) if not weight
    }
    while True:
        rows = [row for row in range(len(weights)) if row not in fixed]
        left = Fraction(total) - sum(fixed.values())
        whole = sum(Fraction(weights[row]) for row in rows)
        share = {row: left * weights[row] / whole for row in rows}
        over = {row: Fraction(cap) for row in rows
                if (cap := caps[row]) is not None and share[row] > cap}  # fmt: skip
        if not over:
            done = fixed | share
            return [done[row] for row in range(len(weights))]
        fixed |= over


def whole_units(shares: Sequence[Fraction]) -> list[int]:
    """Whole units with the same sum, rounded down: unit by unit to who lacks most of its share.

    >>> whole_units([Fraction(5, 2), Fraction(5, 4), Fraction(5, 4)])
    [3, 1, 1]
    """
    given = [int(share) for share in shares]
    for _ in range(int(sum(shares)) - sum(given)):
        lacks = [share - have for share, have in zip(shares, given, strict=True)]
        given[lacks.index(max(lacks))] += 1
    return given


def one_by_one(have: Sequence[int], order: Sequence[int], total: int) -> list[int]:
    """A queue that pays a unit at a time, each time the first that still has one.

    >>> one_by_one([2, 5, 5], [1, 0, 2], 6)
    [1, 5, 0]
    """
    paid = [0] * len(have)
    for _ in range(total):
        row = next((row for row in order if paid[row] < have[row]), None)
        if row is None:
            break
        paid[row] += 1
    return paid


def least_worst(seized: Number, equity: Sequence[Number], most: Sequence[Number]) -> Fraction:
    """The least largest share of equity by which a sum can be seized within what each may lose.

    At a share θ the rows give Σ min(most, θ·equity): a line between the shares at which a row has
    given all. The first stretch that reaches the sum holds the answer.

    >>> str(least_worst(60, [100, 100], [80, 20]))
    '2/5'
    """
    if not seized:
        return Fraction(0)

    def given(share: Fraction) -> Fraction:
        return sum(
            (min(Fraction(cap), share * of) for cap, of in zip(most, equity, strict=True)),
            Fraction(0),
        )

    low = Fraction(0)
    for high in sorted({Fraction(cap) / of for cap, of in zip(most, equity, strict=True)}):
        if given(high) >= seized:
            return low + (high - low) * (seized - given(low)) / (given(high) - given(low))
        low = high
    return low


def worst_defaults(losses: Mapping[str, Mapping[str, int]], members: int) -> int:
    """The most that any so many members lose together in any scenario, by trying all of them.

    >>> worst_defaults({"up": {"a": 30, "b": 12, "c": 25}, "down": {"a": 5, "b": 40, "c": 22}}, 2)
    62
    """
    return max(
        sum(row[name] for name in some)
        for row in losses.values()
        for some in combinations(row, min(members, len(row)))
    )


def unit_by_unit(house: Mapping[str, Any], losses: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """A waterfall of house accounts, one unit of loss at a time: (layer, payer) → paid.

    `house` has `members` (name → margin, contribution), `skin`, `second`, `multiple`, `gains` and
    `claims` by member. Members pay their layers by what each has in them.

    >>> house = {"members": {"a": (6, 1), "b": (6, 4)}, "skin": 1, "second": 0,
    ...     "multiple": Fraction(1, 2), "gains": {}, "claims": {}}
    >>> unit_by_unit(house, {"a": 13})
    {('defaulter_margin', 'a'): 6, ('defaulter_fund', 'a'): 1, ('skin', ''): 1,
     ('members_fund', 'b'): 4, ('assessments', 'b'): 1}
    """
    members, multiple = house["members"], house["multiple"]
    others = [name for name in members if name not in losses]
    paid: dict[tuple[str, str], int] = {}
    left = 0
    for name, loss in losses.items():
        for _ in range(loss):
            for layer, have in zip(("margin", "fund"), members[name], strict=True):
                key = (f"defaulter_{layer}", name)
                if paid.get(key, 0) < have:
                    paid[key] = paid.get(key, 0) + 1
                    break
            else:
                left += 1
    layers: list[tuple[str, dict[str, int]]] = [
        ("skin", {"": house["skin"]}),
        ("members_fund", {name: members[name][1] for name in others}),
        ("assessments", {name: int(multiple * members[name][1]) for name in others}),
        ("second_skin", {"": house["second"]}),
        ("gains", {name: max(0, house["gains"].get(name, 0)) for name in others}),
        ("tear_up", {name: max(0, house["claims"].get(name, 0)) for name in others}),
    ]
    taken = [0] * len(layers)
    for _ in range(left):
        for place, (_, have_by) in enumerate(layers):
            if taken[place] < sum(have_by.values()):
                taken[place] += 1
                break
    for total, (layer, have_by) in zip(taken, layers, strict=True):
        whole = sum(have_by.values())
        if not total:
            continue
        parts = whole_units([Fraction(total * have, whole) for have in have_by.values()])
        paid |= {(layer, who): part for who, part in zip(have_by, parts, strict=True)}
    return {key: part for key, part in paid.items() if part}
