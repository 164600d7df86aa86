"""One's own account at a venue: margined by the venue's rulebook, beside what the venue reports.

Nothing of what the venue says of margin enters ours: positions, balances and prices do, and the
brackets that the venue publishes where its rulebook has none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from solvent import api
from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.accounts.answer import (
    ISOLATED,
    Answer,
    Reported,
    Tier,
    collateral_rows,
    mode_rows,
    order_rows,
    position_rows,
)
from solvent.feeds.accounts.fetch import Fetched
from solvent.feeds.accounts.market import market_of
from solvent.feeds.library import rulebook_source
from solvent.instruments import Kind, parse_symbol
from solvent.instruments.contract import moment_of, plain
from solvent.levels_answer import LevelsMargin
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import LevelsPlan
from solvent.margining.rulebook import read_rulebook
from solvent.units import DOLLARS, MICRO, TimeMs

_BY_MODEL: Final = {
    "deribit": {
        "segregated_sm": "deribit-sm", "segregated_pm": "deribit-pm", "cross_sm": "deribit-sm",
        "cross_pm": "deribit-xpm",
    },
    "okx": {"portfolio margin": "okx-pm"},
    "bybit": {"PORTFOLIO_MARGIN": "bybit-pm"},
    "binance": {},
}  # fmt: skip
_OTHERWISE: Final = {
    "deribit": "deribit-pm", "okx": "okx-futures", "bybit": "bybit-uta", "binance": "binance-usdm",
}  # fmt: skip
_OF_OPTIONS: Final = {"okx": "okx-options", "bybit": "bybit-options"}
_BYBIT_ISOLATED: Final = "ISOLATED_MARGIN"
WHAT: Final = ("equity", "initial margin", "maintenance margin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One amount as we and as the venue have it, in millionths of a dollar; None: not known."""

    account: str
    what: str
    ours_micro: int | None
    theirs_micro: int | None

    @property
    def difference_micro(self) -> int | None:
        """Theirs less ours."""
        if self.ours_micro is None or self.theirs_micro is None:
            return None
        return self.theirs_micro - self.ours_micro


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAccount:
    """What came of it: the margin, the comparison, and what the user should know."""

    answer: api.AnyMargin
    rulebook: str
    rows: tuple[Beside, ...]
    warnings: tuple[str, ...]


def rulebook_of(fetched: Fetched) -> str:
    """The rulebook that a venue's own word for how it margins means.

    Options alone have a rulebook of their own where the venue's margin is not by portfolio.
    """
    found = _BY_MODEL[fetched.venue].get(fetched.model)
    if found is not None:
        return found
    kinds = {parse_symbol(one.symbol).kind for one in fetched.answer.holdings if one.size}
    if kinds == {Kind.OPTION} and fetched.venue in _OF_OPTIONS:
        return _OF_OPTIONS[fetched.venue]
    return _OTHERWISE[fetched.venue]


def margined(fetched: Fetched, rulebook: str | None = None) -> OwnAccount:
    """Margin what was fetched, on the market that was fetched with it. Raises BadInput."""
    name = rulebook or rulebook_of(fetched)
    now = TimeMs(fetched.fetched_ms)
    market = market_of(fetched.answer, source=fetched.venue, as_of_ms=now)
    plan = api.prepare(market, with_tiers(name, fetched.answer.tiers, now))
    parts = _parts(fetched)
    positions, collateral, orders, modes = _rows(parts)
    warnings = _warnings(fetched)
    more: dict[str, Any] = {}
    if isinstance(plan, LevelsPlan):
        more = {"orders": orders or None, "modes": _with_rates(modes, fetched.answer) or None}
    elif orders:
        warnings += (f"{name} takes no orders: {len(orders)} open orders are not in our margin",)
    book: Any = positions or _nothing(plan, [account for account, _ in parts])
    answer = api.margin(book, plan, collateral=collateral, skip_bad=True, **more)
    if not isinstance(plan, LevelsPlan) and any(row["mode"] == ISOLATED for row in modes):
        warnings += (f"{name} holds no position apart: isolated ones are margined with the rest",)
    mode = _mode_not_known(fetched)
    if mode is not None:
        everyone = frozenset(range(len(answer)))
        answer = replace(answer, problems=(*answer.problems, mode), left_out=everyone)
    warnings += tuple(f"left out: {one}" for one in answer.problems)
    told = answer.to_polars().select("account", "reason").rows()
    warnings += tuple(f"{account} is not known: {why}" for account, why in told if why)
    return OwnAccount(answer=answer, rulebook=name, rows=_beside(answer, parts), warnings=warnings)


