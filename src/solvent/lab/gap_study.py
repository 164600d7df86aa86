"""Does the gap charge cover what a grid cannot see? Set on one part of a history, then judged.

Decision 0024 states the split, the books, the measure and the target, and was written before any
number was computed. A book of options is held for 24 hours from every second hour of the history;
what it loses beyond the grid's requirement is the *loss beyond*. The requirements are those of the
engine: the rulebook that `study_rulebook` makes is compiled and margined as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np

from solvent.errors import BadInput, Problem, Reject, check
from solvent.instruments import Contract, Instrument, Kind, OptionType, Specification, term_sheet
from solvent.instruments.contract import moment_of
from solvent.lab.gap_windows import PriceHistory, Windows, joined, windows_of
from solvent.margining.evaluate import requirements
from solvent.margining.fragments import Fragment
from solvent.margining.gap import GapMoves, Weighting, beyond_formula, gap_parts, with_gap
from solvent.margining.plan import Plan, compile_plan
from solvent.margining.rulebook import check_rulebook, in_force
from solvent.market import Quotes, Snapshot, assemble
from solvent.pricing.black import black76
from solvent.pricing.jump_fit import JumpFit, fit_kou
from solvent.pricing.jump_tails import Tail, fit_tails
from solvent.risk import publish
from solvent.risk.book import book as book_of
from solvent.scenarios.jumps import VolResponse, measure_response
from solvent.units import DAY_MS, YEAR_MS, Float64, TimeMs

SPLIT_MS: Final = 1_546_300_800_000
"""2019-01-01 00:00 UTC: what begins before it sets the charge, what begins after judges it."""
FIRST_MS: Final = 1_356_998_400_000
"""2013-01-01: before, the venue of the longest prices traded some thousand dollars a day, and one
order moved them by +479 % and −81 %."""
SHARES: Final = (0.9, 0.95, 0.99, 0.995, 0.999)
WANTED_FIRST: Final = 0.995
"""Share of the losses beyond the grid that the first part must show covered."""
TARGET: Final = 0.99
RESPONSE_QUANTILE: Final = 0.95
GRID: Final = {"BTC": 0.16, "ETH": 0.18}
_SPOT: Final = 100_000.0
_MOMENT: Final = TimeMs(1_577_952_000_000)  # 2020-01-02 08:00 UTC
_LOT: Final = Decimal("0.01")

Leg = tuple[str, int, float, float]
"""("put", "call" or "future", days to expiry, strike over spot, coins held)"""
BOOKS: Final[dict[str, tuple[Leg, ...]]] = {
    "strangle 20 %, 7 d": (("put", 7, 0.80, -1), ("call", 7, 1.20, -1)),
    "strangle 20 %, 30 d": (("put", 30, 0.80, -1), ("call", 30, 1.20, -1)),
    "deep strangle 35 %, 30 d": (("put", 30, 0.65, -1), ("call", 30, 1.35, -1)),
    "put wing 25 %, 7 d": (("put", 7, 0.75, -1),),
    "call wing 25 %, 7 d": (("call", 7, 1.25, -1),),
    "put ratio 1 × 3, 30 d": (("put", 30, 0.90, 1), ("put", 30, 0.75, -3)),
    "call ratio 1 × 3, 30 d": (("call", 30, 1.10, 1), ("call", 30, 1.25, -3)),
    "put wing, hedged, 30 d": (("put", 30, 0.75, -1), ("future", 0, 0.0, -0.25)),
    "long future": (("future", 0, 0.0, 1),),
    "short future": (("future", 0, 0.0, -1),),
}
WITH_OPTIONS: Final = tuple(name for name in BOOKS if "future" not in name)
Form = Literal["strict", "wings"]
FORMS: Final[tuple[Form, ...]] = ("strict", "wings")


Shortfall = tuple[str, Windows, Float64, Float64]
"""Book, the windows of its jump days, and by window what it lost and what the grid asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JumpDays:
    """A book's jump days: per day the window that loses most beyond the grid. Parts of spot."""

    coin: str
    book: str
    begin_ms: np.ndarray[Any, np.dtype[np.int64]]
    move: Float64
    loss: Float64
    core: Float64
    charge: Mapping[Form, Float64]

    @property
    def beyond(self) -> Float64:
        """[day] loss − what the grid asks for."""
        return self.loss - self.core

    def covered(self, form: Form) -> Float64:
        """[day] min(charge, loss beyond)."""
        return np.minimum(self.charge[form], self.beyond)

    def __len__(self) -> int:
        return len(self.begin_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a book posts on ordinary days: mean over days, parts of spot."""

    core: float
    charge: Mapping[Form, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What one share would have covered, and its charge over the core's margin at 60 % volatility
    (mean over books). It chooses nothing: the share is chosen on the first part."""

    share: float
    first: float
    strict: float
    wings: float
    charge: Mapping[Form, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class GapLaw:
    """What the first part says of one coin: its tails, its volatility's response, and for the
    record Kou's law of its daily returns."""

    down: Tail
    up: Tail
    response: VolResponse
    kou: JumpFit


@dataclass(frozen=True, slots=True, kw_only=True)
class GapStudy:
    """What was set on the first part, and how it did on both."""

    laws: Mapping[str, GapLaw]
    gaps: Mapping[str, GapMoves]
    share: float
    first: tuple[JumpDays, ...]
    second: tuple[JumpDays, ...]
    costs: Mapping[tuple[str, str], Cost]
    ladder: tuple[Rung, ...]
    windows: Mapping[str, tuple[int, int]]
    spans: Mapping[str, tuple[str, str]]

    def coverage(self, form: Form, *, part: str = "second", books: Sequence[str] = ()) -> float:
        """Σ covered / Σ loss beyond of some books (all unless told); 1 where nothing was lost."""
        return covered_share(self._chosen(part, books), form)

    def days_whole(self, form: Form, *, part: str = "second", books: Sequence[str] = ()) -> float:
        """Share of jump days that are covered whole."""
        chosen = self._chosen(part, books)
        days = sum(map(len, chosen))
        whole = sum(int((one.charge[form] >= one.beyond).sum()) for one in chosen)
        return whole / days if days else 1.0

    def days(self, *, part: str = "second", books: Sequence[str] = ()) -> int:
        """Jump days of some books."""
        return sum(map(len, self._chosen(part, books)))

    def _chosen(self, part: str, books: Sequence[str]) -> list[JumpDays]:
        told = self.first if part == "first" else self.second
        return [one for one in told if not books or one.book in books]


def covered_share(days: Sequence[JumpDays], form: Form) -> float:
    """Σ covered / Σ loss beyond; 1 where nothing was lost."""
    beyond = sum(float(one.beyond.sum()) for one in days)
    return sum(float(one.covered(form).sum()) for one in days) / beyond if beyond else 1.0


def grid_rulebook(reach: float) -> Fragment:
    """The grid of decision 0024 as a rulebook's tables."""
    return {
        "schema": 1,
        "name": "gap-study",
        "title": "A grid and a gap",
        "venue": "Example",
        "sources": ["decision 0024"],
        "vols": {
            "up": {"shocked": "iv * (1 + 0.5 * (30 / days) ** where(days < 30, 0.3, 0.13))"},
            "down": {"shocked": "iv * (1 - 0.25 * (30 / days) ** where(days < 30, 0.3, 0.13))"},
        },
        "scenarios": {
            "grid": {"moves": {"reach": f"{reach}", "steps": 4}, "vols": ["down", "same", "up"]}
        },
        "nodes": {"book": {"by": ["underlying", "settlement"], "numeraire": "dollar"}},
        "scans": {"core": {"scenarios": ["grid"], "node": "book", "into": "book"}},
        "requirement": {"node": "book", "initial": "core", "maintenance": "core"},
        "collateral": [{"asset": "USDC", "haircut": 0.0, "price": "par"}],
    }


def study_rulebook(
    gap: GapMoves, *, reach: float, weighting: Weighting = Weighting.FULL
) -> Fragment:
    """The grid and the gap beyond it.

    Its initial margin has the gap in the strict form, its maintenance margin in that of wings.
    """
    parts = gap_parts(
        [gap], node="book", into="book", core="core", effective=date(2019, 1, 1),
        source="decision 0024", weighting=weighting,
    )  # fmt: skip
    whole = with_gap(grid_rulebook(reach), parts)
    whole["requirement"]["maintenance"] = f"core + {beyond_formula('core', forgiven='1')}"
    return whole


def gap_of(coin: str, law: GapLaw, *, reach: float, share: float) -> GapMoves:
    """The gap of a coin: from the grid's edge to what a share of moves beyond it stay within."""
    return GapMoves(
        underlying=coin, edge_down=reach, edge_up=reach,
        far_down=-float(np.expm1(law.down.beyond(share))),
        far_up=float(np.expm1(law.up.beyond(share))),
        response=law.response, rate_down=1.0 / law.down.mean_excess,
        rate_up=1.0 / law.up.mean_excess,
    )  # fmt: skip


def market_at(coin: str, vol: float) -> Snapshot:
    """The study's market at one volatility: a perpetual and the books' options, flat in strike."""
    contracts = [_contract(coin, leg) for legs in BOOKS.values() for leg in legs]
    unique = {one.symbol: one for one in contracts}
    instruments = list(unique.values())
    option = np.array([one.contract.kind is Kind.OPTION for one in instruments])
    strike = np.array([float(one.contract.strike or 0) for one in instruments])
    years = np.array([((one.expiry_ms or _MOMENT) - _MOMENT) / YEAR_MS for one in instruments])
    side = np.array(
        [-1.0 if one.contract.option_type is OptionType.PUT else 1.0 for one in instruments]
    )
    spot = np.full(len(instruments), _SPOT)
    price = black76(forward=spot, strike=strike, years=years, vol=vol, side=side)
    return assemble(
        Quotes(
            instruments=instruments, index=spot, forward=spot,
            mark=np.where(option, price, spot), vol=np.where(option, vol, np.nan),
            bid=np.full(len(spot), np.nan), ask=np.full(len(spot), np.nan),
            rate=np.zeros(len(spot)), time_ms=np.full(len(spot), _MOMENT, dtype=np.int64),
        ),
        as_of_ms=_MOMENT,
    )  # fmt: skip


def _contract(coin: str, leg: Leg) -> Instrument:
    kind, days, over_spot, _ = leg
    size = Specification(lot_size=_LOT, contract_size=Decimal(1), tick_size=Decimal("0.01"))
    if kind == "future":
        return term_sheet(
            Contract(base=coin, quote="USDC", settlement="USDC", kind=Kind.PERPETUAL), size
        )
    return term_sheet(
        Contract(
            base=coin, quote="USDC", settlement="USDC", kind=Kind.OPTION,
            expiry_ms=TimeMs(_MOMENT + days * DAY_MS), strike=Decimal(round(over_spot * _SPOT)),
            option_type=OptionType.PUT if kind == "put" else OptionType.CALL,
        ),
        size,
    )  # fmt: skip


def _asked(coin: str, vols: Float64, gap: GapMoves | None) -> dict[float, Float64]:
    """Volatility → [book, (core, strict, wings)] in parts of spot, by the engine; without a gap the
    grid alone."""
    content = study_rulebook(gap, reach=GRID[coin]) if gap else grid_rulebook(GRID[coin])
    text = check_rulebook(content, source="gap study")
    rulebook = in_force(text, moment_of(_MOMENT).date())
    asked: dict[float, Float64] = {}
    for vol in np.unique(vols).tolist():
        arrays = publish(
            market_at(coin, vol), sets=rulebook.sets, rules=rulebook.rules, tables=rulebook.tables
        )
        asked[vol] = _margined(compile_plan(rulebook, arrays), coin)
    return asked


def _margined(plan: Plan, coin: str) -> Float64:
    """[book, (core, strict, wings)] in parts of spot."""
    universe = plan.arrays.universe
    rows = [
        (account, universe.row(_contract(coin, leg).symbol), round(leg[3] / float(_LOT)))
        for account, legs in enumerate(BOOKS.values())
        for leg in legs
    ]
    account, instrument, lots = (np.array(column) for column in zip(*rows, strict=True))
    book = book_of(
        accounts=list(BOOKS), account=account.astype(np.int32), lots=lots.astype(np.float64),
        instrument=instrument.astype(np.int32), universe=universe,
    )  # fmt: skip
    answer = requirements(plan, book)
    core = answer.sets.components["core"] / _SPOT
    strict, wings = answer.sets.initial / _SPOT - core, answer.sets.maintenance / _SPOT - core
    return np.column_stack([core, strict, wings])


def _losses(windows: Windows) -> Float64:
    """[book, window] loss over 24 hours in parts of spot: a revaluation of every leg."""
    moved = np.exp(windows.log_move)
    losses = np.zeros((len(BOOKS), len(windows)))
    for row, legs in enumerate(BOOKS.values()):
        for kind, days, strike, coins in legs:
            if kind == "future":
                losses[row] -= coins * (moved - 1.0)
                continue
            side = -1.0 if kind == "put" else 1.0
            before = black76(
                forward=1.0, strike=strike, years=days / 365.0, vol=windows.vol, side=side
            )
            after = black76(
                forward=moved, strike=strike, years=(days - 1) / 365.0, vol=windows.vol_after,
                side=side,
            )  # fmt: skip
            losses[row] -= coins * (after - before)
    return losses


def jump_windows(windows: Windows) -> tuple[Shortfall, ...]:
    """Per book the window of each day that loses most beyond the grid, where one does."""
    losses = _losses(windows)
    levels, which = np.unique(windows.vol, return_inverse=True)
    asked = _asked(windows.name, levels, None)
    core = np.array([asked[vol][:, 0] for vol in levels.tolist()])  # [vol, book]
    day = windows.begin_ms // DAY_MS
    found: list[Shortfall] = []
    for row, book in enumerate(BOOKS):
        beyond = losses[row] - core[which, row]
        worst = _worst_of_each_day(day, beyond)
        worst = worst[beyond[worst] > 0.0]
        found.append((book, windows.taken(worst), losses[row, worst], core[which[worst], row]))
    return tuple(found)


def charged(shortfalls: Sequence[Shortfall], gap: GapMoves) -> tuple[JumpDays, ...]:
    """Jump days with what the gap asks for on them."""
    rows = {book: row for row, book in enumerate(BOOKS)}
    coin = shortfalls[0][1].name
    asked = _asked(coin, np.concatenate([one[1].vol for one in shortfalls]), gap)
    told: list[JumpDays] = []
    for book, windows, loss, core in shortfalls:
        charge = np.array([asked[vol][rows[book], 1:] for vol in windows.vol.tolist()])
        charge = charge.reshape(len(windows), 2)
        told.append(
            JumpDays(
                coin=coin, book=book, begin_ms=windows.begin_ms,
                move=np.expm1(windows.log_move), loss=loss, core=core,
                charge={"strict": charge[:, 0], "wings": charge[:, 1]},
            )
        )  # fmt: skip
    return tuple(told)


def _worst_of_each_day(day: np.ndarray[Any, Any], beyond: Float64) -> np.ndarray[Any, Any]:
    order = np.lexsort((-beyond, day))
    first = np.unique(day[order], return_index=True)[1]
    return order[first]


def run_study(histories: Sequence[PriceHistory]) -> GapStudy:
    """Set the charge on the first part, judge it on the second.

    The first history is the longest: no coin's gap is less than its. Raises BadInput where a part
    is empty.
    """
    parts: dict[str, tuple[Windows, Windows]] = {}
    spans: dict[str, tuple[str, str]] = {}
    for name in dict.fromkeys(one.name for one in histories):
        check(name in GRID, "a coin with a grid", name)
        each = [windows_of(one) for one in histories if one.name == name]
        windows = joined(each)
        windows = windows.taken(np.flatnonzero(windows.begin_ms >= FIRST_MS))
        early = windows.begin_ms + DAY_MS <= SPLIT_MS
        parts[name] = (
            windows.taken(np.flatnonzero(early)),
            windows.taken(np.flatnonzero(windows.begin_ms >= SPLIT_MS)),
        )
        if not all(map(len, parts[name])):
            raise BadInput(_problem(name, "windows before and after the split", "none"))
        spans[name] = (_day(windows.begin_ms[0]), _day(windows.begin_ms[-1]))
    first = {name: part[0] for name, part in parts.items()}
    laws = {name: law_of(windows) for name, windows in first.items()}
    seen = {name: jump_windows(windows) for name, windows in first.items()}
    judged = {name: jump_windows(part[1]) for name, part in parts.items()}
    rungs = [_rung(share, laws, seen, judged) for share in SHARES]
    chosen = next((one for one in rungs if one[0].first >= WANTED_FIRST), rungs[-1])
    rung, gaps, days_first, days_second = chosen
    return GapStudy(
        laws=laws, gaps=gaps, share=rung.share, first=days_first, second=days_second,
        costs=_costs({name: part[1] for name, part in parts.items()}, gaps),
        ladder=tuple(one[0] for one in rungs),
        windows={name: (len(a), len(b)) for name, (a, b) in parts.items()}, spans=spans,
    )  # fmt: skip


_Rung = tuple[Rung, dict[str, GapMoves], tuple[JumpDays, ...], tuple[JumpDays, ...]]


def _rung(
    share: float,
    laws: Mapping[str, GapLaw],
    seen: Mapping[str, tuple[Shortfall, ...]],
    judged: Mapping[str, tuple[Shortfall, ...]],
) -> _Rung:
    """One share: its gaps, and what they ask for on the jump days of both parts."""
    gaps = gaps_at(share, laws)
    first = tuple(day for name in seen for day in charged(seen[name], gaps[name]))
    second = tuple(day for name in judged for day in charged(judged[name], gaps[name]))
    options = [one for one in second if one.book in WITH_OPTIONS]
    ordinary = np.mean(
        [_asked(name, np.array([0.60]), gap)[0.60] for name, gap in gaps.items()], axis=0
    )
    rung = Rung(
        share=share, first=covered_share(first, "strict"), strict=covered_share(second, "strict"),
        wings=covered_share(options, "wings"),
        charge={form: float(ordinary[:, 1 + k].mean() / ordinary[:, 0].mean())
                for k, form in enumerate(FORMS)},
    )  # fmt: skip
    return rung, gaps, first, second


def law_of(windows: Windows) -> GapLaw:
    """The tails of moves beyond the grid's edge, and what volatility did in large moves: the shift
    per unit of move that 95 % of them did not pass."""
    reach = GRID[windows.name]
    down, up = fit_tails(
        windows.log_move, windows.begin_ms // DAY_MS,
        down=float(np.log1p(-reach)), up=float(np.log1p(reach)),
    )  # fmt: skip
    rise = np.log(windows.vol_after / windows.vol)
    response = measure_response(windows.log_move, level=rise, quantile=RESPONSE_QUANTILE)
    return GapLaw(down=down, up=up, response=response, kou=fit_kou(
        windows.log_move[windows.begin_ms % DAY_MS == 0], years_per_return=1 / 365
    ))  # fmt: skip


def gaps_at(share: float, laws: Mapping[str, GapLaw]) -> dict[str, GapMoves]:
    """The gaps of all coins at a share; none is less than that of the first, the longest."""
    gaps: dict[str, GapMoves] = {}
    for name, law in laws.items():
        own = gap_of(name, law, reach=GRID[name], share=share)
        gaps[name] = own if not gaps else at_least(own, next(iter(gaps.values())))
    return gaps


def at_least(own: GapMoves, longest: GapMoves) -> GapMoves:
    """A coin's gap, its far ends and its volatility's rise no less than the longest history's."""
    a, b = own.response, longest.response
    return GapMoves(
        underlying=own.underlying, edge_down=own.edge_down, edge_up=own.edge_up,
        far_down=max(own.far_down, longest.far_down), far_up=max(own.far_up, longest.far_up),
        response=VolResponse(
            level_down=max(a.level_down, b.level_down), level_up=max(a.level_up, b.level_up),
            skew_down=a.skew_down, skew_up=a.skew_up, term_down=a.term_down, term_up=a.term_up,
            events=a.events,
        ),
        rate_down=min(own.rate_down, longest.rate_down),
        rate_up=min(own.rate_up, longest.rate_up),
    )  # fmt: skip


def _costs(
    second: Mapping[str, Windows], gaps: Mapping[str, GapMoves]
) -> dict[tuple[str, str], Cost]:
    """Mean of what is asked for, over windows that begin at midnight."""
    costs: dict[tuple[str, str], Cost] = {}
    for name, windows in second.items():
        daily = windows.taken(np.flatnonzero(windows.begin_ms % DAY_MS == 0))
        by_vol = _asked(name, daily.vol, gaps[name])
        asked = np.mean([by_vol[vol] for vol in daily.vol.tolist()], axis=0)
        for row, book in enumerate(BOOKS):
            core, strict, wings = (float(one) for one in asked[row])
            costs[name, book] = Cost(core=core, charge={"strict": strict, "wings": wings})
    return costs


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(int(time_ms) / 1000, tz=UTC).date().isoformat()


def _problem(source: str, expected: str, found: str) -> Problem:
    return Problem(code=Reject.INPUT_INVALID, source=source, expected=expected, found=found)
