"""Auto-deleveraging: who on the other side gives up a position first, and how much each.

The queue of a contract and side is public: each trader can see its rank and its indicator, 5 for
who goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from solvent.engine.standing import standings, view
from solvent.engine.state import Contract, State
from solvent.liquidation import ranks
from solvent.liquidation.adl import Quality, pro_rata_lots, quality, queue_lots
from solvent.margining.closing import LiquidationText
from solvent.messages import commands as c
from solvent.tending.able import able
from solvent.tending.closings import Part, bankrupt, enough, needed, plan_of, residues
from solvent.tending.fills import Fill
from solvent.tending.looked import Looked
from solvent.tending.plans import Plan, Row, row
from solvent.tending.pools import Pool
from solvent.tending.prices import Close, at_mark
from solvent.tending.scores import in_queue, scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A trader's place in the queue of a contract and side.

    Attributes:
        lots: signed. score: exact, by the rulebook's rule; None of a drawn order.
        rank: from 1, who goes first. indicator: 5 for who goes first, 1 for who goes last.
    """

    account: str
    number: int
    lots: int
    score: Fraction | None
    rank: int
    indicator: int


def planned(
    state: State, pool: Pool, closing: LiquidationText, looked: Looked | None = None
) -> Plan | None:
    """All of a pool's positions against the other side; None where nobody is there who can. At the
    mark, where the rulebook says so and that leaves no debt; at the bankruptcy price otherwise."""
    at_the_mark = closing.adl.price == "mark" and pool.found.equity_micro >= 0
    rule = f"auto-deleveraging by {closing.adl.rank}, {closing.adl.allocate}"
    return _planned(state, pool, closing, looked, "adl", rule, at_the_mark=at_the_mark)


def torn_up(
    state: State, pool: Pool, closing: LiquidationText, looked: Looked | None = None
) -> Plan | None:
    """All positions of a pool that owes more than it has, against the other side at their marks:
    nobody loses by that, and what the account owes then is a debt for others to share."""
    if pool.found.equity_micro >= 0:
        return None
    rule = "positions end where the loss is shared"
    return _planned(state, pool, closing, looked, "socialise", rule, at_the_mark=True)


def _planned(
    state: State, pool: Pool, closing: LiquidationText, looked: Looked | None, stage: str,
    rule: str, *, at_the_mark: bool,
) -> Plan | None:  # fmt: skip
    closes = (
        [at_mark(state, pool.seen, state.contracts[number]) for number in pool.seen.positions]
        if at_the_mark else bankrupt(state, pool, closing)
    )  # fmt: skip
    rows: list[Row] = []
    parts: list[Part] = []
    for one in closes:
        mine, fills = _against(state, pool, one, closing, looked)
        rows += mine
        if fills:
            parts.append(Part(one, fills))
    if not rows:
        return None
    enough_rows = needed(state, pool, closing, parts)
    if enough_rows < len(rows):
        del rows[enough_rows:]
    elif not at_the_mark:
        rows += residues(state, pool, parts)
    at = "the mark" if at_the_mark else "the bankruptcy price"
    return plan_of(state, pool, stage, f"{rule}, at {at}", rows, funds=True)


def _against(
    state: State, pool: Pool, one: Close, closing: LiquidationText, looked: Looked | None
) -> tuple[list[Row], tuple[Fill, ...]]:
    """One position against those of the other side."""
    lots = enough(state, pool, closing, one, looked)
    adl, contract = closing.adl, one.contract
    if looked is not None and adl.allocate == "queue" and adl.rank != "random":
        line = looked.line(contract, longs=not one.long, closing=closing)
        numbers, risk = [other.number for other in line.order], []
    else:
        ranked = queue(state, contract, longs=not one.long, closing=closing)
        numbers = [other.number for other in ranked]
        risk = [max(other.score or Fraction(0), Fraction(0)) for other in ranked]
    length = len(numbers)
    wanted = lots if adl.allocate == "queue" else None
    held = able(state, contract, numbers, one.ticks, wanted=wanted)
    if adl.allocate == "queue":
        parts = queue_lots(held, range(length), lots)
    elif adl.allocate == "pro_rata" or not any(risk):
        parts = pro_rata_lots(held, lots)
    else:
        parts = pro_rata_lots(held, lots, risk)
    closed = [
        (rank, number, part)
        for rank, (number, part) in enumerate(zip(numbers, parts, strict=True), 1) if part
    ]  # fmt: skip
    rows, fills = [], []
    for rank, number, part in closed:
        fills.append(Fill(part, one.ticks))
        held_lots = abs(one.contract.holders[number].lots)
        rows.append(
            row(
                f"rank {rank} of {length} on the other side gives up {part:,} of "
                f"{held_lots:,} lots",
                c.Deleverage, account=pool.account.name, counterparty=state.account(number).name,
                symbol=one.contract.listing.symbol, lots=part, price_ticks=one.ticks,
            )
        )  # fmt: skip
    return rows, tuple(fills)


def judged(state: State, plan: Plan) -> Quality | None:
    """How well a plan of deleveraging spreads what it takes: smallest units of what the contracts
    settle in, against the mark. None for a plan that takes nothing of anybody.

    What is needed is what the account lacks at the marks, so that overshoot is what prices in whole
    ticks, and gains that go to some while others pay, take beyond it.
    """
    taken: dict[str, Fraction] = {}
    for one in plan.rows:
        command = one.command
        if isinstance(command, c.Deleverage):
            contract = state.contracts[state.contract_numbers[command.symbol]]
            lots = contract.holders[state.account_numbers[command.account]].lots
            sign = -1 if lots > 0 else 1
            deal, mark = contract.deal, contract.mark_points or 0
            points = command.price_ticks * deal.points_per_tick
            paid = deal.value(sign * command.lots, points) - deal.value(sign * command.lots, mark)
            taken[command.counterparty] = taken.get(command.counterparty, Fraction(0)) - deal.money(
                paid
            )
    accounts = [state.account(state.account_numbers[name]) for name in taken]
    found = standings(state, [view(state, account) for account in accounts])
    equity = [Fraction(max(one.equity_micro, 0)) for one in found]
    seized = [max(one, Fraction(0)) for one in taken.values()]
    if not any(seized):
        return None
    lacks = max(sum(taken.values(), Fraction(0)), Fraction(0))
    return quality(seized, needed=lacks, equity=equity, endowment=equity)


# ── the queue ────────────────────────────────────────────────────────────────────────────────────


def queue(
    state: State, contract: Contract, *, longs: bool, closing: LiquidationText
) -> list[Ranked]:
    """Who would be deleveraged in a contract, first to last: all users of a side that are not under
    liquidation themselves, and whose standing is known."""
    held = in_queue(state, contract, contract.holders, longs=longs)
    scores = scored(state, contract, held, closing)
    order: Sequence[int]
    if closing.adl.rank == "random":
        seed = b"%s %d" % (contract.listing.symbol.encode(), state.log.time_ms)
        order = ranks.from_seed(list(scores), seed)
    else:
        order = ranks.by_score({n: score for n, score in scores.items() if score is not None})
    return [
        Ranked(
            account=state.account(place.account).name, number=place.account,
            lots=contract.holders[place.account].lots, score=scores[place.account], rank=place.rank,
            indicator=place.lights,
        )
        for place in ranks.places(order, {n: contract.holders[n].lots for n in order})
    ]  # fmt: skip
