"""Who causes a requirement: every position's share, by charge and by netting node, to the unit.

The requirement is what `solvent.margin` says, rounding and all; shares are whole millionths of a
dollar that add up to it. Which rule shared which column out is told beside it: Euler's wherever its
identity holds there, else Aumann and Shapley's along the ray (`shares`); where that passes through
books without a margin, slopes again, and what they miss by size. What would be asked for without
positions (haircuts, open orders, inputs) is nobody's share and stands in a row of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import polars as pl

from solvent import api
from solvent.answer import row_of
from solvent.errors import BadInput
from solvent.instruments.contract import day_of_expiry
from solvent.lab.capital.faults import one_of, wrong
from solvent.lab.capital.remargin import MEASURES, Asked, Measure, Remargin, remargin
from solvent.lab.capital.shares import (
    SHAPLEY_MAX,
    along_ray,
    apportion,
    bumps,
    from_bumps,
    holds,
    shapley,
    slices_of,
)
from solvent.margining.plan import Plan
from solvent.units import MICRO, Float64

if TYPE_CHECKING:
    import plotly.graph_objects as go

Method = Literal["auto", "euler", "aumann-shapley", "shapley"]
METHODS: Final = ("auto", "euler", "aumann-shapley", "shapley")
REQUIREMENT: Final = "requirement"
NO_POSITION: Final = ""
"""What the account must post without any position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionShare:
    """One position; money in millionths of a dollar.

    Attributes:
        share: its part of the requirement. charges: its part of each component.
        incremental: what the requirement falls by without it. alone: what it would ask for alone.
        one_more, one_less: change of the requirement by a lot more in its direction, or a lot
            less; None where that margin is not known.
    """

    symbol: str
    lots: int
    size: float
    notional: float
    share: int
    charges: Mapping[str, int]
    incremental: int | None
    alone: int | None
    one_more: int | None
    one_less: int | None


@dataclass(frozen=True, kw_only=True)
class AccountShares:
    """One account's requirement shared out; of one that is not known only the reason is told.

    Attributes:
        whole: the requirement in millionths of a dollar. base: of it, without any position.
        charges: component → its amount, and its amount without any position.
        methods: column → the rule that shared it out.
        nodes: level of the rulebook → node → share.
    """

    account: str
    whole: int
    base: int
    charges: Mapping[str, tuple[int, int]]
    positions: tuple[PositionShare, ...]
    methods: Mapping[str, str]
    nodes: Mapping[str, Mapping[str, int]]
    reason: str = ""


@dataclass(frozen=True)
class Attribution:
    """Shares of every account that was asked about, under one rulebook."""

    rulebook: str
    measure: Measure
    accounts: tuple[AccountShares, ...]

    def table(self) -> pl.DataFrame:
        """A row a position (and one for what no position causes), dollars, the largest first."""
        rows: list[dict[str, Any]] = []
        for one in self.accounts:
            rows += sorted(_position_rows(one), key=lambda row: -abs(row["share"] or 0.0))
        return pl.DataFrame(rows, schema=_TABLE)

    def charges(self) -> pl.DataFrame:
        """A row a position and component, dollars. Components add up to themselves, not to the
        requirement, which a rulebook may make of them by any formula."""
        rows = [
            {"account": one.account, "charge": name, "method": one.methods[name],
             "instrument": symbol, "share": share / MICRO}
            for one in self.accounts
            for name, (_, base) in one.charges.items()
            for symbol, share in [
                *((position.symbol, position.charges[name]) for position in one.positions),
                *([(NO_POSITION, base)] if base else []),
            ]
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=_CHARGES)

    def nodes(self) -> pl.DataFrame:
        """A row a level of the rulebook's tree and node of it: the shares of its positions."""
        rows = [
            {"account": one.account, "level": level, "node": node, "share": share / MICRO}
            for one in self.accounts
            for level, by_node in one.nodes.items()
            for node, share in by_node.items()
        ]
        return pl.DataFrame(rows, schema=_NODES)

    def to_polars(self) -> pl.DataFrame:
        """The same as `table`."""
        return self.table()

    def plot(self, account: str | None = None) -> go.Figure:
        """A waterfall from the positions' shares to the requirement."""
        from solvent.lab.capital.plots import shares_figure

        return shares_figure(self, self.of(account))

    def of(self, account: str | None = None) -> AccountShares:
        """One account; without a name the first. Raises BadInput for one that is not there."""
        names = [one.account for one in self.accounts]
        return self.accounts[0 if account is None and names else row_of(account or "", names)]

    def __repr__(self) -> str:
        return f"Attribution({self.rulebook}, {self.measure}, {len(self.accounts)} accounts)"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


