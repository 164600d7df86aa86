"""Into the order book: how much of which position, by the rulebook's way, and no worse than where.

What is planned is what rests now, walked price by price, so that the fewest lots are the fewest at
the prices that will be got. No step goes beyond the slippage from the mark, nor beyond the price at
which the account has nothing left where somebody else would take it there; so liquidation itself
does not move the mark, and a debt is not made by selling.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, NamedTuple

from solvent.engine.standing import View, standings
from solvent.engine.state import Account, Contract, Standing, State
from solvent.engine.wound_up import notional_micro, target_gap, target_reached
from solvent.liquidation.reduce import (
    BlockLimits,
    Candidate,
    Slices,
    best_step,
    block_lots,
    next_slice,
    step_down,
)
from solvent.margining.closing import LiquidationText, ReduceText
from solvent.messages import commands as c
from solvent.messages.fields import Phase, Side
from solvent.tending.closings import bankrupt, plan_of
from solvent.tending.fills import PPM, Ask, Ladder, after, fewest
from solvent.tending.looked import Looked
from solvent.tending.plans import Plan, Row, dollars, row
from solvent.tending.pools import Pool, concerned, done, pools_of, rules_of
from solvent.tending.prices import limit_ticks, resting
from solvent.units import MICRO

AHEAD: Final = 31
"""Further accounts whose searches are made with the first's."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A trade that can be done in a book: at most `most` lots of what rests."""

    contract: Contract
    buys: bool
    most: int
    limit: int
    ladder: Ladder
    hedge: bool = False

    @property
    def side(self) -> tuple[int, bool]:
        """The contract, and whether it is bought."""
        return self.contract.number, self.buys

    def without(self, lots: int) -> Choice:
        """What is left of it when others have taken the best lots of what rests."""
        ladder = self.ladder.without(lots)
        return replace(self, ladder=ladder, most=min(self.most, ladder.lots))


def planned(
    state: State, pool: Pool, closing: LiquidationText, looked: Looked | None = None
) -> Plan | str | None:  # fmt: skip
    """The next step into a book; why it waits; or None where nothing rests that could be taken."""
    reduce = closing.reduce
    choices = offered(state, pool, closing)
    if not choices:
        return "its cooldown" if _cooling(state, pool, reduce) else None
    fee_ppm = round(reduce.fee * PPM)
    known = [one for one in choices if one.hedge or tier_tops(state, pool, one.contract)]
    if reduce.way in ("minimum", "hedge") or (reduce.way == "tiers" and not known):
        # A rulebook whose tiers are told from outside leaves the fewest lots.
        rows = _least(state, pool, closing, choices, fee_ppm, looked)
    else:
        # One position at a time: its target may be reached before the next one's turn comes.
        sized = ((one, _sized(state, pool, reduce, one)) for one in choices)
        rows = [_row(pool, one, lots, fee_ppm, reduce.way) for one, lots in sized if lots][:1]
    if not rows:
        return None
    rule = f"into the book by `{reduce.way}` until {reduce.target}"
    return plan_of(state, pool, "book", rule, rows, funds=False)


def offered(state: State, pool: Pool, closing: LiquidationText) -> list[Choice]:
    """Positions that something rests for within their limits; hedges, where these are allowed."""
    reduce, found = closing.reduce, []
    floors = {}
    if _others_take(closing):
        floors = {one.contract.number: one.ticks for one in bankrupt(state, pool, closing)}
    share = Fraction(repr(reduce.book_share))
    for number, (lots, _) in pool.seen.positions.items():
        contract = state.contracts[number]
        if not lots or contract.settled or contract.mark_points is None:
            continue
        if contract.phase is not Phase.CONTINUOUS or _hot(state, pool, reduce, number):
            continue
        buys = lots < 0
        limit = limit_ticks(state, contract, reduce.slippage, buys=buys)
        if number in floors:
            limit = min(limit, floors[number]) if buys else max(limit, floors[number])
        ladder = resting(state, contract, limit, buys=buys).part(share)
        if ladder.lots:
            most = min(abs(lots), ladder.lots)
            found.append(Choice(contract, buys, most, limit, ladder))
    if reduce.way == "hedge" and pool.contract is None:
        found += _hedges(state, pool, reduce, share)
    return found


