"""Where every account stands, in whole millionths of a dollar: what an engine decides on.

Rulebooks of both kinds answer in the same columns. What cannot be computed is not `known`: such an
account is neither called nor liquidated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.limits import MONEY_MAX
from solvent.margining.compile import AnyPlan
from solvent.margining.evaluate import arrange, beyond_range, requirements
from solvent.margining.levels.book import (
    Balances,
    LevelsAnswer,
    LevelsPlan,
    Orders,
    evaluate,
)
from solvent.margining.levels.held import accepted, settled
from solvent.margining.levels.modes import Modes, held_apart
from solvent.margining.plan import Plan
from solvent.risk import Book
from solvent.units import MICRO, Float64, requirement_up, value_down, value_up

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]
_DOLLARS_MAX: Final = MONEY_MAX / MICRO / 4
"""Four parts of an equity below this sum inside money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    """Axis: account. Money in millionths of a dollar, 0 where the account is not `known`.

    Attributes:
        equity_micro: what the account is worth by the rulebook, rounded down.
        initial_micro, maintenance_micro: requirements, rounded up.
        call: below initial margin, in some pool. liquidate: the rulebook's own condition.
        credit_micro: what is lent to the account at most, rounded down; no part of its equity.
    """

    equity_micro: Int64
    initial_micro: Int64
    maintenance_micro: Int64
    known: Bool
    call: Bool
    liquidate: Bool
    credit_micro: Int64


