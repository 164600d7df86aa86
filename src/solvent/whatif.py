"""One account asked again: under other rulebooks, with other positions, at other prices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl

from solvent import api
from solvent.errors import BadInput, Problem, Reject, RulebookError
from solvent.feeds import positions as feed
from solvent.feeds.columns import require
from solvent.feeds.sources import source_frames
from solvent.feeds.table import Faults
from solvent.instruments.contract import moment_of
from solvent.levels_answer import LevelsMargin
from solvent.margining.boundary import Boundary, Reach, boundary
from solvent.margining.compile import AnyPlan
from solvent.margining.equity import Collateral
from solvent.margining.requirement import Standing
from solvent.market import Snapshot
from solvent.market.moved import moved, restricted
from solvent.risk import Book, book
from solvent.scenarios import JointShocks

JOINT: Final = "all"
"""Every underlying moves by the same factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where an account stands, in dollars; `binding` says what set its margin, where it is told."""

    equity: float
    initial: float
    maintenance: float
    liquidate: bool = False
    """By the rulebook's own condition."""
    binding: str = ""
    reason: str = ""

    @property
    def known(self) -> bool:
        """Whether everything that the margin needs was there."""
        return bool(np.isfinite(self.equity + self.initial + self.maintenance))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One account's positions and balances: symbol → (size, entry price or None), asset → amount.

    Several rows of one symbol have it with `+` before it, as often as there are others.
    """

    positions: Mapping[str, tuple[float, float | None]]
    balances: Mapping[str, float]
    orders: tuple[Mapping[str, Any], ...] = ()
    modes: tuple[Mapping[str, Any], ...] = ()
    """Rows of open orders, and of how positions are held, as `sv.margin` takes them."""

    def changed(
        self,
        *,
        add: Mapping[str, float] | None = None,
        close: Iterable[str] = (),
        scale: float = 1.0,
        deposit: Mapping[str, float] | None = None,
    ) -> Holding:
        """Scale all positions, close some, add to some (at the mark), then deposit or withdraw.

        An added size in the direction of a position keeps its entry price for the old part only:
        the rest enters at the mark, which leaves equity as it is.
        """
        held = {name: (size * scale, entry) for name, (size, entry) in self.positions.items()}
        for name in close:
            if name not in held:
                raise BadInput(_no_position(name, list(held)))
            held = {one: told for one, told in held.items() if one.lstrip("+") != name}
        balances = dict(self.balances)
        for asset, amount in (deposit or {}).items():
            balances[asset] = balances.get(asset, 0.0) + amount
        rows = dict(held)
        for name, size in (add or {}).items():
            while name in rows:
                name = f"+{name}"
            rows[name] = (size, None)
        return replace(self, positions=rows, balances=balances)


class Desk:
    """One account on one market under one rulebook, ready to be asked many times.

    Only instruments that are held (or in `also`) are priced; before each pricing `pause` may raise.
    """

    def __init__(
        self,
        holding: Holding,
        market: Snapshot,
        rulebook: api.RulebookLike,
        *,
        also: Iterable[str] = (),
        inputs: Mapping[str, Any] | None = None,
        joint: api.Joint = None,
        history: api.HistoryLike = None,
        pause: Callable[[], object] | None = None,
    ) -> None:
        self.holding, self.inputs, self._pause = holding, inputs, pause
        self._told: Any = {"joint": joint, "history": history}
        self._found: dict[tuple[tuple[str, float], ...], State] = {}
        told = {str(row["instrument"]) for row in (*holding.orders, *holding.modes)}
        wanted = {name.lstrip("+") for name in holding.positions} | set(also) | told
        self.market = restricted(market, _rows(market, wanted, holding.balances))
        on = moment_of(market.as_of_ms).date()
        self.rulebook = api.rulebook_in_force(rulebook, on)

    @cached_property
    def plan(self) -> AnyPlan:
        """The rulebook on the market of now."""
        return self._on(self.market)

    def now(self) -> State:
        """Where the account stands."""
        return self.after(self.holding)

    def after(self, holding: Holding) -> State:
        """Where it would stand with other positions and balances."""
        return self.after_each([holding])[0]

    def after_each(self, holdings: Sequence[Holding]) -> list[State]:
        """The same for many at once, as accounts of one book: thousands a second."""
        return self._states(holdings, self.plan)

    def at(self, factors: Mapping[str, float]) -> State:
        """Where it would stand with prices of underlyings times a factor."""
        key = tuple(sorted(factors.items()))
        if key not in self._found:
            if self._pause is not None:
                self._pause()
            plan = self._on(moved(self.market, factors))
            self._found[key] = self._states([self.holding], plan)[0]
        return self._found[key]

    def _on(self, market: Snapshot) -> AnyPlan:
        return api.prepare(market, self.rulebook, joint=self._shocks or None)

    @cached_property
    def _shocks(self) -> dict[str, JointShocks]:
        # Made once: scenarios of a history are of the moment, whatever prices are tried.
        return api.joint_shocks(self.rulebook, self.market, **self._told)

    def liquidation(self, underlying: str, *, below: bool) -> Boundary:
        """The nearest price of an underlying (or factor of `JOINT`) where maintenance is not met.

        The condition is the account's own: every tier, position and balance is in it.
        """
        return self._edge(underlying, _health, below=below)

    def bankruptcy(self, underlying: str, *, below: bool) -> Boundary:
        """The nearest price of an underlying (or factor of `JOINT`) where equity is gone."""
        return self._edge(underlying, lambda at: at.equity, below=below)

    def _edge(
        self, underlying: str, condition: Callable[[State], float], *, below: bool
    ) -> Boundary:
        names = self.market.universe.underlyings
        moves = names if underlying == JOINT else (underlying,)

        def health(factor: float) -> float:
            state = self.at(dict.fromkeys(moves, factor))
            return condition(state) if state.known else np.nan

        # By factors, so that all searches ask at the same places, and each is priced once.
        found = boundary(health, 1.0, below=below)
        if underlying == JOINT or found.price is None:
            return found
        return replace(found, price=found.price * float(self.market.index[names.index(underlying)]))

    def _states(self, holdings: Sequence[Holding], plan: AnyPlan) -> list[State]:
        answer = api.margin(
            self._book(holdings), plan, collateral=_collateral(holdings),
            orders=_owned(holdings, "orders"), modes=_owned(holdings, "modes"),
            inputs=self.inputs, threads=1,
        )  # fmt: skip
        frame = answer.to_polars()
        states = []
        for row in frame.iter_rows(named=True):
            binding = row["worst_scenario"] or ""
            if isinstance(answer, LevelsMargin) and not binding:
                binding = _largest({name: row[name] for name in answer.answer.components})
            money = (row["equity"], row["initial_margin"], row["maintenance_margin"])
            equity, initial, maintenance = (np.nan if one is None else one for one in money)
            states.append(
                State(
                    equity=equity, initial=initial, maintenance=maintenance, binding=binding,
                    liquidate=row["status"] == Standing.LIQUIDATE, reason=row["reason"],
                )
            )  # fmt: skip
        return states

    def _book(self, holdings: Sequence[Holding]) -> Book:
        universe = self.market.universe
        told = [
            (account, name.lstrip("+"), *one)
            for account, holding in enumerate(holdings)
            for name, one in holding.positions.items()
            if one[0]
        ]
        rows = np.array([self._row(name) for _, name, _, _ in told], dtype=np.int32)
        size = np.array([size for _, _, size, _ in told])
        lot = universe.lot_size[rows]
        lots = np.rint(size / lot)
        for n in np.flatnonzero(np.abs(lots * lot - size) > 1e-9 * np.maximum(np.abs(size), lot)):
            raise BadInput(_not_whole(told[n][1], float(size[n]), float(lot[n])))
        return book(
            accounts=[str(n) for n in range(len(holdings))],
            account=np.array([account for account, _, _, _ in told], dtype=np.int32),
            instrument=rows,
            lots=lots,
            universe=universe,
            entry_price=np.array([np.nan if e is None else e for _, _, _, e in told]),
            apart=np.array([self._hedged(holdings[n], name) for n, name, _, _ in told], dtype=bool),
        )

    def _hedged(self, holding: Holding, name: str) -> bool:
        row = self._row(name)
        return any(
            one["mode"] == "hedge" and self.market.universe.row(str(one["instrument"])) == row
            for one in holding.modes
        )

    def _row(self, name: str) -> int:
        row = self.market.universe.row(name)
        if row is None:
            raise BadInput(_not_in_market(name))
        return row


def _health(state: State) -> float:
    """Equity over maintenance; where the rulebook liquidates by another rule, its verdict alone."""
    health = state.equity - state.maintenance
    if state.liquidate == (health < 0.0):
        return health
    return -1.0 if state.liquidate else 1.0


def _collateral(holdings: Sequence[Holding]) -> Collateral:
    told = [
        (account, asset, amount)
        for account, holding in enumerate(holdings)
        for asset, amount in holding.balances.items()
        if amount
    ]
    return Collateral(
        account=np.array([account for account, _, _ in told], dtype=np.int32),
        asset=[asset for _, asset, _ in told],
        amount=np.array([amount for _, _, amount in told], dtype=np.float64),
    )


def _owned(holdings: Sequence[Holding], what: str) -> list[dict[str, Any]] | None:
    """Rows of orders or modes with the holding's number for an account."""
    rows = [
        {**row, "account": str(n)}
        for n, holding in enumerate(holdings)
        for row in getattr(holding, what)
    ]
    return rows or None