# ── what is margined ─────────────────────────────────────────────────────────────────────────────

Part = tuple[str, Answer]


def _parts(fetched: Fetched) -> list[Part]:
    """An account for each currency that the venue margins by itself, else one of everything."""
    answer, name = fetched.answer, fetched.account
    apart = [one.part for one in answer.reported if one.part]
    if not apart:
        return [(name, answer)]
    return [
        (
            f"{name} {currency}",
            replace(
                answer,
                holdings=tuple(one for one in answer.holdings
                               if parse_symbol(one.symbol).settlement == currency),
                money=tuple(one for one in answer.money if one.asset == currency),
                orders=tuple(one for one in answer.orders
                             if parse_symbol(one.symbol).settlement == currency),
                reported=tuple(one for one in answer.reported if one.part == currency),
            ),
        )
        for currency in apart
    ]  # fmt: skip


def _mode_not_known(fetched: Fetched) -> Problem | None:
    """Why what is held cannot be margined by how it is held, if so.

    Bybit's positions all say that they are cross; its account says whether they are. What margin
    each isolated one has of the balance, and what is left for the rest, it does not tell.
    """
    told = fetched.answer.orders or any(one.size for one in fetched.answer.holdings)
    if fetched.model != _BYBIT_ISOLATED or not told:
        return None
    return Problem(
        code=Reject.INSTRUMENT_NOT_FOR_THIS, source=f"{fetched.venue} account/info",
        field="marginMode", expected="REGULAR_MARGIN or PORTFOLIO_MARGIN",
        found=f"{_BYBIT_ISOLATED}: the margin of each position is not told",
    )  # fmt: skip


_Rows = list[dict[str, object]]


def _rows(parts: Sequence[Part]) -> tuple[_Rows, _Rows, _Rows, _Rows]:
    """Positions, collateral, orders, modes of every part."""
    told: tuple[_Rows, _Rows, _Rows, _Rows] = ([], [], [], [])
    for account, answer in parts:
        for rows, make in zip(
            told, (position_rows, collateral_rows, order_rows, mode_rows), strict=True
        ):
            rows += make(answer, account)
    return told


def _nothing(plan: AnyPlan, accounts: Iterable[str]) -> Any:
    """A book of accounts without positions."""
    import numpy as np

    from solvent.risk import book

    none = np.zeros(0)
    return book(
        accounts=list(accounts), account=none.astype(np.int32), instrument=none.astype(np.int32),
        lots=none, universe=plan.arrays.universe, entry_price=none,
    )  # fmt: skip


def _warnings(fetched: Fetched) -> tuple[str, ...]:
    told = tuple(str(note) for note in fetched.answer.notes)
    if not fetched.permitted:
        return told
    what = ", ".join(fetched.permitted)
    return (
        f"this key may do more than read ({what}): one that can only read is enough",
        *told,
    )


# ── what the venue publishes of its rules ────────────────────────────────────────────────────────


def with_tiers(name: str, tiers: Sequence[Tier], now_ms: TimeMs) -> api.RulebookLike:
    """A rulebook with the brackets that the venue publishes now put in force today; one that has
    no table for them as it is."""
    if name not in _TABLES:
        return name
    day = moment_of(now_ms).date().isoformat()
    rows = [_TABLES[name](symbol, some, day) for symbol, some in _by_symbol(tiers).items()]
    text = "\n".join([rulebook_source(name), *rows])
    return read_rulebook(text, source=name)


def _by_symbol(tiers: Sequence[Tier]) -> dict[str, list[Tier]]:
    found: dict[str, list[Tier]] = {}
    for one in sorted(tiers, key=lambda one: one.above):
        if one.unit == "value":
            found.setdefault(one.symbol, []).append(one)
    return found


def _of_bybit(symbol: str, tiers: Sequence[Tier], day: str) -> str:
    known = next((one.to for one in reversed(tiers) if one.to is not None), Decimal(0))
    return _row(
        "risk_limit", symbol, day, above=[one.above for one in tiers],
        maintenance=[one.maintenance_rate for one in tiers],
        initial=[one.initial_rate for one in tiers], known_to=known,
    )  # fmt: skip