_TABLE: Final[dict[str, Any]] = {
    "account": pl.String, "instrument": pl.String, "size": pl.Float64, "notional": pl.Float64,
    "share": pl.Float64, "part": pl.Float64, "incremental": pl.Float64, "alone": pl.Float64,
    "one_more": pl.Float64, "one_less": pl.Float64, "method": pl.String, "reason": pl.String,
}  # fmt: skip
_CHARGES: Final[dict[str, Any]] = {
    "account": pl.String, "charge": pl.String, "method": pl.String, "instrument": pl.String,
    "share": pl.Float64,
}  # fmt: skip
_NODES: Final[dict[str, Any]] = {
    "account": pl.String, "level": pl.String, "node": pl.String, "share": pl.Float64,
}  # fmt: skip


def _position_rows(one: AccountShares) -> Iterable[dict[str, Any]]:
    shared = {"account": one.account, "method": one.methods.get(REQUIREMENT, "")}
    for position in one.positions:
        yield {
            **shared, "instrument": position.symbol, "size": position.size,
            "notional": position.notional, "share": position.share / MICRO,
            "part": position.share / one.whole if one.whole else None,
            "incremental": _dollars(position.incremental), "alone": _dollars(position.alone),
            "one_more": _dollars(position.one_more), "one_less": _dollars(position.one_less),
            "reason": one.reason,
        }  # fmt: skip
    if one.base or one.reason or not one.positions:
        yield {
            **shared, "instrument": NO_POSITION, "share": None if one.reason else one.base / MICRO,
            "part": one.base / one.whole if one.whole else None, "reason": one.reason,
        }  # fmt: skip


def _dollars(micro: int | None) -> float | None:
    return None if micro is None else micro / MICRO


def attribute(
    positions: Any, market: Any, rulebook: Any = None, *, collateral: Any = None,
    orders: Any = None, modes: Any = None, inputs: Any = None, history: api.HistoryLike = None,
    accounts: Sequence[str] | None = None, measure: Measure = "initial", method: Method = "auto",
) -> Attribution:  # fmt: skip
    """Share the requirement of accounts out over their positions.

    Args:
        positions, market, rulebook, collateral, orders, modes, inputs, history: as `sv.margin`.
        accounts: only these.
        measure: `initial` or `maintenance`.
        method: `auto` takes Euler's rule for every column for which its identity holds, else
            `aumann-shapley`. `euler` and `shapley` are refused where they cannot be had.

    Raises BadInput for input that cannot be used.
    """
    one_of("attribute", "measure", measure, MEASURES)
    one_of("attribute", "method", method, METHODS)
    answer = api.margin(
        positions, market, rulebook, collateral=collateral, orders=orders, modes=modes,
        inputs=inputs, history=history,
    )  # fmt: skip
    names = list(answer.book.accounts)
    found = []
    for name in accounts if accounts is not None else names:
        row = row_of(name, names)
        if answer.unknown[row]:
            reason = str(answer.to_polars()["reason"][row])
            found.append(_unknown(name, reason))
            continue
        try:
            found.append(_shared(remargin(answer, row, measure), method))
        except BadInput as fault:
            # Parts of this book have no margin: its own shares cannot be told, those of others can.
            if method != "auto":
                raise
            found.append(_unknown(name, str(fault)))
    return Attribution(answer.plan.rulebook.name, measure, tuple(found))