def _largest(components: Mapping[str, float | None]) -> str:
    """The component that counts for most."""
    amounts = {name: abs(amount or 0.0) for name, amount in components.items()}
    name = max(amounts, key=lambda one: amounts[one], default="")
    return name.replace("_", " ") if amounts.get(name, 0.0) > 0.0 else ""


def _rows(market: Snapshot, wanted: set[str], balances: Mapping[str, float]) -> list[int]:
    universe = market.universe
    rows = []
    for name in sorted(wanted):
        row = universe.row(name)
        if row is None:
            raise BadInput(_not_in_market(name))
        rows.append(row)
    for asset in balances:
        if asset in universe.underlyings:
            code = universe.underlyings.index(asset)
            rows.append(int(np.flatnonzero(universe.underlying == code)[0]))
    if not rows:
        rows.append(0)
    return rows


def holdings(
    positions: Any,
    collateral: Any = None,
    *,
    orders: Any = None,
    modes: Any = None,
    accounts: Sequence[str] | None = None,
) -> dict[str, Holding]:
    """Account → what it holds, from whatever `sv.margin` takes."""
    told = api.read_positions(positions)
    names = told.accounts
    by_account: dict[str, dict[str, tuple[float, float | None]]] = {}
    for code, symbol, size, entry in zip(
        told.account, told.symbol, told.size, told.entry_price, strict=True
    ):
        held = by_account.setdefault(names.names[int(code)], {})
        name = told.symbols[int(symbol)]
        while name in held:
            name = f"+{name}"
        held[name] = (float(size), float(entry) if np.isfinite(entry) else None)
    balances: dict[str, dict[str, float]] = {}
    if collateral is not None:
        read = feed.read_collateral(collateral, skip_bad=False, accounts=names).collateral
        for code, asset, amount in zip(read.account, read.asset, read.amount, strict=True):
            owned = balances.setdefault(names.names[int(code)], {})
            owned[asset] = owned.get(asset, 0.0) + float(amount)
    by_order, by_mode = _by_account(orders, "orders"), _by_account(modes, "modes")
    everyone = list(dict.fromkeys([*by_account, *balances, *by_order]))
    for name in accounts or ():
        if name not in everyone:
            raise BadInput(_no_account(name, everyone))
    return {
        name: Holding(
            positions=by_account.get(name, {}),
            balances=balances.get(name, {}),
            orders=by_order.get(name, ()),
            modes=by_mode.get(name, ()),
        )
        for name in (accounts or everyone)
    }