def _of_binance(symbol: str, tiers: Sequence[Tier], day: str) -> str:
    return _row(
        "tier", symbol, day, above=[one.above for one in tiers],
        rate=[one.maintenance_rate for one in tiers], leverage=[one.leverage for one in tiers],
        amount=[one.deduction for one in tiers],
    )  # fmt: skip


_TABLES: Final = {"bybit-uta": _of_bybit, "binance-usdm": _of_binance}


def _row(table: str, symbol: str, day: str, **values: list[Decimal | None] | Decimal) -> str:
    """A row of a rulebook's table. Raises BadInput where a bracket does not tell what is needed."""
    lines = [f"[[tables.{table}.rows]]", f'keys = ["{symbol}"]', f"effective = {day}",
             'source = "the venue, as fetched"', f"[tables.{table}.rows.values]"]  # fmt: skip
    for name, told in values.items():
        some = told if isinstance(told, list) else [told]
        if any(one is None for one in some):
            raise BadInput(
                Problem(
                    code=Reject.FIELD_MISSING, source=f"brackets of {symbol}", field=name,
                    expected="a number in each", found="none in one",
                )
            )  # fmt: skip
        words = [plain(one) for one in some if one is not None]
        lines.append(f"{name} = [{', '.join(words)}]" if isinstance(told, list) else
                     f"{name} = {words[0]}")  # fmt: skip
    return "\n".join(lines)


def _with_rates(modes: _Rows, answer: Answer) -> _Rows:
    """Modes with the maintenance rate of the bracket, by size, that a position lies in."""
    sizes: dict[str, Decimal] = {}
    for one in answer.holdings:
        sizes[one.symbol] = sizes.get(one.symbol, Decimal(0)) + abs(one.size)
    told = [one for one in answer.tiers if one.unit == "size"]
    if not told:
        return modes
    rates = {
        one.symbol: one.maintenance_rate
        for one in sorted(told, key=lambda one: one.above)
        if sizes.get(one.symbol, Decimal(0)) > one.above or one.above == 0
    }
    return [
        {**row, "maintenance_rate": plain(rates[str(row["instrument"])])}
        if row["instrument"] in rates else row
        for row in modes
    ]  # fmt: skip


# ── the comparison ───────────────────────────────────────────────────────────────────────────────


def _beside(answer: api.AnyMargin, parts: Sequence[Part]) -> tuple[Beside, ...]:
    universe = answer.plan.arrays.universe
    dollars = dict(zip(universe.underlyings, map(float, answer.plan.arrays.index), strict=True))
    places = {name: row for row, name in enumerate(answer.book.accounts)}
    found = []
    for account, told in parts:
        ours = _ours(answer, places.get(account))
        for reported in told.reported:
            theirs = (reported.equity, reported.initial, reported.maintenance)
            for what, mine, amount in zip(WHAT, ours, theirs, strict=True):
                found.append(
                    Beside(
                        account=account, what=what, ours_micro=mine,
                        theirs_micro=_micro(amount, reported, dollars),
                    )
                )  # fmt: skip
    return tuple(found)


def _ours(answer: api.AnyMargin, row: int | None) -> tuple[int | None, int | None, int | None]:
    """Equity, initial and maintenance margin of an account; 0 of one that has nothing at all."""
    if row is None:
        return 0, 0, 0
    if answer.unknown[row]:
        return None, None, None
    maintenance = (
        answer.maintenance_micro
        if isinstance(answer, LevelsMargin)
        else answer.requirements.maintenance
    )
    equity = answer.equity_micro
    return (
        None if equity is None else int(equity[row]),
        int(answer.initial_micro[row]), int(maintenance[row]),
    )  # fmt: skip


def _micro(amount: Decimal | None, reported: Reported, dollars: dict[str, float]) -> int | None:
    """What is reported, in millionths of a dollar, half-even; None where a coin has no price."""
    price = 1.0 if reported.currency in DOLLARS else dollars.get(reported.currency, 0.0)
    if amount is None or (not price and amount):
        return None
    exact = amount * Decimal(repr(price)) * MICRO
    return int(exact.to_integral_value(ROUND_HALF_EVEN))
