"""How well margin is used: what a book needs for its size, beside other ways of margining it.

| figure | is |
|---|---|
| gross notional | Σ \\|lots\\| × notional at the index |
| net notional | Σ over underlyings of \\|delta in dollars\\|: an option counts as what hedges it |
| isolated | Σ of what each position would need alone, under the same rulebook |
| locked, idle | the part of equity that margin takes, and what is left |
| leverage | notional over equity |
| return on margin | gain between the first and the last market over the mean initial margin |

Ratios without a base (no notional, no equity above 0) are not told. Money in tables is dollars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from solvent import api
from solvent.answer import Margin, row_of
from solvent.errors import BadInput, RulebookError
from solvent.instruments.contract import moment_of
from solvent.lab.capital.faults import wrong
from solvent.lab.capital.remargin import remargin
from solvent.levels_answer import LevelsMargin
from solvent.market import Snapshot
from solvent.risk import RiskArrays
from solvent.units import MICRO, Float64

if TYPE_CHECKING:
    import plotly.graph_objects as go

DAYS_A_YEAR: Final = 365.0
_MONEY: Final = (
    "initial", "maintenance", "gross_notional", "net_notional", "over_gross", "over_net",
    "isolated", "over_isolated", "equity", "haircut", "locked", "idle", "shortfall",
    "leverage_gross", "leverage_net", "unrealised",
)  # fmt: skip
_ROWS: Final[dict[str, Any]] = {
    "account": pl.String, "rulebook": pl.String, **dict.fromkeys(_MONEY, pl.Float64),
    "reason": pl.String, "note": pl.String,
}  # fmt: skip
_SERIES: Final[dict[str, Any]] = {
    "account": pl.String, "time": pl.Datetime("ms"), **dict.fromkeys(_MONEY, pl.Float64),
    "pnl": pl.Float64, "settled": pl.Int64, "reason": pl.String,
}  # fmt: skip
_RETURNS: Final[dict[str, Any]] = {
    "account": pl.String, "days": pl.Float64, "pnl": pl.Float64, "mean_initial": pl.Float64,
    "peak_initial": pl.Float64, "return_on_margin": pl.Float64, "a_year": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True)
class Efficiency:
    """Accounts under the rulebook and beside it others; and over time, where markets were told."""

    rows: tuple[Mapping[str, Any], ...]
    over_time: tuple[Mapping[str, Any], ...] = ()

    def table(self) -> pl.DataFrame:
        """A row an account and rulebook; `note` says what the rulebook was not asked with."""
        return pl.DataFrame(self.rows, schema=_ROWS)

    def series(self) -> pl.DataFrame:
        """A row an account and market; `pnl` is since the last market where the margin was known,
        0 at the first of them and null where it is not known; `settled` counts positions that have
        expired by then and are left out."""
        return pl.DataFrame(self.over_time, schema=_SERIES)

    def returns(self) -> pl.DataFrame:
        """A row an account: gain over the mean initial margin of the series, and a year of it."""
        rows = []
        for (name,), part in self.series().group_by("account", maintain_order=True):
            known = part.filter(pl.col("initial").is_not_null())
            if known.height < 2:
                continue
            first, last = known["time"][0], known["time"][-1]
            days = (last - first).total_seconds() / 86_400.0
            pnl, mean = float(known["pnl"].sum()), float(np.mean(known["initial"].to_numpy()))
            over = pnl / mean if mean > 0.0 else None
            a_year = None if over is None or days <= 0.0 else over * DAYS_A_YEAR / days
            rows.append(
                {"account": name, "days": days, "pnl": pnl, "mean_initial": mean,
                 "peak_initial": float(known["initial"].to_numpy().max()),
                 "return_on_margin": over, "a_year": a_year}
            )  # fmt: skip
        return pl.DataFrame(rows, schema=_RETURNS)

    def to_polars(self) -> pl.DataFrame:
        """The same as `table`."""
        return self.table()

    def plot(self) -> go.Figure:
        """Margin by rulebook, or over time where markets were told."""
        from solvent.lab.capital.plots import efficiency_figure

        return efficiency_figure(self)

    def __repr__(self) -> str:
        return f"Efficiency({len(self.rows)} rows, {len(self.over_time)} over time)"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def efficiency(
    positions: Any, market: Any, rulebook: api.RulebookLike = "deribit-pm", *,
    rulebooks: Sequence[api.RulebookLike] = (), over: Sequence[Any] = (), collateral: Any = None,
    orders: Any = None, modes: Any = None, inputs: Any = None, history: api.HistoryLike = None,
    accounts: Sequence[str] | None = None,
) -> Efficiency:  # fmt: skip
    """How well each account's margin is used.

    Args:
        rulebooks: others, beside which the first is put; modes and inputs are for the first alone,
            and orders are left out where a rulebook takes none: the row's `note` says so.
        over: markets (snapshots or paths) in the order of their time: the same positions in each,
            with the same orders, modes and inputs.

    Raises BadInput for what cannot be used. A rulebook or market under which an account's margin is
    not known has a row that says why.
    """
    snapshot = _snapshot(market)
    series = api.read_history(history)
    told = api.read_positions(positions) if not _is_book(positions) else positions
    rows: list[Mapping[str, Any]] = []
    for n, one in enumerate((rulebook, *rulebooks)):
        rows += _under(told, snapshot, one, accounts, n > 0, collateral=collateral, orders=orders,
                       modes=modes, inputs=inputs, history=series)  # fmt: skip
    found: list[Mapping[str, Any]] = []
    if over:
        more: dict[str, Any] = {"collateral": collateral, "orders": orders, "modes": modes,
                                "inputs": inputs, "history": series}  # fmt: skip
        found = _over_time(told, [_snapshot(one) for one in over], rulebook, accounts, more)
    return Efficiency(tuple(rows), tuple(found))


def _snapshot(market: Any) -> Snapshot:
    if isinstance(market, Snapshot):
        return market
    paths = market if isinstance(market, list | tuple) else [market]
    return api.read_market(*paths)


def _is_book(positions: Any) -> bool:
    from solvent.risk import Book

    return isinstance(positions, Book)


def _under(
    positions: Any, market: Snapshot, rulebook: api.RulebookLike,
    accounts: Sequence[str] | None, beside: bool, **told: Any,
) -> list[Mapping[str, Any]]:  # fmt: skip
    """Rows of a rulebook. One beside the first that cannot margin at all says so in its rows."""
    name, note = str(getattr(rulebook, "name", rulebook)), ""
    try:
        history = told.pop("history", None)
        plan = api.prepare(market, rulebook, history=history)
        if beside:
            told, note = _without(plan, told)
        answer = api.margin(positions, plan, **told)
    except (BadInput, RulebookError) as fault:
        if not beside:
            raise
        return [_nothing(one, name, str(fault)) for one in accounts or ["*"]]
    names = list(answer.book.accounts)
    rows = [row_of(one, names) for one in accounts] if accounts is not None else range(len(names))
    return [{**_row(answer, row), "note": note} for row in rows]


def _without(plan: Any, told: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What a rulebook beside the first is asked with, and what is left out, in words.

    Modes and inputs are those of the first rulebook; one of scans takes no orders either.
    """
    from solvent.margining.plan import Plan

    off = [name for name in ("orders", "modes", "inputs")
           if told[name] is not None and (name != "orders" or isinstance(plan, Plan))]  # fmt: skip
    note = f"asked without {', '.join(off)}" if off else ""
    return {**told, **dict.fromkeys(off)}, note