def _unknown(name: str, reason: str) -> AccountShares:
    return AccountShares(
        account=name, whole=0, base=0, charges={}, positions=(), methods={}, nodes={},
        reason=reason,
    )  # fmt: skip


def _shared(asked: Remargin, method: Method) -> AccountShares:
    split = _Split(asked, method)
    whole, base, none = split.whole, split.base, split.base - split.whole + split.held
    columns = {name: split.column(n) for n, name in enumerate(split.names)}
    share = apportion((columns[REQUIREMENT] * MICRO).tolist(), whole - base)
    amounts: dict[str, tuple[int, int]] = {}
    parts: dict[str, tuple[int, ...]] = {}
    for n, name in enumerate(split.names[1:], start=1):
        total, own = (round(MICRO * one) for one in (split.full[n], split.nothing[n]))
        amounts[name] = total, own
        parts[name] = apportion((columns[name] * MICRO).tolist(), total - own)
    more, less, without, alone = split.around()
    universe, notional = asked.plan.arrays.universe, asked.plan.arrays.units["notional"]
    positions = tuple(
        PositionShare(
            symbol=universe.symbols[row], lots=int(asked.lots[i]),
            size=float(asked.lots[i] * universe.lot_size[row]),
            notional=float(asked.lots[i] * notional[row]), share=share[i],
            charges={name: part[i] for name, part in parts.items()},
            incremental=None if without[i] is None else split.held - (without[i] or 0),
            alone=None if alone[i] is None else (alone[i] or 0) - none,
            one_more=None if more[i] is None else (more[i] or 0) - split.held,
            one_less=None if less[i] is None else (less[i] or 0) - split.held,
        )
        for i, row in enumerate(asked.rows.tolist())
    )  # fmt: skip
    return AccountShares(
        account=asked.name, whole=whole, base=base, charges=amounts, positions=positions,
        methods=split.methods, nodes=_nodes(asked, share),
    )  # fmt: skip


class _Split:
    """Raw shares of the requirement and of every component, and what was asked to find them."""

    def __init__(self, asked: Remargin, method: Method) -> None:
        self.x, self.method = asked.lots, method
        self.asked = _without_inputs(asked)
        own, step = np.diag(self.x), np.diag(np.sign(self.x))
        # What is asked of every book, at once: a question more costs little, asking again a lot.
        ends, around = np.stack([self.x, np.zeros_like(self.x)]), [step, -step, -own]
        lots = np.concatenate([ends, bumps(self.x), *(self.x + one for one in around), own])
        self._lots, self._told = lots, self.asked.ask(lots)
        full = self._told if self.asked is asked else asked.now()
        self.names = [REQUIREMENT, *full.components]
        self.based = bool(self._told.known[1])
        shared, nothing = self._columns(self._told)[:2]
        self.full = self._columns(full)[0]
        # What inputs add is nobody's share, whatever the rulebook makes of them.
        self.nothing = self.full - shared + nothing * self.based
        self.whole, self.held = int(full.micro[0]), int(self._told.micro[0])
        self.base = self.whole - self.held + (int(self._told.micro[1]) if self.based else 0)
        self.methods: dict[str, str] = {}

    def _columns(self, answers: Asked) -> Float64:
        return np.column_stack([answers.dollars, *answers.components.values()])

    def _values(self, lots: Float64, answers: Asked) -> Float64:
        """[question, column] answers at lots, NaN where they are not known."""
        values = self._columns(answers)
        empty = ~lots.any(axis=1)
        if not self.based:
            # Without any position its margin is not known: nothing is asked for nothing.
            values[empty] = 0.0
        unknown = ~answers.known & ~empty
        if bool(unknown.any()):
            values[unknown] = np.nan
        return values

    def _f(self, lots: Float64) -> Float64:
        return self._values(lots, self.asked.ask(lots))

    @cached_property
    def _euler(self) -> Float64:
        return from_bumps(self._values(self._lots, self._told)[2 : 2 + 2 * len(self.x)])

    @cached_property
    def _ray(self) -> Float64:
        return along_ray(self._f, self.x, slices_of(len(self.x)))

    @cached_property
    def _shapley(self) -> Float64:
        return shapley(self._f, self.x)

    def column(self, n: int) -> Float64:
        """[position] raw shares of a column, dollars; its rule goes to `methods`."""
        name, whole = self.names[n], float(self.full[n] - self.nothing[n])
        if len(self.x) == 0:
            self.methods[name] = "no position"
            return np.zeros(0)
        if self.method == "shapley":
            if len(self.x) > SHAPLEY_MAX:
                raise _cannot(f"{SHAPLEY_MAX} positions or fewer", f"{len(self.x)}")
            self.methods[name] = "shapley"
            return self._known(self._shapley[:, n])
        if self.method != "aumann-shapley":
            shares = self._euler[:, n]
            if holds(shares, whole):
                self.methods[name] = "euler"
                return shares
            if self.method == "euler" and name == REQUIREMENT:
                raise _cannot(
                    "a requirement for which Euler's identity holds here",
                    f"shares of {shares.sum():,.6f} for {whole:,.6f} dollars",
                )
        shares = self._ray[:, n]
        if self.method == "auto" and not bool(np.isfinite(shares).all()):
            # Some part of the book has no margin: slopes at the book are what is left to share by.
            self.methods[name] = "euler, the rest by size"
            return self._known(self._euler[:, n])
        self.methods[name] = f"aumann-shapley in {slices_of(len(self.x))} slices"
        return self._known(shares)

    def _known(self, shares: Float64) -> Float64:
        if not bool(np.isfinite(shares).all()):
            part = f"{self.asked.name}: a part of the book"
            raise _cannot("parts of the book whose margins are known", part)
        return shares

    def around(self) -> tuple[list[int | None], ...]:
        """The requirement with a lot more, a lot less, without each position, and of it alone."""
        count, answers = len(self.x), self._told
        empty = ~np.asarray(self._lots.any(axis=1))
        known = answers.known if self.based else answers.known | empty
        told = [
            (0 if e and not self.based else int(m)) if k else None
            for m, k, e in zip(answers.micro.tolist(), known.tolist(), empty.tolist(), strict=True)
        ]
        first = 2 + 2 * count
        return tuple(told[first + n * count : first + (n + 1) * count] for n in range(4))


