"""What a pool would be after trades of its own that close or hedge, to the unit; and how few lots
do: many searches at once, each view assessed by the account's own rulebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from solvent.account.ledger import GENERAL, margin_slot, node
from solvent.engine.dealing import NOTHING, leg, premium_of, view_after
from solvent.engine.standing import View, standings
from solvent.engine.state import Account, Contract, Standing, State
from solvent.units import div_up

PPM: Final = 1_000_000
_WAYS: Final = 17
"""Points of a search that are looked at together."""


class Fill(NamedTuple):
    """Lots without sign, and their price in ticks."""

    lots: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Ladder:
    """What rests on one side of a book within a limit, the best first."""

    levels: tuple[Fill, ...]

    @property
    def lots(self) -> int:
        """All of it."""
        return sum(one.lots for one in self.levels)

    def walk(self, lots: int) -> tuple[Fill, ...]:
        """What the first lots trade at.

        >>> Ladder((Fill(3, 10), Fill(5, 9))).walk(4)
        (Fill(lots=3, ticks=10), Fill(lots=1, ticks=9))
        """
        found, left = [], lots
        for one in self.levels:
            if left <= 0:
                break
            part = min(left, one.lots)
            found.append(Fill(part, one.ticks))
            left -= part
        return tuple(found)

    def part(self, share: Fraction) -> Ladder:
        """The best of it, to a share of all its lots, rounded down.

        >>> Ladder((Fill(3, 10), Fill(5, 9))).part(Fraction(1, 2)).levels
        (Fill(lots=3, ticks=10), Fill(lots=1, ticks=9))
        """
        return Ladder(self.walk(int(self.lots * share)))


def after(
    state: State, seen: View, contract: Contract, fills: Sequence[Fill], *, buys: bool,
    fee_ppm: int = 0,
) -> View:  # fmt: skip
    """A pool's view once it has traded with fills, its fee to the insurance fund paid as far as its
    money goes."""
    account, deal = seen.account, contract.deal
    held = _held(contract, account)
    value = 0
    for fill in fills:
        points = fill.ticks * deal.points_per_tick
        lots = fill.lots if buys else -fill.lots
        one = leg(
            state, contract, account, lots=lots, points=points,
            premium=premium_of(contract, fill.lots, points), held=held,
        )  # fmt: skip
        one.apart = contract.number in seen.margins
        seen = view_after(state, one, seen)
        held = one.change.lots, one.change.entry_value, one.change.basis_value
        value += abs(deal.value(fill.lots, points))
    return _charged(seen, contract, value, fee_ppm) if fee_ppm else seen


def _held(contract: Contract, account: Account) -> tuple[int, int, int]:
    position = contract.holders.get(account.number)
    if position is None:
        return NOTHING
    return position.lots, position.entry_value, position.basis_value


def _charged(seen: View, contract: Contract, value: int, fee_ppm: int) -> View:
    """Less the fee: of an isolated position out of its margin."""
    deal = contract.deal
    fee = div_up(value * deal.numerator * fee_ppm, deal.denominator * PPM)
    balances, margins = dict(seen.balances), dict(seen.margins)
    if contract.number in margins:
        margins[contract.number] -= min(fee, max(0, margins[contract.number]))
    else:
        own = balances.get(deal.asset, 0)
        balances[deal.asset] = own - min(fee, max(0, own))
    return View(
        seen.account, seen.positions, balances, margins, seen.orders, seen.modes, seen.sides
    )


def money_of(state: State, account: Account, asset: int, contract: int | None) -> int:
    """A pool's own money of an asset: the account's, or the margin of the isolated contract."""
    slot = GENERAL if contract is None else margin_slot(contract)
    return state.ledger.balance(node(account.number, slot, asset))


# ── how few lots do ──────────────────────────────────────────────────────────────────────────────


class Ask(NamedTuple):
    """A search for the fewest lots, at most `most`, after which a pool is `good`."""

    most: int
    view: Callable[[int], View]
    good: Callable[[View, Standing], bool]


def fewest(state: State, asks: Sequence[Ask]) -> list[int | None]:
    """Of each search n so that n lots are good and n − 1 are not; None where no number that was
    looked at is, `most` among them. Nothing done must not be good.

    What is good need not stay good with more lots: it is the first that was found, and one lot less
    is never good.
    """
    bounds = [(0, one.most) for one in asks]
    found: list[int | None] = [None] * len(asks)
    going = [place for place, one in enumerate(asks) if one.most > 0]
    while going:
        points = [_points(*bounds[place]) for place in going]
        flat = [
            (place, lots, asks[place].view(lots))
            for place, some in zip(going, points, strict=True)
            for lots in some
        ]
        good: dict[int, int] = {}
        least = {place: bounds[place][0] for place in going}
        answers = standings(state, [seen for _, _, seen in flat])
        for (place, lots, seen), one in zip(flat, answers, strict=True):
            if place in good:
                continue
            if asks[place].good(seen, one):
                good[place] = lots
            else:
                least[place] = lots
        for place in going:
            if place in good:
                found[place] = good[place]
                bounds[place] = least[place], good[place]
        going = [p for p in going if p in good and bounds[p][1] - bounds[p][0] > 1]
    return found


def _points(bad: int, last: int) -> list[int]:
    """Numbers above `bad` up to `last`, which is one of them, evenly spread."""
    step = max(1, -(-(last - bad) // _WAYS))
    return [*range(bad + step, last, step), last]