def _by_account(source: Any, what: str) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Rows by account; what is wrong with them is told when they are margined."""
    found: dict[str, tuple[Mapping[str, Any], ...]] = {}
    if source is None:
        return found
    faults = Faults.of(source, otherwise=what, skip=False)
    for _, frame, told in source_frames(source, faults, slowly=True):
        require(frame, ("account", "instrument"), told)
        for row in frame.to_dicts():
            name = str(row["account"]).strip()
            found[name] = (*found.get(name, ()), row)
    return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same accounts under several rulebooks: a row an account and rulebook."""

    frame: pl.DataFrame

    def to_polars(self) -> pl.DataFrame:
        """The rows."""
        return self.frame

    def __repr__(self) -> str:
        return repr(self.frame)

    def _repr_html_(self) -> str:
        return self.frame._repr_html_()


def compare(
    positions: Any, market: Snapshot, rulebooks: Sequence[api.RulebookLike], *,
    collateral: Any = None, orders: Any = None, modes: Any = None,
    history: api.HistoryLike = None, accounts: Sequence[str] | None = None,
    pause: Callable[[], object] | None = None,
) -> Comparison:  # fmt: skip
    """The same book under several rulebooks: margins, leverage, liquidation distance, reason.

    `liquidation_down` and `liquidation_up` are the relative moves of all underlyings together at
    which the account would be liquidated; null where no move does that, 0 where it is now.
    Where a rulebook cannot margin an account its row says why. `pause`: see `Desk`.
    """
    told = holdings(positions, collateral, orders=orders, modes=modes, accounts=accounts)
    series = api.read_history(history)
    rows = [
        {"account": account, **_compared(holding, market, rulebook, series, pause)}
        for account, holding in told.items()
        for rulebook in rulebooks
    ]
    return Comparison(pl.DataFrame(rows, infer_schema_length=None))


