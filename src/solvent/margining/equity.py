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
from solvent.risk import Book, RiskArrays
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


def carried(arrays: RiskArrays, book: Book, marginable: Bool) -> tuple[Int64, Int64]:
    """Option value and unrealised PnL of futures by account, in micro-dollars, rounded down.

    A premium was paid when the option was traded, so an option adds its whole mark to equity and a
    future its gain since entry (nothing where the entry price is not known).
    """
    groups, instrument = arrays.groups, book.instrument
    counts = marginable[instrument]
    optional = arrays.universe.is_option[instrument]
    scale = arrays.scale["value"][instrument]
    # Rounded once per position, not per lot: half a quantum of a lot is money on 10,000 lots.
    value = np.rint(book.lots * arrays.units["value"][instrument] * scale)
    mark = np.rint(book.entry_lots * arrays.units["worth"][instrument] * scale)
    value = np.where(counts, value, 0.0)
    gain = np.where(counts & ~optional, mark - book.entry_value, 0.0)
    first = np.unique(groups.of_instrument, return_index=True)[1]
    settlements = [arrays.universe.settlements[code] for code in groups.settlement]
    dollars = np.array([arrays.price_of(asset) for asset in settlements])
    per_quantum = dollars * MICRO / arrays.scale["value"][first]
    key = book.account.astype(np.int64) * len(groups) + groups.of_instrument[instrument]

    def by_account(quanta: Float64) -> Int64:
        # Whole quanta below 2^53: the order in which bincount adds changes nothing.
        total = np.bincount(key, weights=quanta, minlength=len(book) * len(groups))
        money = value_down(total.reshape(len(book), len(groups)) * per_quantum)
        return np.asarray(money.sum(axis=1), dtype=np.int64)

    return by_account(value), by_account(gain)


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