def _others_take(closing: LiquidationText) -> bool:
    """Whether a later stage takes positions at their bankruptcy price."""
    stages = closing.stages[closing.stages.index("book") + 1 :]
    return "adl" in stages or "backstop" in stages or ("fund" in stages and closing.fund.takes)


def _hot(state: State, pool: Pool, reduce: ReduceText, number: int) -> bool:
    case = state.cases.get(pool.account.number)
    last_ms = None if case is None else case.stepped.get(number)
    return last_ms is not None and state.log.time_ms < last_ms + reduce.cooldown_ms


def _cooling(state: State, pool: Pool, reduce: ReduceText) -> bool:
    """Whether a position waits that is still worth something: one that is not goes to who takes
    it."""
    return pool.found.equity_micro > 0 and any(
        _hot(state, pool, reduce, number) for number in pool.seen.positions
    )


def _hedges(state: State, pool: Pool, reduce: ReduceText, share: Fraction) -> list[Choice]:
    """Both sides of the perpetuals and futures on what a pool has options on."""
    held = [state.contracts[number] for number in pool.seen.positions]
    coins = {one.deal.underlying for one in held if one.deal.up_front}
    found = []
    for contract in state.contracts:
        deal = contract.deal
        linear = not deal.up_front and deal.underlying in coins and not contract.settled
        if not linear or contract.mark_points is None or contract.phase is not Phase.CONTINUOUS:
            continue
        if pool.account.isolates(contract.number) or _hot(state, pool, reduce, contract.number):
            continue
        for buys in (True, False):
            lots = pool.seen.positions.get(contract.number, (0, 0))[0]
            if lots and (lots < 0) == buys:
                continue  # that side closes what it holds
            limit = limit_ticks(state, contract, reduce.slippage, buys=buys)
            ladder = resting(state, contract, limit, buys=buys).part(share)
            most = min(ladder.lots, _delta_lots(state, pool, contract))
            if most:
                found.append(Choice(contract, buys, most, limit, ladder, hedge=True))
    return found


def _delta_lots(state: State, pool: Pool, contract: Contract) -> int:
    """Lots of a future that stand for all the options that a pool has on its coin, rounded up."""
    size = Fraction(0)
    for number, (lots, _) in pool.seen.positions.items():
        deal = state.contracts[number].deal
        if deal.up_front and deal.underlying == contract.deal.underlying:
            size += abs(lots) * deal.lot_size
    if contract.deal.inverse:
        size *= Fraction(state.underlyings[contract.deal.underlying].price_nano, 10**9)
    return math.ceil(size / contract.deal.lot_size)


# ── the fewest lots ──────────────────────────────────────────────────────────────────────────────


def _least(
    state: State, pool: Pool, closing: LiquidationText, choices: Sequence[Choice], fee_ppm: int,
    looked: Looked | None,
) -> list[Row]:  # fmt: skip
    """The choice that improves the account's own condition most per unit of cost, and of it the
    fewest lots that are enough. Where none is enough all of the best goes, and one looks again."""
    new = looked is not None and pool.account.number not in looked.in_book
    if looked is not None and new and not _singly(state, pool):
        # What costs by the call and not by the account is asked for many.
        _foresee(state, [pool.account, *looked.next_in_book(AHEAD)], looked)
    found = standings(state, _wholes(state, pool, choices, fee_ppm))
    place = _best(pool, closing, choices, found)
    if place is None:
        # Nothing makes it better: what frees most maintenance margin goes, and the rest after it.
        freed = [stands.maintenance_micro for stands in found]
        one = choices[min(range(len(choices)), key=freed.__getitem__)]
        return [] if one.hedge else [_row(pool, one, one.most, fee_ppm, "all that rests")]
    one = choices[place]
    ask = _ask(state, pool, closing, one, found[place], fee_ppm)
    if looked is not None:
        guess = looked.in_book.get(pool.account.number, {}).get(_key(pool, one), 0)
        ask = ask._replace(guess=guess)
    (lots,) = fewest(state, [ask])
    why = "the fewest lots that are enough" if lots is not None else "all that rests"
    return [_row(pool, one, one.most if lots is None else lots, fee_ppm, why)]


def _wholes(state: State, pool: Pool, choices: Sequence[Choice], fee_ppm: int) -> list[View]:
    """The pool after all of each choice."""
    return [
        after(state, pool.seen, one.contract, one.ladder.walk(one.most), buys=one.buys,
              fee_ppm=fee_ppm)
        for one in choices
    ]  # fmt: skip


