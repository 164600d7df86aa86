"""What stands against a requirement: collateral with its haircuts, and what positions carry.

Money leaves here in whole millionths of a dollar, rounded against the account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.margining.rulebook import Rulebook
from solvent.risk import Book, RiskArrays, product
from solvent.units import MICRO, Float64, requirement_up, value_down

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """Balances as told, a row a balance: a debt is negative."""

    account: Int32
    asset: Sequence[str]
    amount: Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded:
    """Collateral in micro-dollars by account: its value, and the haircut on it."""

    value: Int64
    haircut: Int64


def fund(
    collateral: Collateral,
    rulebook: Rulebook,
    prices: Mapping[str, float],
    *,
    accounts: Sequence[str],
) -> Funded:
    """Value balances. `prices` are dollars per unit of the assets that the market knows.

    Raises BadInput for an asset that the rulebook does not accept or the market cannot price.
    A debt is taken whole: a haircut would shrink it.
    """
    terms = {text.asset: text for text in rulebook.text.collateral}
    price, haircut = np.empty(len(collateral.asset)), np.empty(len(collateral.asset))
    distinct: dict[str, tuple[float, float]] = {}
    for row, asset in enumerate(collateral.asset):
        if asset not in distinct:
            account = accounts[collateral.account[row]]
            if asset not in terms:
                raise BadInput(_refused(rulebook, account, asset, sorted(terms)))
            dollars = 1.0 if terms[asset].price == "par" else prices.get(asset)
            if dollars is None:
                raise BadInput(_unpriced(account, asset))
            distinct[asset] = dollars, terms[asset].haircut
        price[row], haircut[row] = distinct[asset]
    micro = collateral.amount * price * MICRO
    value, cut = np.zeros((2, len(accounts)), dtype=np.int64)
    np.add.at(value, collateral.account, value_down(micro))
    np.add.at(cut, collateral.account, requirement_up(np.maximum(micro, 0.0) * haircut))
    return Funded(value=value, haircut=cut)


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


def _refused(rulebook: Rulebook, account: str, asset: str, accepted: list[str]) -> Problem:
    return Problem(
        code=Reject.COLLATERAL_NOT_ACCEPTED,
        source=f"collateral of account {account}",
        field="asset",
        expected=f"an asset that {rulebook.name} accepts ({', '.join(accepted)})",
        found=asset,
    )


def _unpriced(account: str, asset: str) -> Problem:
    return Problem(
        code=Reject.INDEX_MISSING,
        source=f"collateral of account {account}",
        field="asset",
        expected="an asset that the market has an index for",
        found=asset,
    )