def _without_inputs(asked: Remargin) -> Remargin:
    """The same where a rulebook of scans takes nothing from its user: an input is an amount there.

    Inputs of formulas are numbers of contracts and accounts, which every question needs.
    """
    if not isinstance(asked.plan, Plan) or not any(one.any() for one in asked.inputs.values()):
        return asked
    return replace(asked, inputs={name: np.zeros_like(one) for name, one in asked.inputs.items()})


def _cannot(expected: str, found: str) -> BadInput:
    return wrong("attribute", "method", expected, found)


def _nodes(asked: Remargin, share: Sequence[int]) -> dict[str, dict[str, int]]:
    """Level → node → the shares of its positions, as far as the level is one of instruments."""
    found: dict[str, dict[str, int]] = {}
    for level, names in _levels(asked):
        by_node: dict[str, int] = {}
        for name, one in zip(names, share, strict=True):
            by_node[name] = by_node.get(name, 0) + one
        found[level] = by_node
    return found


def _levels(asked: Remargin) -> Iterable[tuple[str, list[str]]]:
    """Levels of the rulebook's tree, and the node of each position there."""
    plan = asked.plan
    if isinstance(plan, Plan):
        for level in plan.levels:
            node = plan.nodes[level]
            yield level, [node.names[node.code[row]] for row in asked.rows.tolist()]
        return
    for level, keys in plan.form.keys.items():
        told = [key for key in keys if key in plan.codes and key != "instrument"]
        if level in ("instrument", "underlying", "position", "order") or not told:
            continue
        yield (
            level,
            [
                "/".join(_key_name(plan.names[key][plan.codes[key][row]], key) for key in told)
                for row in asked.rows.tolist()
            ],
        )


def _key_name(name: str, key: str) -> str:
    if key != "expiry":
        return name
    return day_of_expiry(int(name)) if int(name) else "PERPETUAL"
