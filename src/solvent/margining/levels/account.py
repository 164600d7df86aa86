"""One account of a book as the exact way takes it: rows of positions, orders and assets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from solvent.margining.levels.book import CROSS, Balances, LevelsPlan, Orders
from solvent.margining.levels.rows import Row, Sheet, Told
from solvent.risk import Book
from solvent.units import quanta_per_unit


def account_sheet(
    plan: LevelsPlan,
    book: Book,
    account: int,
    *,
    balances: Balances | None = None,
    orders: Orders | None = None,
    pools: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None,
    inputs: Mapping[str, Told] | None = None,
) -> Sheet:
    """Every column of one account, computed exactly when it is asked for."""
    universe, name = plan.arrays.universe, book.accounts[account]
    market = {row["instrument"]: row for row in plan.exact_market}
    positions = [
        _position(plan, book, p, market[universe.symbols[book.instrument[p]]],
                  0 if pools is None else int(pools[p]), name)
        for p in range(int(book.first[account]), int(book.first[account + 1]))
    ]  # fmt: skip
    sources = {
        "instrument": plan.exact_market,
        "underlying": [
            {"underlying": one, "index": float(index) if index > 0 else None}
            for one, index in zip(universe.underlyings, plan.arrays.index, strict=True)
        ],
        "position": positions,
        "order": _orders(plan, orders or Orders.none(), account, name),
        "account": [{"account": name}],
        "pool": [{"account": name, "pool": CROSS}],
        "asset": _assets(balances or Balances.none(), account, name),
    }
    return Sheet(
        plan.form, sources, tables=plan.rulebook.tables, scenarios=plan.exact_scenarios,
        spreads=plan.rulebook.spreads, inputs=inputs,
    )  # fmt: skip


def _position(plan: LevelsPlan, book: Book, p: int, market: Row, pool: int, name: str) -> Row:
    universe = plan.arrays.universe
    i = int(book.instrument[p])
    lot = float(universe.lot_size[i])
    size = float(book.lots[p]) * lot
    told: Row = {
        "account": name,
        "pool": plan.pool_name(pool),
        "instrument": market["instrument"],
        "side": "long" if size > 0 else "short",
        "size": size,
    }
    if size != 0.0 and market["worth"] is not None:
        if book.entry_lots[p] == 0.0 and book.entry_value[p] == 0.0:
            # Entered at the mark: it has gained nothing, to the last bit.
            return {**told, "entry_worth": market["worth"], "entry_price": market["mark"]}
        quanta = quanta_per_unit(universe.settlements[universe.settlement[i]])
        rest = float(book.lots[p] - book.entry_lots[p]) * lot
        worth = (float(book.entry_value[p]) / quanta + rest * market["worth"]) / size
        inverse_future = market["inverse"] and not market["is_option"]
        told["entry_worth"] = worth
        told["entry_price"] = -1.0 / worth if inverse_future else worth / universe.quanto_rate[i]
    return told


def _orders(plan: LevelsPlan, orders: Orders, account: int, name: str) -> list[Row]:
    return [
        {
            "account": name, "order": str(n),
            "pool": plan.pool_name(0 if orders.pool is None else int(orders.pool[n])),
            "instrument": plan.arrays.universe.symbols[int(orders.instrument[n])],
            "side": "long" if orders.buy[n] else "short",
            "size": float(orders.size[n]), "price": float(orders.price[n]),
            "buy": float(orders.buy[n]),
        }
        for n in np.flatnonzero(orders.account == account)
    ]  # fmt: skip


def _assets(balances: Balances, account: int, name: str) -> list[Row]:
    return [
        {
            "account": name, "pool": CROSS, "asset": balances.asset[int(n)],
            "amount": float(balances.amount[n]),
            "price": None if np.isnan(balances.price[n]) else float(balances.price[n]),
        }
        for n in np.flatnonzero(balances.account == account)
    ]  # fmt: skip