def _best(
    pool: Pool, closing: LiquidationText, choices: Sequence[Choice], found: Sequence[Standing]
) -> int | None:
    """Which choice goes first, by where all of each leads; None where none makes it better."""
    reduce = closing.reduce
    enough = [
        one for one, stands in zip(choices, found, strict=True)
        if stands.known and target_reached(stands, reduce) and not one.hedge
    ]  # fmt: skip
    rated = [
        _candidate(pool, one, place, stands)
        for place, (one, stands) in enumerate(zip(choices, found, strict=True))
        if stands.known and (not enough or one in enough or one.hedge)
    ]
    # A hedge goes first where it helps more for its cost: deltas before options.
    best = best_step(rated, may_open=reduce.way == "hedge")
    return None if best is None else int(best.symbol)


def _ask(
    state: State, pool: Pool, closing: LiquidationText, one: Choice, whole: Standing, fee_ppm: int
) -> Ask:
    """The search for the fewest lots of a choice, of which it is known where all of it leads."""
    reached = whole.known and target_reached(whole, closing.reduce)
    return Ask(
        one.most,
        lambda lots: after(state, pool.seen, one.contract, one.ladder.walk(lots), buys=one.buys,
                           fee_ppm=fee_ppm),
        lambda _, stands: stands.known and target_reached(stands, closing.reduce),
        gap=lambda stands: target_gap(stands, closing.reduce),
        start=pool.found, end=whole if reached else None,
        singly=_singly(state, pool),
    )  # fmt: skip


def _singly(state: State, pool: Pool) -> bool:
    """Whether one account is margined without arrays: then nothing is gained by asking for many."""
    return rules_of(state, pool.account).alone is not None


def _key(pool: Pool, one: Choice) -> tuple[int, int, bool]:
    return pool.number, one.contract.number, one.buys


class _Foreseen(NamedTuple):
    """A pool whose turn comes, and what rests for it."""

    pool: Pool
    closing: LiquidationText
    choices: list[Choice]
    fee_ppm: int


def _foresee(state: State, accounts: Sequence[Account], looked: Looked) -> None:
    """The same for accounts whose turn comes next, all at once: a guess for each of them, and
    standings that are remembered and hold if those before it take what they are guessed to."""
    parts: list[_Foreseen] = []
    for pool in (one for pools in pools_of(state, accounts) for one in pools):
        looked.in_book.setdefault(pool.account.number, {})
        closing = rules_of(state, pool.account).closing
        if "book" not in closing.stages or closing.reduce.way not in ("minimum", "tiers"):
            continue
        if not pool.found.known or not concerned(state, pool) or done(state, pool):
            continue
        choices = offered(state, pool, closing)
        parts.append(_Foreseen(pool, closing, choices, round(closing.reduce.fee * PPM)))
    taken: Counter[tuple[int, bool]] = Counter()
    later: list[_Foreseen] = []
    for one, found in zip(parts, _searched(state, parts), strict=True):
        left = [choice.without(taken[choice.side]) for choice in one.choices]
        later.append(one._replace(choices=[choice for choice in left if choice.most]))
        if found is not None:
            taken[found[0].side] += found[1]
    for one, found in zip(later, _searched(state, later), strict=True):
        if found is not None:
            looked.in_book[one.pool.account.number][_key(one.pool, found[0])] = found[1]


def _searched(state: State, parts: Sequence[_Foreseen]) -> list[tuple[Choice, int] | None]:
    """Which choice of each goes first, and how much of it; None where none makes it better."""
    views = [
        view for one in parts for view in _wholes(state, one.pool, one.choices, one.fee_ppm)
    ]  # fmt: skip
    told = iter(standings(state, views))
    best: list[Choice | None] = []
    asks = []
    for one in parts:
        wholes = [next(told) for _ in one.choices]
        place = _best(one.pool, one.closing, one.choices, wholes) if wholes else None
        best.append(None if place is None else one.choices[place])
        if place is not None:
            choice = one.choices[place]
            asks.append(_ask(state, one.pool, one.closing, choice, wholes[place], one.fee_ppm))
    found = iter(fewest(state, asks))
    return [None if one is None else (one, next(found) or one.most) for one in best]


