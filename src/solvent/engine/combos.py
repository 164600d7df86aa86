"""Combinations of contracts: what may be combined, and what a price means for each leg.

A combination's price is the sum of its legs' prices, each times the lots of it that one lot buys
(sold legs count negative). It trades as one and settles as its legs, whose prices add up exactly:
they start at their marks, and legs of one lot take what is left over, in their order, none of them
below a tick.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, gcd

from solvent.engine.refusal import contract_named
from solvent.engine.state import Combo, Contract, State
from solvent.errors import Refused, Reject
from solvent.limits import COMBO_FIRST, LISTED_MAX
from solvent.messages.commands import ListCombo
from solvent.messages.events import Event, Numbered
from solvent.orders.order import BookTerms


def list_combo(state: State, command: ListCombo, events: list[Event]) -> None:
    """A combination of contracts that are traded gets a book of its own."""
    if command.symbol in state.contract_numbers:
        raise Refused(Reject.NAME_TAKEN, f"instrument {command.symbol!r}: expected a new name")
    legs = tuple((contract_named(state, leg.symbol), leg.ratio) for leg in command.legs)
    if len(state.combos) >= LISTED_MAX:
        raise Refused(Reject.CAPACITY_REACHED, f"expected at most {LISTED_MAX} combinations")
    tick = Fraction(command.tick_size)
    if state.house.contract is not None:
        wrong = "no combinations where contracts are margined by themselves"
    else:
        wrong = _wrong(legs, tick)
    if wrong:
        raise Refused(
            Reject.INSTRUMENT_TERMS_INVALID, f"instrument {command.symbol}: expected {wrong}"
        )
    # From here on the combination must be listed.
    number = COMBO_FIRST + len(state.combos)
    combo = Combo(number=number, listing=command, legs=legs, tick=tick)
    state.combos.append(combo)
    state.contract_numbers[command.symbol] = number
    state.desk.open_book(number, terms_of_combo(state, combo))
    events.append(Numbered("instrument", command.symbol, number))


def check_one_contract(state: State, instrument: int) -> None:
    """Refuse a combination where contracts have come to be margined by themselves: its legs could
    not be traded as one."""
    if instrument >= COMBO_FIRST:
        symbol = state.combos[instrument - COMBO_FIRST].listing.symbol
        raise Refused(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"instrument {symbol}: expected a contract where each is margined by itself, found a "
            "combination of them",
        )


def terms_of_combo(state: State, combo: Combo) -> BookTerms:
    """What its book takes: prices of either sign, until the first of its legs ends."""
    ends = [leg.deal.expiry_ms for leg, _ in combo.legs if leg.deal.expiry_ms is not None]
    return BookTerms(
        signed=True, expiry_ms=min(ends, default=None), matching=state.house.matching == "book"
    )


def close_combos(state: State, contract: Contract, events: list[Event]) -> None:
    """A contract is over: so are the combinations that it is a leg of."""
    for combo in state.combos:
        mine = any(leg is contract for leg, _ in combo.legs)
        if mine and combo.number in state.desk.books:
            state.desk.close_book(combo.number, events=events)


def _wrong(legs: tuple[tuple[Contract, int], ...], tick: Fraction) -> str:
    """What is expected of legs that do not go together; empty if they do."""
    ratios = [ratio for _, ratio in legs]
    deals = [leg.deal for leg, _ in legs]
    units = {
        (deal.asset, deal.up_front, deal.inverse, deal.lot_size, deal.quanto_rate)
        for deal in deals
    }  # fmt: skip
    single = [_tick(leg) for leg, ratio in legs if abs(ratio) == 1]
    if len({deal.number for deal in deals}) < len(deals):
        return "each leg once"
    if 0 in ratios or gcd(*ratios) != 1:
        return f"lots of each leg without a common factor, none of them 0, found {ratios}"
    if len(units) > 1:
        return "legs that are all options or none, of one lot size and one settlement"
    if not single:
        return "a leg of one lot"
    if tick <= 0 or any(
        size % min(single) for size in [tick, *map(_tick, (leg for leg, _ in legs))]
    ):
        return f"ticks that are multiples of {float(min(single)):g}, the finest leg of one lot"
    return ""


def _tick(contract: Contract) -> Fraction:
    return contract.deal.point * contract.deal.points_per_tick


def split(combo: Combo, price_ticks: int) -> list[int] | None:
    """Each leg's price in ticks; None where no mark is known or no prices add up to this one.

    The finest leg of one lot comes first, then the others of one lot by their order.
    """
    if any(leg.mark_points is None for leg, _ in combo.legs):
        return None
    ticks = [
        max(1, round(Fraction(leg.mark_points or 0, leg.deal.points_per_tick)))
        for leg, _ in combo.legs
    ]
    sizes = [_tick(leg) for leg, _ in combo.legs]
    left = price_ticks * combo.tick - sum(
        ratio * count * size
        for (_, ratio), count, size in zip(combo.legs, ticks, sizes, strict=True)
    )
    single = [place for place, (_, ratio) in enumerate(combo.legs) if abs(ratio) == 1]
    finest = min(single, key=lambda place: sizes[place])
    others = [place for place in single if place != finest]
    for place in [finest, *(turn for other in others for turn in (other, finest))]:
        ratio, size = combo.legs[place][1], sizes[place]
        # Another moves by whole ticks, and rather too far: what is finer the finest makes up for.
        wanted = left * ratio / size
        moved = max(ceil(wanted) if wanted > 0 else floor(wanted), 1 - ticks[place])
        ticks[place] += moved
        left -= moved * ratio * size
    return None if left else ticks