def assess(
    plan: AnyPlan,
    book: Book,
    *,
    balances: Balances,
    orders: Orders | None = None,
    modes: Modes | None = None,
    inputs: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> Assessed:
    """Assess every account of a book.

    A balance in an asset that the rulebook does not accept, or without a price, counts as nothing;
    a debt in one makes its account not known. So does any balance in an asset that counts and that
    the market has, while its index is not known: who is worth more than we know is not liquidated.
    So do positions without numbers, and amounts beyond what money can hold. A rulebook of scans
    takes prices of collateral from the plan's market, one of formulas those in `balances`.

    Raises BadInput for orders or modes under a rulebook of scans, and RulebookError or BadInput for
    inputs that the rulebook does not have.
    """
    if isinstance(plan, LevelsPlan):
        return _of_formulas(plan, book, balances, orders, modes, inputs or {}, threads)
    if (orders is not None and len(orders.account)) or (modes is not None and modes.accounts):
        raise BadInput(not_taken(plan.rulebook.name))
    return _of_scans(plan, book, balances, inputs or {}, threads)


def not_taken(name: str) -> Problem:
    """What is wrong with orders or modes under a rulebook of scans."""
    return Problem(
        code=Reject.RULEBOOK_UNKNOWN, source=f"rulebook {name}", field="orders or modes",
        expected="a rulebook of formulas (this one takes order margin as an input)",
        found="rows of them",
    )  # fmt: skip


# ── rulebooks of scans and charges ───────────────────────────────────────────────────────────


def _of_scans(
    plan: Plan, book: Book, balances: Balances, inputs: Mapping[str, Any], threads: int
) -> Assessed:
    worth, haircut, known = _collateral(plan, balances, len(book))
    known &= ~_too_large(plan, book)
    arranged = arrange(plan, book)
    known[beyond_range(plan, arranged)] = False
    held = _emptied(book, ~known)
    if held is not book:
        arranged = arrange(plan, held)
    needed = requirements(plan, held, arranged=arranged, inputs=inputs, threads=threads)
    known &= needed.refused < 0
    known[list(needed.undefined)] = False
    on_equity = plan.rulebook.text.haircut_on == "equity"
    equity = worth - (haircut if on_equity else 0) + needed.option_value + needed.unrealised
    initial = needed.initial + (0 if on_equity else haircut)
    return Assessed(
        equity_micro=np.where(known, equity, 0),
        initial_micro=np.where(known, initial, 0),
        maintenance_micro=np.where(known, needed.maintenance, 0),
        known=known,
        call=known & (equity < initial),
        liquidate=known & (equity < needed.maintenance),
        credit_micro=np.zeros(len(book), dtype=np.int64),
    )


def _collateral(plan: Plan, balances: Balances, accounts: int) -> tuple[Int64, Int64, Bool]:
    """[account] worth and haircut in millionths of a dollar, and whether both are known."""
    worth, haircut = np.zeros((2, accounts), dtype=np.int64)
    terms = {asset: _terms(plan, asset) for asset in dict.fromkeys(balances.asset)}
    told = np.array([terms[asset] for asset in balances.asset]).reshape(-1, 2)
    price, cut = told[:, 0], told[:, 1]
    with np.errstate(over="ignore", invalid="ignore"):
        micro = balances.amount * price * MICRO
    micro[np.isnan(price) & (balances.amount >= 0.0)] = 0.0
    gross = np.bincount(balances.account, weights=np.abs(micro), minlength=accounts)
    known = np.asarray(gross < _DOLLARS_MAX * MICRO)
    known[_owners(balances, {asset for asset in terms if _waiting(plan, asset)})] = False
    micro = np.where(known[balances.account], micro, 0.0)
    np.add.at(worth, balances.account, value_down(micro))
    np.add.at(haircut, balances.account, requirement_up(np.maximum(micro, 0.0) * cut))
    return worth, haircut, known


def _terms(plan: Plan, asset: str) -> tuple[float, float]:
    """Dollars per unit of an asset, NaN where it does not count, and its haircut."""
    terms = plan.rulebook.collateral.get(asset)
    if terms is None:
        return np.nan, 0.0
    if terms.price == "par":
        return 1.0, terms.haircut
    names, index = plan.arrays.universe.underlyings, plan.arrays.index
    for name in (asset, terms.of or asset):
        if name in names and index[names.index(name)] > 0.0:
            return float(index[names.index(name)]), terms.haircut
    return np.nan, 0.0


def _waits(plan: AnyPlan, *names: str) -> bool:
    """Whether the market has some of these assets, and knows the index of none of them now."""
    there, index = plan.arrays.universe.underlyings, plan.arrays.index
    told = [float(index[there.index(name)]) for name in names if name in there]
    return bool(told) and not max(told) > 0.0


def _waiting(plan: Plan, asset: str) -> bool:
    terms = plan.rulebook.collateral.get(asset)
    by_index = terms is not None and terms.price != "par"
    return by_index and _waits(plan, asset, (terms.of if terms else None) or asset)


def _owners(balances: Balances, assets: set[str]) -> Int64:
    """Accounts with a balance in some of these assets."""
    if not assets:
        return np.zeros(0, dtype=np.int64)
    theirs = np.array([asset in assets for asset in balances.asset], dtype=bool)
    found: Int64 = balances.account[theirs & (balances.amount != 0.0)]
    return found


def _too_large(plan: Plan, book: Book) -> Bool:
    """[account] whether its positions may be worth more than money can hold."""
    arrays = plan.arrays
    settlement = arrays.universe.settlement
    micro = np.array([arrays.price_of(one) for one in arrays.universe.settlements]) * MICRO
    per_lot = (np.abs(arrays.units["value"]) + np.abs(arrays.units["worth"])) * micro[settlement]
    per_quantum = micro[settlement] / arrays.scale["value"]
    instrument = book.instrument
    gross = np.abs(book.lots) * per_lot[instrument]
    gross += np.abs(book.entry_value) * per_quantum[instrument]
    total = np.bincount(book.account, weights=gross, minlength=len(book))
    return np.asarray(~(total < _DOLLARS_MAX * MICRO))


def _emptied(book: Book, accounts: Bool) -> Book:
    """The book without the positions of some accounts."""
    counts = np.diff(book.first)
    if not counts[accounts].any():
        return book
    kept = ~np.repeat(accounts, counts)
    first = np.concatenate([[0], np.cumsum(np.where(accounts, 0, counts))])
    return Book(
        accounts=book.accounts,
        first=first.astype(np.int64),
        instrument=book.instrument[kept],
        lots=book.lots[kept],
        entry_lots=book.entry_lots[kept],
        entry_value=book.entry_value[kept],
    )


# ── rulebooks of formulas ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class ByFormulas:
    """An answer of formulas, and what it was asked of: gains settled, modes put into pools."""

    book: Book
    answer: LevelsAnswer
    balances: Balances
    orders: Orders
    pools: Int64 | None
    inputs: Mapping[str, Any]


def by_formulas(
    plan: LevelsPlan,
    book: Book,
    *,
    balances: Balances | None,
    orders: Orders | None,
    modes: Modes | None,
    inputs: Mapping[str, Any],
    threads: int = 1,
) -> ByFormulas:
    """Settle what nets to nothing, hold apart what is isolated, and evaluate.

    Raises RulebookError for modes and inputs that the rulebook does not take.
    """
    book, cash = settled(book, balances, plan.arrays)
    orders, pools = orders or Orders.none(), None
    if modes is not None:
        apart = held_apart(modes, book, orders, plan)
        orders, pools, inputs = apart.orders, apart.pools, {**apart.inputs, **inputs}
    answer = evaluate(
        plan, book, balances=balances and cash, orders=orders, pools=pools, inputs=inputs,
        threads=threads,
    )  # fmt: skip
    return ByFormulas(
        book=book, answer=answer, balances=cash, orders=orders, pools=pools, inputs=inputs
    )


def _of_formulas(
    plan: LevelsPlan, book: Book, balances: Balances, orders: Orders | None, modes: Modes | None,
    inputs: Mapping[str, Any], threads: int,
) -> Assessed:  # fmt: skip
    counted, owing = _counted(plan, balances, inputs)
    found = by_formulas(
        plan, book, balances=counted, orders=orders, modes=modes, inputs=inputs, threads=threads
    )
    answer = found.answer
    known = answer.known
    known[owing] = False
    for amount in (answer.equity, answer.initial, answer.maintenance, answer.credit):
        known &= np.abs(amount) < _DOLLARS_MAX
    return Assessed(
        equity_micro=value_down(_micro(answer.equity, known)),
        initial_micro=value_up(_micro(answer.initial, known)),
        maintenance_micro=value_up(_micro(answer.maintenance, known)),
        known=known,
        call=known & answer.call,
        liquidate=known & answer.liquidate,
        credit_micro=value_down(_micro(answer.credit, known)),
    )


def _micro(dollars: Float64, known: Bool) -> Float64:
    return np.where(known, dollars, 0.0) * MICRO


def _counted(
    plan: LevelsPlan, balances: Balances, inputs: Mapping[str, Any]
) -> tuple[Balances, Int64]:
    """Balances in assets that count, and accounts with a debt in one that does not, or with
    anything in one that would if its index were known."""
    taken = accepted(plan, balances.asset, inputs)
    counts = np.array([taken[asset] for asset in balances.asset], dtype=bool)
    counts &= np.isfinite(balances.price)
    with np.errstate(over="ignore", invalid="ignore"):
        worth = balances.amount * balances.price
    wild = ~(np.abs(balances.amount) < np.inf) | (counts & ~(np.abs(worth) < _DOLLARS_MAX))
    indebted = balances.account[wild | (~counts & (balances.amount < 0.0))]
    waiting = {asset for asset in set(balances.asset) if taken[asset] and _waits(plan, asset)}
    indebted = np.concatenate([indebted, _owners(balances, waiting)])
    counts &= ~wild
    if counts.all():
        return balances, indebted
    return replace(
        balances,
        account=balances.account[counts],
        asset=_chosen(balances.asset, counts),
        amount=balances.amount[counts],
        price=balances.price[counts],
    ), indebted


def _chosen(names: Sequence[str], kept: Bool) -> tuple[str, ...]:
    return tuple(name for name, keep in zip(names, kept.tolist(), strict=True) if keep)