def _candidate(pool: Pool, one: Choice, place: int, stands: Any) -> Candidate:
    """What a choice does to equity less maintenance margin, and what it costs in equity."""
    before = pool.found.equity_micro - pool.found.maintenance_micro
    now = stands.equity_micro - stands.maintenance_micro
    lots = one.most if one.buys else -one.most
    return Candidate(
        str(place), lots, now - before, pool.found.equity_micro - stands.equity_micro,
        leaves_worse=now <= before, opens=one.hedge,
    )  # fmt: skip


# ── by a venue's schedule ────────────────────────────────────────────────────────────────────────


def _sized(state: State, pool: Pool, reduce: ReduceText, one: Choice) -> int:
    """Lots by the rulebook's way, at most what rests."""
    number = one.contract.number
    lots = abs(pool.seen.positions[number][0])
    notional = notional_micro(state, {number: lots})
    match reduce.way:
        case "fraction":
            case = state.cases.get(pool.account.number)
            rule = Slices(
                fraction=Fraction(repr(reduce.fraction)),
                whole_at_micro=round(reduce.whole_below * MICRO), cooldown_ms=reduce.cooldown_ms,
                then_whole=reduce.then_whole,
            )  # fmt: skip
            last_ms = None if case is None else case.stepped.get(number)
            wanted = next_slice(lots, notional, rule, last_ms=last_ms, time_ms=state.log.time_ms)
        case "tiers":
            wanted = lots
            tops = tier_tops(state, pool, one.contract)
            below = reduce.tiers_from - 2
            if len(tops) > below and lots > tops[below]:
                wanted = step_down(lots, tops, reduce.tiers_down)
        case "blocks":
            dollar = reduce.block_dollars
            limits = BlockLimits(
                portion_ppm=max(1, round(reduce.block_share * PPM)), position_micro_min=0,
                account_micro_max=notional if dollar is None else round(dollar * MICRO),
            )  # fmt: skip
            wanted = block_lots(lots, notional, limits)
        case _:
            wanted = lots
    return min(one.most, wanted)


def tier_tops(state: State, pool: Pool, contract: Contract) -> tuple[int, ...]:
    """The most lots of each tier that the rulebook has for a contract by its symbol, rising, up to
    one that holds the position; empty where it has none.

    Tiers are a table of maintenance rates by value, or a first limit and steps; both in what the
    contract settles in. A bound is rounded down to whole lots: above it begins the next tier.
    """
    tables = getattr(state.rules[pool.account.rulebook].rulebook, "tables", None)
    held = abs(pool.seen.positions[contract.number][0])
    deal, index = contract.deal, state.underlyings.get(contract.deal.underlying)
    price = 0 if index is None else index.price_nano
    lot = Fraction(deal.notional(1, contract.mark_points or 0, price)) / deal.asset_scale
    if not isinstance(tables, dict) or not lot:
        return ()
    for rows in tables.values():
        told = rows.get(deal.symbol)
        if told is None or "maintenance" not in told:
            continue
        if "limit" in told and "step" in told:
            first, step = (Fraction(repr(told[name])) for name in ("limit", "step"))
            steps = max(0, math.ceil((held * lot - first) / step)) if step > 0 else 0
            bounds = [first + place * step for place in range(steps + 1)]
        else:
            begins = told.get("from", told.get("above", (0,)))
            bounds = [Fraction(repr(one)) for one in begins[1:]]
        tops = {math.floor(bound / lot) for bound in bounds} | {held}
        return tuple(sorted(top for top in tops if top > 0))
    return ()


def _row(pool: Pool, one: Choice, lots: int, fee_ppm: int, why: str) -> Row:
    held = pool.seen.positions.get(one.contract.number, (0, 0))[0]
    after_lots = held + (lots if one.buys else -lots)
    short = pool.found.maintenance_micro - pool.found.equity_micro
    return row(
        f"{why}: from {held:,} to {after_lots:,} lots, {dollars(short)} dollars short",
        c.LiquidateInBook, account=pool.account.name, symbol=one.contract.listing.symbol,
        side=Side.BUY if one.buys else Side.SELL, lots=lots, price_ticks=one.limit,
        fee_ppm=fee_ppm, hedge=one.hedge,
    )  # fmt: skip
