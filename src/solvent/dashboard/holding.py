"""One account: what the engine's thread copies of it, and what a page shows of that.

Amounts that people read are dollars or units of an asset as float64, made from the ledger's whole
numbers at the end; nothing is decided on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from solvent.account.ledger import GENERAL, margin_slot, node
from solvent.account.position import Position
from solvent.dashboard.crowd import Part, part_of
from solvent.engine.standing import standing, view
from solvent.engine.state import Account, Contract, Standing, State
from solvent.margining.boundary import Reach
from solvent.margining.evaluate import requirements
from solvent.margining.explain import SetView, explain
from solvent.margining.plan import Plan
from solvent.market import Snapshot
from solvent.order_rows import OpenOrder, open_orders
from solvent.units import MICRO
from solvent.whatif import Desk, Holding

NOT_ASKED = Standing(0, 0, 0, False, False, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One position, in the contract's own units; gains in its settlement asset."""

    symbol: str
    underlying: str
    lots: int
    size: float
    entry: float | None
    mark: float | None
    unrealised: float | None
    realised: float
    asset: str
    isolated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountNow:
    """An account at one command, copied. `standing` is the engine's own, orders counted."""

    name: str
    number: int
    rulebook: str
    status: str
    kind: str
    standing: Standing
    balances: Mapping[str, float]
    positions: tuple[Held, ...]
    orders: tuple[OpenOrder, ...]
    modes: tuple[Mapping[str, Any], ...]
    call_level: int
    call_micro: int
    deadline_ms: int | None
    part: Part | None


def account_now(state: State, account: Account) -> AccountNow:
    """Copy an account, on the engine's thread."""
    by_account = account.rulebook in state.rules and state.house.contract is None
    call = state.calls.get(account.number)
    balances = {}
    for number, (asset, decimals) in enumerate(state.assets):
        if units := state.ledger.balance(node(account.number, GENERAL, number)):
            balances[asset] = units / 10**decimals
    return AccountNow(
        name=account.name, number=account.number, rulebook=account.rulebook,
        status=account.status, kind=str(account.kind),
        standing=standing(state, view(state, account)) if by_account else NOT_ASKED,
        balances=balances,
        positions=tuple(
            _held(state.contracts[number], one, isolated=account.isolates(number))
            for number, one in (account.positions or {}).items()
        ),
        orders=tuple(open_orders(state, account.name)),
        modes=tuple(_modes(state, account)),
        call_level=0 if call is None else call.level,
        call_micro=0 if call is None else call.amount_micro,
        deadline_ms=None if call is None else call.deadline_ms,
        part=part_of(state, account.rulebook, [account.number]) if by_account else None,
    )  # fmt: skip


def _held(contract: Contract, one: Position, *, isolated: bool) -> Held:
    deal = contract.deal
    unrealised = None
    if contract.mark_points is not None:
        now = deal.value(one.lots, contract.mark_points)
        unrealised = float(deal.money(now - one.basis_value) / deal.asset_scale)
    mark = None if contract.mark_points is None else float(contract.mark_points * deal.point)
    return Held(
        symbol=contract.listing.symbol, underlying=deal.underlying, lots=one.lots,
        size=float(one.lots * deal.lot_size), entry=_entry(contract, one), mark=mark,
        unrealised=unrealised, realised=one.realised / deal.asset_scale,
        asset=contract.listing.settlement, isolated=isolated,
    )  # fmt: skip


def _entry(contract: Contract, one: Position) -> float | None:
    """The price behind what has not been paid yet; None of what was paid for up front."""
    deal = contract.deal
    if deal.up_front or not one.lots:
        return None
    if deal.coin_numerator:
        coin = Fraction(deal.coin_numerator, deal.coin_denominator)
        return float(-one.lots * coin / one.basis_value * deal.point) if one.basis_value else None
    return float(Fraction(one.basis_value, one.lots) * deal.point)