def _compared(
    holding: Holding, market: Snapshot, rulebook: api.RulebookLike, history: api.HistoryLike,
    pause: Callable[[], object] | None,
) -> dict[str, Any]:  # fmt: skip
    desk = Desk(holding, market, rulebook, history=history, pause=pause)
    row: dict[str, Any] = {"rulebook": desk.rulebook.name}
    try:
        state = desk.now()
    except (BadInput, RulebookError) as fault:
        state = State(equity=np.nan, initial=np.nan, maintenance=np.nan, reason=str(fault))
    if not state.known:
        empty = ("equity", "initial_margin", "maintenance_margin", "leverage", "capital_efficiency",
                 "liquidation_down", "liquidation_up")  # fmt: skip
        return {**row, **dict.fromkeys(empty), "binding": "", "reason": state.reason}
    gross, funded = _gross_notional(desk), bool(holding.balances)
    down = desk.liquidation(JOINT, below=True) if funded else None
    up = desk.liquidation(JOINT, below=False) if funded else None
    return {
        **row,
        "equity": state.equity,
        "initial_margin": state.initial,
        "maintenance_margin": state.maintenance,
        "leverage": gross / state.equity if funded and state.equity > 0 else None,
        "capital_efficiency": gross / state.initial if state.initial > 0 else None,
        "liquidation_down": down and down.move,
        "liquidation_up": up and up.move,
        "binding": state.binding,
        "reason": "",
    }


def _gross_notional(desk: Desk) -> float:
    arrays = desk.plan.arrays
    universe = arrays.universe
    total = 0.0
    for name, (size, _) in desk.holding.positions.items():
        row = universe.row(name.lstrip("+"))
        assert row is not None
        total += abs(size) / float(universe.lot_size[row]) * float(arrays.units["notional"][row])
    return total


def liquidation_prices(
    positions: Any, market: Snapshot, rulebook: api.RulebookLike = "deribit-pm", *,
    collateral: Any, orders: Any = None, modes: Any = None,
    inputs: Mapping[str, Any] | None = None, history: api.HistoryLike = None,
    accounts: Sequence[str] | None = None, pause: Callable[[], object] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Where each account would be liquidated: a row an account and underlying, and one for all.

    `below` and `above` are prices of the underlying (factors for `all`), null where none is;
    `already` says that the account is liquidated now, `unknown` that the search met a price at
    which its margin is not known. At `bankrupt_below` and `bankrupt_above` equity
    is gone. `pause`: see `Desk`.
    """
    told = holdings(positions, collateral, orders=orders, modes=modes, accounts=accounts)
    rows, series = [], api.read_history(history)
    for account, holding in told.items():
        desk = Desk(holding, market, rulebook, inputs=inputs, history=series, pause=pause)
        held = {name.lstrip("+") for name in holding.positions}
        universe = desk.market.universe
        mine = {
            universe.underlyings[universe.underlying[row]]
            for name in held if (row := universe.row(name)) is not None
        }  # fmt: skip
        for underlying in [*sorted(mine), JOINT]:
            below = desk.liquidation(underlying, below=True)
            above = desk.liquidation(underlying, below=False)
            rows.append(
                {
                    "account": account,
                    "underlying": underlying,
                    "already": below.reach is Reach.ALREADY,
                    "unknown": Reach.UNKNOWN in (below.reach, above.reach),
                    "below": below.price,
                    "below_distance": below.distance,
                    "above": above.price,
                    "above_distance": above.distance,
                    "bankrupt_below": desk.bankruptcy(underlying, below=True).price,
                    "bankrupt_above": desk.bankruptcy(underlying, below=False).price,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _no_position(name: str, held: list[str]) -> Problem:
    told = f"a position that is held ({', '.join(held)})"
    return _wrong(Reject.SYMBOL_UNKNOWN, "close", told, name)


def _not_in_market(name: str) -> Problem:
    told = Reject.INSTRUMENT_NOT_IN_MARKET, "positions", "an instrument of the market"
    return _wrong(*told, name, field="instrument")


def _not_whole(name: str, size: float, lot: float) -> Problem:
    code, found = Reject.SIZE_NOT_WHOLE_LOTS, f"{size:g}"
    return _wrong(code, "positions", f"a whole number of lots of {lot:g}", found, field=name)


def _no_account(name: str, known: list[str]) -> Problem:
    told = f"one of {len(known)} accounts, such as {known[0] if known else 'none'!r}"
    return _wrong(Reject.ACCOUNT_EMPTY, "accounts", told, repr(name))


def _wrong(code: Reject, source: str, expected: str, found: str, *, field: str = "") -> Problem:
    return Problem(code=code, source=source, field=field, expected=expected, found=found)