def _nothing(account: str, rulebook: str, reason: str) -> Mapping[str, Any]:
    return {"account": account, "rulebook": rulebook, **dict.fromkeys(_MONEY), "reason": reason,
            "note": ""}  # fmt: skip


def _row(answer: api.AnyMargin, row: int) -> dict[str, Any]:
    name, rulebook = answer.book.accounts[row], answer.plan.rulebook.name
    if answer.unknown[row]:
        return dict(_nothing(name, rulebook, str(answer.to_polars()["reason"][row])))
    gross, net = _notionals(answer, row)
    initial = int(answer.initial_micro[row]) / MICRO
    equity, haircut, unrealised = _worth(answer, row)
    alone = _isolated(answer, row)
    return {
        "account": name, "rulebook": rulebook, "initial": initial,
        "maintenance": _maintenance(answer, row) / MICRO,
        "gross_notional": gross, "net_notional": net,
        "over_gross": _over(initial, gross), "over_net": _over(initial, net),
        "isolated": alone, "over_isolated": None if alone is None else _over(initial, alone),
        "equity": equity, "haircut": haircut,
        "locked": None if equity is None else min(initial, max(equity, 0.0)),
        "idle": None if equity is None else max(equity - initial, 0.0),
        "shortfall": None if equity is None else max(initial - equity, 0.0),
        "leverage_gross": None if equity is None else _over(gross, equity),
        "leverage_net": None if equity is None else _over(net, equity),
        "unrealised": unrealised,
        "reason": "", "note": "",
    }  # fmt: skip


def _over(part: float, whole: float) -> float | None:
    """A ratio; None without a base above 0."""
    return part / whole if whole > 0.0 else None


def _notionals(answer: api.AnyMargin, row: int) -> tuple[float, float]:
    """Gross notional, and net: |delta| of each underlying, in dollars."""
    book, arrays = answer.book, answer.plan.arrays
    part = slice(int(book.first[row]), int(book.first[row + 1]))
    held, lots = book.instrument[part], book.lots[part]
    gross = float(np.abs(lots * arrays.units["notional"][held]).sum())
    of = arrays.universe.underlying[held]
    delta = lots * arrays.units["delta"][held] * arrays.index[of]
    by = np.bincount(of, weights=delta, minlength=len(arrays.index))
    return gross, float(np.abs(by).sum())


def _maintenance(answer: api.AnyMargin, row: int) -> int:
    if isinstance(answer, LevelsMargin):
        return int(answer.maintenance_micro[row])
    return int(answer.requirements.maintenance[row])


