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
_STRAIGHT: Final = 4
"""Rounds of a search that asks one by one in which it trusts a straight line, and nothing else."""


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

    def without(self, lots: int) -> Ladder:
        """What is left when the first lots are gone.

        >>> Ladder((Fill(3, 10), Fill(5, 9))).without(4).levels
        (Fill(lots=4, ticks=9),)
        """
        found = []
        for one in self.levels:
            gone = min(lots, one.lots)
            lots -= gone
            if one.lots > gone:
                found.append(Fill(one.lots - gone, one.ticks))
        return Ladder(tuple(found))

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
    # As an account is seen: without what it has nothing of.
    seen.balances = {asset: amount for asset, amount in seen.balances.items() if amount}
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
    """A search for the fewest lots, at most `most`, after which a pool is `good`.

    `gap`: how far from good a standing is, below 0 where it is not; only a guide to where to look.
    `start`, `end`: how the pool stands with nothing done, and with all of it, where that is known.
    `guess`: lots that may well be the answer; 0 for none. `singly`: each view is asked for by
    itself, so that few are worth more than few rounds.
    """

    most: int
    view: Callable[[int], View]
    good: Callable[[View, Standing], bool]
    gap: Callable[[Standing], int] | None = None
    start: Standing | None = None
    end: Standing | None = None
    guess: int = 0
    singly: bool = False


def fewest(state: State, asks: Sequence[Ask]) -> list[int | None]:
    """Of each search n so that n lots are good and n − 1 are not; None where no number that was
    looked at is, `most` among them. Nothing done must not be good.

    What is good need not stay good with more lots: it is the first that was found, and one lot less
    is never good.
    """
    searches = [_Search(one) for one in asks]
    going = [one for one in searches if one.goes_on]
    while going:
        flat = [
            (one, lots, one.ask.view(lots)) for one in going for lots in one.points()
        ]  # fmt: skip
        for (one, lots, seen), stands in zip(
            flat, standings(state, [seen for _, _, seen in flat]), strict=True
        ):
            one.learn(lots, stands, good=one.ask.good(seen, stands))
        for one in going:
            one.round_over()
        going = [one for one in going if one.goes_on]
    return [one.found for one in searches]


class _Search:
    """What is known of one search: `bad` lots are not good, `found` are; and by how much."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.bad, self.found = 0, None if ask.end is None else ask.most
        self.goes_on = ask.most > 0 and self.found != 1
        self._gaps = {0: self._gap(ask.start), ask.most: self._gap(ask.end)}
        self._guess = min(ask.guess, ask.most)
        self._rising, self._least = 0, self.found
        self._rounds = 0
        self._ended = ask.end is not None

    def _gap(self, stands: Standing | None) -> int | None:
        if stands is None or self.ask.gap is None or not stands.known:
            return None
        return self.ask.gap(stands)

    def points(self) -> list[int]:
        """Lots to look at next, rising: the guess and one less; where a straight line crosses, or
        around it; or evenly spread."""
        self._rounds += 1
        if self._guess:
            guess, self._guess = self._guess, 0
            return [one for one in (guess - 1, guess) if one > self.bad]
        last = self.ask.most if self.found is None else self.found
        below, above = self._gaps.get(self.bad), self._gaps.get(last)
        if self.found is None or below is None or above is None or below >= 0 or above < 0:
            return _points(self.bad, last)
        crossing = self.bad - (last - self.bad) * below // (above - below)
        if self.ask.singly and self._rounds <= _STRAIGHT:
            crossing = min(max(crossing, self.bad + 1), last - 1)
            return [one for one in (crossing - 1, crossing) if one > self.bad]
        return _around(crossing, self.bad, last)

    def learn(self, lots: int, stands: Standing, *, good: bool) -> None:
        """What stands after so many lots; the fewer first."""
        self._gaps[lots] = self._gap(stands)
        self._ended = self._ended or lots == self.ask.most
        if good and (self._least is None or lots < self._least):
            self._least = lots
        if not good and (self._least is None or lots < self._least):
            self._rising = lots

    def round_over(self) -> None:
        """Take in what a round has told."""
        self.found, self.bad = self._least, max(self.bad, self._rising)
        if self.found is None:
            self.goes_on = not self._ended
        else:
            self.goes_on = self.found - self.bad > 1


def _points(bad: int, last: int) -> list[int]:
    """Numbers above `bad` up to `last`, which is one of them, evenly spread."""
    step = max(1, -(-(last - bad) // _WAYS))
    return [*range(bad + step, last, step), last]


def _around(middle: int, bad: int, last: int) -> list[int]:
    """A number between two others, and numbers ever further from it on both sides.

    >>> _around(50, 0, 100)
    [18, 42, 48, 49, 50, 51, 52, 58, 82]
    """
    middle = min(max(middle, bad + 1), last - 1)
    found, away = {middle, middle - 1, middle + 1}, 2
    while away < last - bad:
        found |= {middle - away, middle + away}
        away *= 4
    return sorted(one for one in found if bad < one < last)