def _modes(state: State, account: Account) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for number, mode in (account.modes or {}).items():
        contract = state.contracts[number]
        row: dict[str, Any] = {
            "instrument": contract.listing.symbol, "mode": "isolated" if mode.isolated else "cross"
        }  # fmt: skip
        if mode.factor is not None:
            row["leverage"] = float(1 / mode.factor)
        if mode.isolated:
            slot = node(account.number, margin_slot(number), contract.deal.asset)
            row["isolated_margin"] = state.ledger.balance(slot) / contract.deal.asset_scale
        rows.append(row)
    return rows


# ── asked again ──────────────────────────────────────────────────────────────────────────────────


def holding_of(now: AccountNow, market: Snapshot) -> Holding:
    """What `whatif.Desk` asks of; positions that the market does not have are left out."""
    known = market.universe
    return Holding(
        positions={
            one.symbol: (one.size, one.entry)
            for one in now.positions if known.row(one.symbol) is not None
        },
        balances=dict(now.balances),
        modes=tuple(one for one in now.modes if one["mode"] == "isolated"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Prices of an underlying at which an account would be liquidated, and how far away; None
    where there is none on that side. `already` says that it would be now."""

    underlying: str
    price: float
    below: float | None
    above: float | None
    already: bool = False

    def nearest(self) -> float | None:
        """The nearer of both as a share of the price, with its sign; None where there is none.

        >>> Edges(underlying="BTC", price=100.0, below=80.0, above=None).nearest()
        -0.2
        """
        edges = [edge for edge in (self.below, self.above) if edge is not None]
        moves = sorted((edge / self.price - 1.0 for edge in edges), key=abs)
        return round(moves[0], 12) if moves else None


def edges_of(now: AccountNow, market: Snapshot, rulebook: Any) -> Iterator[Edges]:
    """Liquidation prices by the account's own condition, an underlying at a time as they are found:
    some hundred margins each."""
    holding = holding_of(now, market)
    if not holding.positions:
        return
    desk = Desk(holding, market, rulebook)
    if not desk.now().known:
        return
    held = dict.fromkeys(one.underlying for one in now.positions)
    for name in desk.market.universe.underlyings:
        if name not in held:
            continue
        price = float(desk.market.index[desk.market.universe.underlyings.index(name)])
        below, above = (desk.liquidation(name, below=side) for side in (True, False))
        yield Edges(
            underlying=name, price=price, below=below.price, above=above.price,
            already=below.reach is Reach.ALREADY,
        )  # fmt: skip


# ── explained ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """PnL of one scan and scenario set over spot and volatility, dollars; None where there is no
    such scenario. `binding` is its row and column, None where it lies in another set."""

    title: str
    moves: tuple[float, ...]
    vols: tuple[str, ...]
    pnl: tuple[tuple[float | None, ...], ...]
    binding: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """A balance with its haircut: what it is worth and what counts of it, in dollars; None where
    the rulebook does not say that of the asset by itself."""

    asset: str
    amount: float
    price: float | None
    haircut: float | None

    @property
    def value(self) -> float | None:
        """Dollars before the haircut."""
        return None if self.price is None else self.amount * self.price

    @property
    def counted(self) -> float | None:
        """Dollars after it; a debt is taken whole."""
        value = self.value
        if value is None:
            return None
        return value if value < 0 else value * (1.0 - (self.haircut or 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Why an account must post what it must."""

    sets: tuple[SetView, ...]
    heats: tuple[Heat, ...]
    worths: tuple[Worth, ...]
    greeks: Mapping[str, Mapping[str, float]]
    """Underlying → delta and gamma per 1 % in coin, vega per point and theta per day in dollars."""
    reason: str = ""


def explained(now: AccountNow, plan: Any) -> Explained:
    """Scenarios, charges, haircuts and greeks of an account on a plan. Scenarios are told where
    the rulebook has them: one of formulas has none."""
    worths = tuple(_worth(asset, amount, plan) for asset, amount in now.balances.items())
    part = now.part
    if part is None:
        return Explained(sets=(), heats=(), worths=worths, greeks={}, reason="no risk arrays yet")
    greeks = _greeks(part, plan)
    if not isinstance(plan, Plan):
        why = f"{plan.rulebook.name} has no scenarios: its formulas are on the Rulebooks page"
        return Explained(sets=(), heats=(), worths=worths, greeks=greeks, reason=why)
    if not now.standing.known:
        return Explained(
            sets=(), heats=(), worths=worths, greeks=greeks, reason="its margin is not known"
        )
    book = part.told.book
    seen = explain(plan, book, requirements(plan, book), 0, status="", haircut=0)
    heats = tuple(
        heat for one in seen.sets for scan in one.scans for heat in _heats(plan, one, scan)
    )
    return Explained(sets=seen.sets, heats=heats, worths=worths, greeks=greeks)


def _heats(plan: Plan, seen: SetView, scan: Any) -> list[Heat]:
    shocks = plan.arrays.shocks
    names = [shocks.set_names[s] for s in scan.scenarios]
    found = []
    for name in dict.fromkeys(names):
        mine = [place for place, one in enumerate(names) if one == name]
        moves = [float(shocks.move[seen.underlying, scan.scenarios[p]]) for p in mine]
        vols = [shocks.vol_names[scan.scenarios[p]] for p in mine]
        rows, columns = sorted(dict.fromkeys(moves), reverse=True), list(dict.fromkeys(vols))
        cells: list[list[float | None]] = [[None] * len(columns) for _ in rows]
        binding = None
        for place, move, vol in zip(mine, moves, vols, strict=True):
            at = rows.index(move), columns.index(vol)
            cells[at[0]][at[1]] = float(scan.total[place])
            if int(scan.scenarios[place]) == scan.binding and scan.total[place] < 0:
                binding = at
        found.append(
            Heat(
                title=f"{seen.node} · {scan.name} · {name}", moves=tuple(rows),
                vols=tuple(columns), pnl=tuple(map(tuple, cells)), binding=binding,
            )
        )  # fmt: skip
    return found


def _worth(asset: str, amount: float, plan: Any) -> Worth:
    arrays = plan.arrays
    names = arrays.universe.underlyings
    index = float(arrays.index[names.index(asset)]) if asset in names else 1.0
    if not isinstance(plan, Plan):
        return Worth(asset=asset, amount=amount, price=index, haircut=None)
    terms = plan.rulebook.collateral.get(asset)
    if terms is None:
        return Worth(asset=asset, amount=amount, price=None, haircut=None)
    price = 1.0 if terms.price == "par" else index
    return Worth(asset=asset, amount=amount, price=price, haircut=terms.haircut)


def _greeks(part: Part, plan: Any) -> dict[str, dict[str, float]]:
    arrays, book = plan.arrays, part.told.book
    universe = arrays.universe
    found = {}
    for code, name in enumerate(universe.underlyings):
        mine = universe.underlying[book.instrument] == code
        if not mine.any():
            continue
        rows, lots = book.instrument[mine], book.lots[mine]
        price = np.array([arrays.price_of(one) for one in universe.settlements])
        dollars = price[universe.settlement[rows]]
        units = arrays.units
        found[name] = {
            "delta": float(lots @ np.nan_to_num(units["delta"][rows])),
            "gamma": float(lots @ np.nan_to_num(units["gamma"][rows])),
            "vega": float(lots @ (np.nan_to_num(units["vega"][rows]) * dollars)),
            "theta": float(lots @ (np.nan_to_num(units["theta"][rows]) * dollars)),
        }
    return found


def dollars(micro: int) -> float:
    """Millionths of a dollar as dollars, to be shown.

    >>> dollars(1_500_000)
    1.5
    """
    return micro / MICRO