def _worth(answer: api.AnyMargin, row: int) -> tuple[float | None, float | None, float | None]:
    """Equity and haircut, None without collateral; unrealised gains, where the rulebook's answer
    tells them apart."""
    if isinstance(answer, Margin):
        gains = int(answer.requirements.unrealised[row]) / MICRO
        if answer.equity_micro is None or answer.funded is None:
            return None, None, gains
        return int(answer.equity_micro[row]) / MICRO, int(answer.funded.haircut[row]) / MICRO, gains
    if answer.balances is None:
        return None, None, None
    return int(answer.equity_micro[row]) / MICRO, None, None


def _isolated(answer: api.AnyMargin, row: int) -> float | None:
    """Σ of what each position needs alone; None where one of them has no margin alone."""
    asked = remargin(answer, row)
    if len(asked) == 0:
        return 0.0
    alone = asked.ask(np.diag(asked.lots))
    if not bool(alone.known.all()):
        return None
    nothing = asked.ask(np.zeros((1, len(asked))))
    base = int(nothing.micro[0]) if bool(nothing.known[0]) else 0
    return float(sum(alone.micro.tolist()) - len(asked) * base + base) / MICRO


# ── over time ────────────────────────────────────────────────────────────────────────────────────


def _over_time(
    positions: Any, markets: Sequence[Snapshot], rulebook: api.RulebookLike,
    accounts: Sequence[str] | None, more: Mapping[str, Any],
) -> list[Mapping[str, Any]]:  # fmt: skip
    if _is_book(positions):
        raise wrong("efficiency", "over", "positions as rows: a book is of one market", "a book")
    times = [int(one.as_of_ms) for one in markets]
    if times != sorted(set(times)):
        raise wrong("efficiency", "over", "markets in the order of their time, each once", "others")
    rows: list[Mapping[str, Any]] = []
    before: dict[tuple[str, str], float] = {}
    told = _dicts(positions)
    for market in markets:
        there, settled = _living(told, market)
        history = more["history"]
        plan = api.prepare(market, rulebook, history=history)
        asked = dict(more)
        asked.pop("history")
        answer = api.margin(there, plan, **asked)
        worth = _worths(plan.arrays)
        names = list(answer.book.accounts)
        for name in accounts if accounts is not None else names:
            if name not in names:
                continue
            row = _row(answer, row_of(name, names))
            row.pop("rulebook")
            row.pop("note")
            mine = [one for one in there if one["account"] == name]
            pnl = None if row["reason"] else _gain(mine, worth, before, name)
            rows.append(
                {**row, "time": moment_of(market.as_of_ms).replace(tzinfo=None), "pnl": pnl,
                 "settled": settled.get(name, 0)}
            )  # fmt: skip
    return rows


def _dicts(positions: Any) -> list[dict[str, Any]]:
    """Positions as rows again."""
    return [
        {"account": positions.accounts.names[int(account)],
         "instrument": positions.symbols[int(symbol)], "size": float(size),
         **({"entry_price": float(entry)} if np.isfinite(entry) else {})}
        for account, symbol, size, entry in zip(
            positions.account, positions.symbol, positions.size, positions.entry_price,
            strict=True,
        )
    ]  # fmt: skip


def _living(
    told: Sequence[Mapping[str, Any]], market: Snapshot
) -> tuple[list[Mapping[str, Any]], dict[str, int]]:
    """Positions that have not expired, and how many of each account have."""
    from solvent.instruments import parse_symbol

    kept: list[Mapping[str, Any]] = []
    settled: dict[str, int] = {}
    for one in told:
        expiry = getattr(parse_symbol(one["instrument"]), "expiry_ms", 0) or 0
        if 0 < expiry <= int(market.as_of_ms):
            settled[one["account"]] = settled.get(one["account"], 0) + 1
        else:
            kept.append(one)
    return kept, settled


def _worths(arrays: RiskArrays) -> dict[str, tuple[float, float]]:
    """Symbol → worth of a unit of size in its settlement asset, and dollars per unit of that."""
    universe = arrays.universe
    worth: Float64 = arrays.units["worth"] / universe.lot_size
    price = [arrays.price_of(name) for name in universe.settlements]
    return {
        symbol: (float(worth[n]), price[int(universe.settlement[n])])
        for n, symbol in enumerate(universe.symbols)
    }


def _gain(
    mine: Sequence[Mapping[str, Any]], worth: Mapping[str, tuple[float, float]],
    before: dict[tuple[str, str], float], account: str,
) -> float:  # fmt: skip
    """Dollars gained since the last known market, at today's price of what settles; 0 at first."""
    total = 0.0
    for one in mine:
        symbol = one["instrument"]
        now, dollars = worth[symbol]
        last = before.get((account, symbol), now)
        total += float(one["size"]) * (now - last) * dollars
    for key in [key for key in before if key[0] == account]:
        del before[key]
    for one in mine:
        before[account, one["instrument"]] = worth[one["instrument"]][0]
    return total
