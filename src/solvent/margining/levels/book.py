"""Whole books under a rulebook of formulas: blocks of accounts through `columns`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import RulebookError
from solvent.instruments import Kind
from solvent.margining.levels.columns import MARKET, Columns, Rows
from solvent.margining.levels.form import FACTS, FINEST, Form
from solvent.margining.levels.inputs import check_numbers
from solvent.margining.levels.market import (
    facts,
    instrument_rows,
    scenario_fields,
    scenario_rows,
)
from solvent.margining.levels.rows import Told
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.risk import Book, RiskArrays
from solvent.units import Float64, quanta_per_unit

Int64 = NDArray[np.int64]
BLOCK: Final = 8_192
"""Accounts that are computed at a time: their columns stay in the cache."""
_BY_INSTRUMENT: Final = frozenset({"pnl", "value", "weight"})
_MARKETS_MAX: Final = 4
CROSS: Final = ""
"""The pool of everything that is not isolated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """Collateral: a row a balance, a debt negative; `price` in dollars, NaN where not known."""

    account: Int64
    asset: Sequence[str]
    amount: Float64
    price: Float64

    @classmethod
    def none(cls) -> Balances:
        """No collateral."""
        nothing = np.zeros(0)
        return cls(account=np.zeros(0, np.int64), asset=(), amount=nothing, price=nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Open orders: unsigned `size` in the venue's unit, `buy` 1 or 0.

    `pool` is as of positions; without it all orders are in the cross pool.
    """

    account: Int64
    instrument: Int64
    size: Float64
    price: Float64
    buy: Float64
    pool: Int64 | None = None

    @classmethod
    def none(cls) -> Orders:
        """No orders."""
        nothing, rows = np.zeros(0), np.zeros(0, np.int64)
        return cls(account=rows, instrument=rows, size=nothing, price=nothing, buy=nothing)


@dataclass(frozen=True)
class LevelsPlan:
    """A rulebook of formulas with a market: what every block shares."""

    rulebook: LevelsRulebook
    arrays: RiskArrays

    @property
    def form(self) -> Form:
        """The resolved rulebook."""
        return self.rulebook.form

    def pool_name(self, pool: int) -> str:
        """A pool's name: that of the instrument that is isolated in it."""
        return CROSS if pool == 0 else self.arrays.universe.symbols[pool - 1]

    @cached_property
    def markets(self) -> dict[tuple[str, ...], Columns]:
        """Names of the assets that accounts hold → the market's columns, as far as computed."""
        return {}

    @cached_property
    def accepted(self) -> dict[str, bool]:
        """Asset → whether it counts as collateral, as far as asked."""
        return {}

    @cached_property
    def codes(self) -> dict[str, Int64]:
        """Key → code of every instrument, in an order that agrees with the canonical one."""
        universe = self.arrays.universe
        return {
            "instrument": np.arange(len(universe)),
            "underlying": universe.underlying.astype(np.int64),
            "settlement": universe.settlement.astype(np.int64),
            "expiry": np.unique(universe.expiry_ms, return_inverse=True)[1],
            "kind": universe.kind.astype(np.int64),
            "strike": np.unique(universe.strike, return_inverse=True)[1],
            "right": np.where(universe.is_option, 2 - universe.is_call.astype(np.int64), 0),
        }

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Key → name of every code, as tables know it."""
        universe = self.arrays.universe
        return {
            "instrument": list(universe.symbols),
            "underlying": list(universe.underlyings),
            "settlement": list(universe.settlements),
            "expiry": [str(one) for one in np.unique(universe.expiry_ms)],
            "kind": [kind.name.lower() for kind in sorted(Kind)],
            "strike": [f"{one:g}" for one in np.unique(universe.strike)],
            "right": ["", "call", "put"],
            "side": ["short", "long"],
        }

    @cached_property
    def exact_market(self) -> list[dict[str, Any]]:
        """Every instrument as a row of the exact way; facts of unusable ones are not told."""
        rows = instrument_rows(self.arrays)
        kept = FACTS["instrument"]
        return [
            row if good else {key: None if key in kept else told for key, told in row.items()}
            for row, good in zip(rows, self.arrays.usable, strict=True)
        ]

    @cached_property
    def exact_scenarios(self) -> dict[str, dict[str, dict[Any, tuple[float, ...]]]]:
        """Scenario fields as the exact way takes them."""
        return scenario_rows(self.arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelsAnswer:
    """Every account's standing; dollars by account, NaN where something is not known.

    Attributes:
        liquidate: whether some pool of the account is to be liquidated. undecided: whether that
            is not known of some pool.
        credit: what is lent to the account at most; 0 where the rulebook lends nothing.
        components: name → amount, summed over the account's pools.
        worst_underlying, worst_scenario: which scenario is the worst, −1 where none is told.
    """

    equity: Float64
    initial: Float64
    maintenance: Float64
    credit: Float64
    call: NDArray[np.bool_]
    liquidate: NDArray[np.bool_]
    undecided: NDArray[np.bool_]
    components: Mapping[str, Float64]
    worst_underlying: Int64
    worst_scenario: Int64

    @property
    def known(self) -> NDArray[np.bool_]:
        """[account] whether everything that its margin needs is known."""
        total = self.equity + self.initial + self.maintenance + self.credit
        return np.asarray(np.isfinite(total) & ~self.undecided)


def evaluate(
    plan: LevelsPlan,
    book: Book,
    *,
    balances: Balances | None = None,
    orders: Orders | None = None,
    pools: Int64 | None = None,
    inputs: Mapping[str, Told] | None = None,
    threads: int = 1,
) -> LevelsAnswer:
    """Margin every account.

    Args:
        pools: [position] 0 in the cross pool, 1 + the instrument's row where it is isolated.
        inputs: `level.column` → a number, or one by name of the level's finest key.
    """
    held = np.zeros(book.positions, np.int64) if pools is None else pools
    told = balances or Balances.none(), orders or Orders.none(), held, inputs or {}
    work = Work(plan, book, *told)
    starts = range(0, max(len(book), 1), BLOCK)
    if threads == 1 or len(starts) == 1:
        parts = [work.block(start) for start in starts]
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(work.block, starts))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    fixed = ("equity", "initial", "maintenance", "credit")
    return LevelsAnswer(
        **{name: joined.pop(name) for name in fixed},
        call=joined.pop("call") > 0,
        liquidate=joined.pop("liquidate") > 0,
        undecided=joined.pop("undecided") > 0,
        worst_underlying=joined.pop("worst_underlying").astype(np.int64),
        worst_scenario=joined.pop("worst_scenario").astype(np.int64),
        components=joined,
    )


def _pools(accounts: Int64, sources: Iterable[Rows], count: int) -> Int64:
    """account · count + pool of every pool: each account's cross pool, and those that are told."""
    cross = accounts * count
    told = [
        (one.codes["account"] * count + one.codes["pool"])[one.codes["pool"] != 0]
        for one in sources
    ]
    isolated = np.concatenate(told)
    return np.unique(np.concatenate([cross, isolated])) if len(isolated) else cross


class Work:
    """What blocks read: the market's columns, and the book's rows."""

    def __init__(
        self, plan: LevelsPlan, book: Book, balances: Balances, orders: Orders, pools: Int64,
        inputs: Mapping[str, Told],
    ) -> None:  # fmt: skip
        self.plan, self.book, self.pools, self.inputs = plan, book, pools, inputs
        self.orders = orders
        order = np.argsort(balances.account, kind="stable")
        self.balance_account, self.amount = balances.account[order], balances.amount[order]
        self.price = balances.price[order]
        self.asset_names = sorted(set(balances.asset))
        code = {name: n for n, name in enumerate(self.asset_names)}
        self.asset = np.array([code[balances.asset[n]] for n in order], dtype=np.int64)
        self.names = self._names()
        self._check_inputs()
        self.market = self._shared() or self._market()
        self.size_worth = self.market.column("instrument", "worth")

    def _names(self) -> dict[str, list[str]]:
        names = dict(self.plan.names)
        extra = [one for one in self.asset_names if one not in names["underlying"]]
        names["underlying"] = [*names["underlying"], *extra]
        extra = [one for one in self.asset_names if one not in names["settlement"]]
        names["settlement"] = [*names["settlement"], *extra]
        names["asset"] = self.asset_names
        names["pool"] = [CROSS, *names["instrument"]]
        return names

    def _check_inputs(self) -> None:
        text = self.plan.rulebook.text
        for path, value in self.inputs.items():
            check_numbers(text, path, value)
            if isinstance(value, Mapping):
                self._check_keys(path, value)

    def _check_keys(self, path: str, value: Mapping[Any, float]) -> None:
        """Every name by which an input is told is there, so that a typing error is not lost."""
        keys = self.plan.form.keys[path.split(".")[0]]
        key = next(one for one in FINEST if one in keys)
        accounts = set(self.book.accounts)
        names = accounts if key == "account" else set(self.names[key])
        pools = set(self.names["pool"] if "pool" in keys else ())
        for one in value:
            pair = one if isinstance(one, tuple) else (None, one)
            there = pair[1] in names or (pair[0] is not None and pair[1] in pools)
            fits = there and (pair[0] is None or pair[0] in accounts)
            if not fits or (pair[0] is not None and "account" not in keys):
                raise RulebookError(
                    f"{self.plan.rulebook.name}: input {path}: no {key} {one!r} in the book"
                )

    def _shared(self) -> Columns | None:
        """The market as an earlier book left it: it depends on the assets' names alone, unless the
        caller brought numbers of contracts."""
        if any(path.split(".")[0] in MARKET for path in self.inputs):
            return None
        key = tuple(self.asset_names)
        if key not in self.plan.markets:
            if len(self.plan.markets) >= _MARKETS_MAX:
                self.plan.markets.clear()
            self.plan.markets[key] = self._market()
        return self.plan.markets[key]

    def _market(self) -> Columns:
        arrays, codes = self.plan.arrays, self.plan.codes
        usable = np.where(arrays.usable, 1.0, np.nan)
        index = np.full(len(self.names["underlying"]), np.nan)
        index[: len(arrays.index)] = arrays.index
        count = len(arrays.universe)
        told = {name: column * usable for name, column in facts(arrays).items()}
        told["lot_size"] = arrays.universe.lot_size
        rows = {
            "instrument": Rows(count, codes, told | self._told("instrument", codes)),
            "underlying": Rows(
                len(index),
                own := {"underlying": np.arange(len(index))},
                {"index": index, **self._told("underlying", own)},
            ),
        }
        text = self.plan.rulebook.text
        return Columns(
            self.plan.form, rows, names=self.names, tables=self.plan.rulebook.tables,
            parameters=text.parameters, scenarios=self._scenarios(),
        )  # fmt: skip

    def _scenarios(self) -> dict[str, dict[str, Float64]]:
        """Scenario fields; what is no underlying of the market has no move that is known."""
        fields = scenario_fields(self.plan.arrays)
        extra = len(self.names["underlying"]) - len(self.plan.arrays.index)
        for by_name in fields.values():
            for name in set(by_name) - _BY_INSTRUMENT:
                unknown = np.full((extra, by_name[name].shape[1]), np.nan)
                own = by_name[name][:1].repeat(extra, axis=0)
                more = unknown if name == "move" else own
                by_name[name] = np.concatenate([by_name[name], more])
        return fields

    def _told(self, level: str, codes: Mapping[str, Int64], start: int = 0) -> dict[str, Float64]:
        """Inputs of a level that the caller brought, a number a row; accounts from `start` on."""
        told = {}
        for column, given in self.plan.rulebook.text.inputs.get(level, {}).items():
            value = self.inputs.get(f"{level}.{column}")
            if value is None:
                continue
            count = len(next(iter(codes.values())))
            if isinstance(value, Mapping):
                default = np.nan if given.default is None else given.default
                told[column] = self._by_name(value, codes, default, start)
            else:
                told[column] = np.full(count, float(value))
        return told

    def _by_name(
        self, value: Mapping[Any, float], codes: Mapping[str, Int64], default: float, start: int
    ) -> Float64:
        key = next(one for one in FINEST if one in codes)
        accounts = self.book.accounts
        names = accounts[start : start + BLOCK] if key == "account" else self.names[key]
        if not any(isinstance(one, tuple) for one in value):
            return np.array([value.get(name, default) for name in names])[codes[key]]
        # A pair names a row by its finest key, or a pool that holds one position alone by that.
        pools = codes.get("pool", codes[key])
        pool_names = self.names["pool" if "pool" in codes else key]
        owners = accounts[start : start + BLOCK]
        rows = zip(codes["account"].tolist(), codes[key].tolist(), pools.tolist(), strict=True)
        asked = (((owners[a], names[n]), (owners[a], pool_names[p]), names[n]) for a, n, p in rows)
        return np.array([next((value[k] for k in one if k in value), default) for one in asked])

    def block(self, start: int) -> dict[str, Float64]:
        """Answer columns of the accounts from `start` on."""
        stop = min(start + BLOCK, len(self.book))
        return self._answer(self.columns(start, stop), stop - start)

    def columns(self, start: int, stop: int) -> Columns:
        """Columns of the accounts of a block."""
        sources = {
            "position": self._positions(start, stop),
            "asset": self._assets(start, stop),
            "order": self._orders(start, stop),
        }
        text = self.plan.rulebook.text
        names = {**self.names, "account": list(self.book.accounts[start:stop]), "order": [""]}
        columns = Columns(
            self.plan.form, sources, names=names, tables=self.plan.rulebook.tables,
            parameters=text.parameters, scenarios=self.market.scenarios,
            spreads=self.plan.rulebook.spreads, market=self.market,
        )  # fmt: skip
        accounts = np.arange(stop - start)
        columns.tell("account", Rows(len(accounts), own := {"account": accounts},
                                     self._told("account", own, start)))  # fmt: skip
        pool = _pools(accounts, sources.values(), len(names["pool"]))
        own = {"account": pool // len(names["pool"]), "pool": pool % len(names["pool"])}
        columns.tell("pool", Rows(len(pool), own, self._told("pool", own, start)))
        for level in text.levels:
            if level in text.inputs:
                rows = columns.rows(level)
                told = self._told(level, rows.codes, start)
                columns.tell(level, Rows(rows.count, rows.codes, told))
        return columns

    def _answer(self, columns: Columns, accounts: int) -> dict[str, Float64]:
        answer = self.plan.rulebook.text.answer
        level = answer.level
        rows = columns.rows(level)
        of = rows.codes["account"]

        def total(column: Any) -> Float64:
            return np.bincount(of, weights=column, minlength=accounts).astype(np.float64)

        named = {"equity": answer.equity, "initial": answer.initial,
                 "maintenance": answer.maintenance}  # fmt: skip
        found = {
            name: np.broadcast_to(columns.column(level, column), (rows.count,))
            for name, column in named.items()
        }
        liquidate = np.broadcast_to(
            columns.evaluate(self.plan.form.liquidate.root, level), (rows.count,)
        )
        found["credit"] = np.zeros(rows.count)
        if answer.credit is not None:
            found["credit"] = np.broadcast_to(columns.column(level, answer.credit), (rows.count,))
        call = found["equity"] < found["initial"]
        parts = {name: columns.column(level, name) for name in answer.components}
        return {
            **{name: total(column) for name, column in {**found, **parts}.items()},
            "call": total(call),
            "liquidate": total(np.nan_to_num(liquidate)),
            "undecided": total(np.isnan(liquidate)),
            **self._worst(columns, accounts),
        }

    def _worst(self, columns: Columns, accounts: int) -> dict[str, Float64]:
        """Each account's worst scenario, and the underlying that it is of."""
        told, formula = self.plan.rulebook.text.answer.worst, self.plan.form.worst
        found = {name: np.full(accounts, -1.0) for name in ("worst_underlying", "worst_scenario")}
        if told is None or formula is None:
            return found
        rows = columns.rows(told.level)
        pnl = np.asarray(columns.evaluate(formula.root, told.level))
        if rows.count == 0 or pnl.ndim < 2:
            return found
        least, place = pnl.min(axis=1), pnl.argmin(axis=1)
        names = np.array(self.plan.arrays.shocks.set_names)
        scenario = np.flatnonzero(names == told.scenarios)[place]
        account = rows.codes["account"]
        order = np.lexsort((least, account))
        owner, first = np.unique(account[order], return_index=True)
        row = order[first]
        loses = least[row] < 0.0
        found["worst_underlying"][owner[loses]] = rows.codes["underlying"][row[loses]]
        found["worst_scenario"][owner[loses]] = scenario[row[loses]]
        return found

    def _positions(self, start: int, stop: int) -> Rows:
        book, arrays = self.book, self.plan.arrays
        part = slice(int(book.first[start]), int(book.first[stop]))
        instrument = book.instrument[part].astype(np.int64)
        lots = book.lots[part]
        per_lot = arrays.universe.lot_size[instrument]
        size = lots * per_lot
        quanta = np.array([quanta_per_unit(one) for one in arrays.universe.settlements])
        quanta = quanta[arrays.universe.settlement[instrument]]
        rest = lots - book.entry_lots[part]
        worth = self.size_worth[instrument]
        cost = book.entry_value[part] / quanta + np.where(rest != 0.0, rest * per_lot * worth, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            entry_worth = np.where(size != 0.0, cost / size, worth)
            inverse = arrays.universe.inverse[instrument] & ~arrays.universe.is_option[instrument]
            rate = arrays.universe.quanto_rate[instrument]
            entry_price = np.where(inverse, -1.0 / entry_worth, entry_worth / rate)
        # What no entry is told of was entered at the mark: it has gained nothing, to the last bit.
        untold = (book.entry_lots[part] == 0.0) & (book.entry_value[part] == 0.0)
        entry_worth = np.where(untold, worth, entry_worth)
        entry_price = np.where(untold, self.market.column("instrument", "mark")[instrument],
                               entry_price)  # fmt: skip
        codes = {
            "account": np.repeat(np.arange(stop - start), np.diff(book.first[start : stop + 1])),
            "pool": self.pools[part],
            "side": (lots > 0).astype(np.int64),
            **{key: code[instrument] for key, code in self.plan.codes.items()},
        }
        told = {"size": size, "lots": lots, "entry_price": entry_price, "entry_worth": entry_worth}
        return Rows(len(lots), codes, {**told, **self._told("position", codes, start)})

    def _assets(self, start: int, stop: int) -> Rows:
        part = slice(*np.searchsorted(self.balance_account, (start, stop)))
        asset = self.asset[part]
        keyed = {
            key: np.array([self.names[key].index(name) for name in self.asset_names], np.int64)
            for key in ("underlying", "settlement")
        }
        codes = {
            "account": self.balance_account[part] - start,
            "pool": np.zeros(len(asset), np.int64),
            "asset": asset,
            **{key: code[asset] if len(code) else asset for key, code in keyed.items()},
        }
        told = {"amount": self.amount[part], "price": self.price[part]}
        return Rows(len(asset), codes, {**told, **self._told("asset", codes, start)})

    def _orders(self, start: int, stop: int) -> Rows:
        orders = self.orders
        mine = np.flatnonzero((orders.account >= start) & (orders.account < stop))
        instrument = orders.instrument[mine]
        codes = {
            "account": orders.account[mine] - start,
            "pool": np.zeros(len(mine), np.int64) if orders.pool is None else orders.pool[mine],
            "side": orders.buy[mine].astype(np.int64),
            "order": np.zeros(len(mine), np.int64),
            **{key: code[instrument] for key, code in self.plan.codes.items()},
        }
        told = {name: getattr(orders, name)[mine] for name in ("size", "price", "buy")}
        return Rows(len(mine), codes, {**told, **self._told("order", codes, start)})
