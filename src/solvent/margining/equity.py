"""What stands against a requirement: collateral with its haircuts, and what positions carry.

Money leaves here in whole millionths of a dollar, rounded against the account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.limits import MONEY_MAX, PROBLEMS_MAX
from solvent.margining.rulebook import Rulebook
from solvent.risk import Book, RiskArrays, product
from solvent.units import MICRO, Float64, requirement_up, value_down

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """Balances as told, a row a balance: a debt is negative.

    `row` is each one's row in `source`, counted from 0, so that faults can name it.
    """

    account: Int32
    asset: Sequence[str]
    amount: Float64
    source: str = "collateral"
    header_lines: int | None = None
    row: Int64 | None = None

    def problem(self, at: int, code: Reject, name: str, *, expected: str, found: str) -> Problem:
        """A fault of one balance."""
        row = None if self.row is None else int(self.row[at]) + 1
        lines = self.header_lines
        return Problem(
            code=code,
            source=self.source,
            row=row,
            line=None if row is None or lines is None else row + lines,
            field=name,
            expected=expected,
            found=found,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded:
    """Collateral in micro-dollars by account: its value, and the haircut on it.

    `problems` are balances that were left out, `left_out` the accounts that they belong to.
    """

    value: Int64
    haircut: Int64
    problems: tuple[Problem, ...] = ()
    left_out: frozenset[int] = frozenset()


def fund(
    collateral: Collateral,
    rulebook: Rulebook,
    prices: Mapping[str, float],
    *,
    accounts: Sequence[str],
    skip_bad: bool = False,
) -> Funded:
    """Value balances. `prices` are dollars per unit of the assets that the market knows.

    Raises BadInput for an asset that the rulebook does not accept or the market cannot price, and
    for amounts beyond what money can hold; with `skip_bad` such balances are left out. A debt is
    taken whole: a haircut would shrink it.
    """
    terms = {asset: _terms(asset, rulebook, prices) for asset in dict.fromkeys(collateral.asset)}
    problems: list[Problem] = []
    keep = np.ones(len(collateral.asset), dtype=bool)
    price, haircut = np.zeros((2, len(keep)))
    for row, asset in enumerate(collateral.asset):
        found = terms[asset]
        if isinstance(found, str):
            keep[row] = False
            code = Reject.INDEX_MISSING if "index" in found else Reject.COLLATERAL_NOT_ACCEPTED
            problems.append(collateral.problem(row, code, "asset", expected=found, found=asset))
        else:
            price[row], haircut[row] = found
    with np.errstate(over="ignore"):
        micro = np.where(keep, collateral.amount, 0.0) * price * MICRO
    for row in np.flatnonzero(~(np.abs(micro) < MONEY_MAX)).tolist():
        keep[row] = False
        expected = f"an amount worth less than {MONEY_MAX / MICRO:.3g} dollars"
        found = f"{collateral.amount[row]:g}"
        problems.append(
            collateral.problem(
                row, Reject.EXACT_RANGE_EXCEEDED, "amount", expected=expected, found=found
            )
        )
    if problems and not skip_bad:
        raise BadInput(*problems[:PROBLEMS_MAX])
    micro = np.where(keep, micro, 0.0)
    _check_sums(collateral, micro, accounts)
    value, cut = np.zeros((2, len(accounts)), dtype=np.int64)
    np.add.at(value, collateral.account, value_down(micro))
    np.add.at(cut, collateral.account, requirement_up(np.maximum(micro, 0.0) * haircut))
    return Funded(
        value=value,
        haircut=cut,
        problems=tuple(problems[:PROBLEMS_MAX]),
        left_out=frozenset(collateral.account[~keep].tolist()),
    )


def _terms(
    asset: str, rulebook: Rulebook, prices: Mapping[str, float]
) -> tuple[float, float] | str:
    """Dollars per unit and haircut of an asset; in words what is expected where it has none."""
    terms = rulebook.collateral.get(asset)
    if terms is None:
        return f"an asset that {rulebook.name} accepts ({', '.join(sorted(rulebook.collateral))})"
    dollars = 1.0 if terms.price == "par" else prices.get(asset, prices.get(terms.of or asset))
    if dollars is None:
        return "an asset that the market has an index for"
    return dollars, terms.haircut


def _check_sums(collateral: Collateral, micro: Float64, accounts: Sequence[str]) -> None:
    """An account's balances add up to what int64 can hold."""
    gross = np.bincount(collateral.account, weights=np.abs(micro), minlength=len(accounts))
    for account in np.flatnonzero(~(gross < MONEY_MAX)).tolist():
        raise BadInput(
            Problem(
                code=Reject.EXACT_RANGE_EXCEEDED,
                source=f"{collateral.source}, account {accounts[account]}",
                field="amount",
                expected=f"balances worth less than {MONEY_MAX / MICRO:.3g} dollars in all",
                found=f"{gross[account] / MICRO:.3g}",
            )
        )


def carried(
    arrays: RiskArrays, book: Book, marginable: Bool, *, threads: int = 1
) -> tuple[Int64, Int64]:
    """Option value and unrealised PnL of futures by account, in micro-dollars, rounded down.

    A premium was paid when the option was traded, so an option adds its whole mark to equity and a
    future its gain since entry (nothing where the entry price is not known). A position is rounded
    once, not per lot: half a quantum of a lot is money on 10,000 lots.
    """
    groups = arrays.groups
    optional = arrays.universe.is_option
    values, gains = product.carried(
        first=book.first,
        index=book.instrument,
        lots=book.lots,
        entry_lots=book.entry_lots,
        entry_value=book.entry_value,
        value=np.where(marginable, arrays.units["value"], 0.0),
        worth=np.where(marginable & ~optional, arrays.units["worth"], 0.0),
        group=groups.of_instrument,
        groups=len(groups),
        scale=arrays.scale["value"],
        threads=threads,
    )
    first = np.unique(groups.of_instrument, return_index=True)[1]
    settlements = [arrays.universe.settlements[code] for code in groups.settlement]
    dollars = np.array([arrays.price_of(asset) for asset in settlements])
    per_quantum = dollars * MICRO / arrays.scale["value"][first]
    money = [value_down(quanta * per_quantum) for quanta in (values, gains)]
    # Column by column: numpy sums short rows a hundred times slower.
    value, gain = (np.add.reduce(list(one.T)) for one in money)
    return value, gain
