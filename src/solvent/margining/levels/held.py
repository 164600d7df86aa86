"""What accounts hold besides positions: balances at the market's prices, and realised gains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.margining.levels.book import Balances, LevelsPlan, evaluate
from solvent.risk import Book, RiskArrays
from solvent.units import DOLLARS, Float64, quanta_per_unit


def priced(
    arrays: RiskArrays, *, account: NDArray[Any], asset: Sequence[str], amount: Float64
) -> Balances:
    """Balances at the market's prices; a dollar is a dollar until the market says otherwise.

    An asset that is neither has NaN as its price.
    """
    prices = {name: dollars_of(arrays, name) for name in dict.fromkeys(asset)}
    return Balances(
        account=account.astype(np.int64),
        asset=tuple(asset),
        amount=amount,
        price=np.array([prices[name] for name in asset], dtype=np.float64),
    )


def dollars_of(arrays: RiskArrays, asset: str) -> float:
    """Dollars per unit of an asset: its index, 1 for a dollar, NaN where nothing says."""
    names = arrays.universe.underlyings
    index = float(arrays.index[names.index(asset)]) if asset in names else 0.0
    return index if index > 0.0 else 1.0 if asset in DOLLARS else np.nan


def accepted(
    plan: LevelsPlan, assets: Iterable[str], inputs: Mapping[str, Any] | None = None
) -> Mapping[str, bool]:
    """Asset → whether an account that holds a unit of it and nothing else has a known margin.

    Where even an account with nothing has none, every asset is accepted: it is not to blame.
    `inputs` are those of the book; of them only numbers of assets matter.
    """
    own = {path: told for path, told in (inputs or {}).items() if path.startswith(_OF_ASSETS)}
    known = {} if own else plan.accepted
    asked = [one for one in dict.fromkeys(assets) if one not in known]
    if asked:
        nobody = _without_positions(["", *asked])
        one = np.ones(len(asked))
        held = Balances(
            account=np.arange(1, len(asked) + 1), asset=tuple(asked), amount=one, price=one
        )
        answered = evaluate(plan, nobody, balances=held, inputs=_probing(plan, own, asked)).known
        taken = answered[1:] | ~answered[0]
        known.update(zip(asked, taken.tolist(), strict=True))
    return known


_OF_ASSETS: Final = "asset."


def _without_positions(accounts: list[str]) -> Book:
    empty = np.zeros(0)
    return Book(
        accounts=accounts,
        first=np.zeros(len(accounts) + 1, dtype=np.int64),
        instrument=np.zeros(0, dtype=np.int32),
        lots=empty,
        entry_lots=empty,
        entry_value=empty,
    )


def _probing(plan: LevelsPlan, own: Mapping[str, Any], assets: list[str]) -> dict[str, Any]:
    """Some number for every input that has no default, and what was told of assets."""
    told: dict[str, Any] = {
        f"{level}.{name}": 1.0
        for level, columns in plan.rulebook.text.inputs.items()
        for name, column in columns.items()
        if column.default is None
    }
    for path, value in own.items():
        if isinstance(value, Mapping):
            by_asset = {key[1] if isinstance(key, tuple) else key: x for key, x in value.items()}
            told.pop(path, None)
            told[path] = {asset: x for asset, x in by_asset.items() if asset in assets}
        else:
            told[path] = value
    return told


def settled(book: Book, balances: Balances | None, arrays: RiskArrays) -> tuple[Book, Balances]:
    """Rows that net to nothing left their gain behind: it is money of their settlement asset."""
    held = book.lots != 0.0
    told = balances or Balances.none()
    if held.all():
        return book, told
    gone = np.flatnonzero(~held)
    universe = arrays.universe
    assets = [universe.settlements[universe.settlement[book.instrument[p]]] for p in gone]
    quanta = np.array([quanta_per_unit(asset) for asset in assets])
    first = np.concatenate([[0], np.cumsum(held)])[book.first]
    return (
        Book(
            accounts=book.accounts,
            first=first.astype(np.int64),
            instrument=book.instrument[held],
            lots=book.lots[held],
            entry_lots=book.entry_lots[held],
            entry_value=book.entry_value[held],
        ),
        Balances(
            account=np.concatenate([told.account, book.account[gone].astype(np.int64)]),
            asset=[*told.asset, *assets],
            amount=np.concatenate([told.amount, -book.entry_value[gone] / quanta]),
            price=np.concatenate([told.price, [arrays.price_of(asset) for asset in assets]]),
        ),
    )
