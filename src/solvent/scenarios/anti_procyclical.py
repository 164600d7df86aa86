"""Anti-procyclicality: tools that keep a positive parameter from running after the market.

A parameter (a volatility, a margin rate, a range of shocks) that follows the market closely rises
when everybody is short of money. Each tool here takes its raw value, step by step, and gives a
steadier one; a `Chain` applies several, each to what the one before it gave. The classic three are
those of EMIR's article 28: a buffer of 25 % that may be used up, a weight of 25 % on stressed
observations, and a floor from ten years of volatility.

A tool is a frozen value and `step` is pure: what it remembers is its `State`, which the caller
keeps and which is plain data. Time is the `days` since the last step; 0 < raw. A tool that compares
with a number of the caller's own (a volatility of a stressed period, of ten years) names it in
`told` and finds it in the `told` of the step; otherwise it compares with the parameter's own past.

| tool | value, from raw x and last value v |
|---|---|
| `buffer` | x rises: max(x, min((1+s)·x, v)); else towards (1+s)·x by the share `refill` a day |
| `quantile_buffer` | x·(1 + s·(1 − w)), w the place of x between two quantiles of its past, 0 … 1 |
| `stressed_weight` | (1−w)·x + w·max(x, stressed) |
| `floor` | max(x, factor · long-run x) |
| `cap` | min(x, factor · long-run x) |
| `speed` | between v·(1−down)^days and v·(1+up)^days |
| `through_the_cycle` | (1−w)·x + w·long-run x |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, ClassVar, Final, Literal, Protocol

from solvent.errors import BadInput, Problem, Reject, RulebookError
from solvent.scenarios.past import Past

TEN_YEARS_DAYS: Final = 3_650
"""Days of a 24/7 market in ten years."""
_WINDOW_DAYS_MAX: Final = 100 * 366
Statistic = Literal["mean", "rms", "max", "median"]
_NOTHING_TOLD: Final[Mapping[str, float]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one tool remembers: its last raw value, its last value, and its past; 0 before any."""

    raw: float = 0.0
    value: float = 0.0
    past: Past = field(default_factory=Past)

    def to_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return {"raw": self.raw, "value": self.value, "past": self.past.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> State:
        """As it was stored."""
        return cls(
            raw=float(stored["raw"]),
            value=float(stored["value"]),
            past=Past.from_dict(stored["past"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Days since the last step, and numbers of the caller's own by name."""

    days: float = 1.0
    told: Mapping[str, float] = field(default_factory=dict)


class Tool(Protocol):
    """One tool: a frozen value whose `step` is pure."""

    kind: ClassVar[str]

    def step(self, state: State, raw: float, now: Moment) -> tuple[State, float]:
        """What is remembered from now on, and the value."""
        ...


# ── what a value is compared with ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """Compares with a long run: the parameter's own past, or a number that is told.

    Attributes:
        of: statistic of the past, today's raw value within it.
        window_days: how far the past reaches; before that it is all there is.
        told: name of a number of the caller's own, instead of the past.
        at: a fixed number, instead of both.
    """

    of: Statistic = "rms"
    window_days: int = TEN_YEARS_DAYS
    told: str | None = None
    at: float | None = None

    def __post_init__(self) -> None:
        _held(self, self.of in ("mean", "rms", "max", "median"), "of", "mean, rms, max or median")
        _held(self, _days(self.window_days), "window_days", "whole days, 1 to 36600")
        _held(self, self.at is None or _positive(self.at), "at", "a number above 0")
        _held(self, self.told is None or self.at is None, "told", "not `at` besides")

    def _long_run(self, state: State, raw: float, now: Moment) -> tuple[Past, float]:
        if self.at is not None:
            return state.past, self.at
        if self.told is not None:
            if self.told not in now.told:
                raise _bad(f"a number {self.told!r} to compare with", f"only {sorted(now.told)}")
            if not _positive(now.told[self.told]):
                raise _bad(f"{self.told!r} above 0", str(now.told[self.told]))
            return state.past, now.told[self.told]
        past = state.past.after(raw, days=now.days, window_days=self.window_days)
        if self.of == "max":
            return past, max(raw, past.quantile(1.0))
        if self.of == "median":
            return past, past.quantile(0.5)
        return past, past.mean if self.of == "mean" else past.rms


# ── the tools ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """A buffer on top that is used up while the parameter rises, and refills when it does not.

    While raw rises the value stands still, until the buffer is gone; then it rises with raw. When
    raw stands or falls, the value goes back towards (1 + size)·raw by the share `refill` a day. It
    is never below raw and never above (1 + size)·raw (EMIR RTS 153/2013, article 28(1)(a)).

    >>> Chain((Buffer(size=0.25, refill=0.05),)).follow([1.0, 1.2, 1.5, 1.5, 1.0])
    [1.25, 1.25, 1.5, 1.51875, 1.25]
    """

    kind: ClassVar[str] = "buffer"
    size: float = 0.25
    refill: float = 0.05

    def __post_init__(self) -> None:
        _held(self, _positive(self.size), "size", "above 0")
        _held(self, 0.0 < self.refill <= 1.0, "refill", "above 0, at most 1")

    def step(self, state: State, raw: float, now: Moment) -> tuple[State, float]:
        """The buffered value."""
        full = (1.0 + self.size) * raw
        value = full
        if state.value > 0.0:
            value = state.value
            if raw <= state.raw:
                value += (1.0 - (1.0 - self.refill) ** now.days) * (full - value)
            value = max(raw, min(full, value))
        return State(raw=raw, value=value), value


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileBuffer:
    """A buffer that is whole while the parameter is low in its own past, and gone when it is high.

    Between the quantiles `full_at` and `gone_at` of the past it shrinks linearly (ICE's way). With
    a past that knows one number only it is whole at that number and below, gone above.

    >>> tool = QuantileBuffer(size=0.25, full_at=0.5, gone_at=1.0)
    >>> Chain((tool,)).follow([1.0, 2.0, 1.5])
    [1.25, 2.0, 1.875]
    """

    kind: ClassVar[str] = "quantile_buffer"
    size: float = 0.25
    full_at: float = 0.5
    gone_at: float = 0.95
    window_days: int = TEN_YEARS_DAYS

    def __post_init__(self) -> None:
        _held(self, _positive(self.size), "size", "above 0")
        _held(self, 0.0 < self.full_at < self.gone_at <= 1.0, "full_at", "0 < full_at < gone_at")
        _held(self, _days(self.window_days), "window_days", "whole days, 1 to 36600")

    def step(self, state: State, raw: float, now: Moment) -> tuple[State, float]:
        """The buffered value."""
        past = state.past.after(raw, days=now.days, window_days=self.window_days)
        low, high = past.quantile(self.full_at), past.quantile(self.gone_at)
        used = 0.0 if raw <= low else 1.0 if raw >= high else (raw - low) / (high - low)
        value = raw * (1.0 + self.size * (1.0 - used))
        return State(raw=raw, value=value, past=past), value


@dataclass(frozen=True, slots=True, kw_only=True)
class StressedWeight(_Compared):
    """A weight on stressed observations, which are never calmer than today.

    What is stressed is the largest of the past, or told (EMIR RTS 153/2013, article 28(1)(b); ICE
    IRM 1: 0.75 of today's volatility and 0.25 of a stressed one).

    >>> Chain((StressedWeight(weight=0.25),)).follow([1.0, 3.0, 1.0])
    [1.0, 3.0, 1.5]
    """

    kind: ClassVar[str] = "stressed_weight"
    weight: float = 0.25
    of: Statistic = "max"

    def __post_init__(self) -> None:
        super(StressedWeight, self).__post_init__()
        _held(self, 0.0 <= self.weight <= 1.0, "weight", "0 to 1")

    def step(self, state: State, raw: float, now: Moment) -> tuple[State, float]:
        """The weighted value."""
        past, stressed = self._long_run(state, raw, now)
        value = (1.0 - self.weight) * raw + self.weight * max(raw, stressed)
        return State(raw=raw, value=value, past=past), value


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor(_Compared):
    """Never below `factor` times the long run (EMIR RTS 153/2013, article 28(1)(c)).

    The root mean square of past volatilities is the volatility of the whole window.

    >>> Chain((Floor(of="mean", window_days=2),)).follow([1.0, 3.0, 1.0])
    [1.0, 3.0, 2.0]
    >>> Chain((Floor(at=0.4),)).follow([0.3, 0.5])
    [0.4, 0.5]
    """

    kind: ClassVar[str] = "floor"
    factor: float = 1.0

    def __post_init__(self) -> None:
        super(Floor, self).__post_init__()
        _held(self, _positive(self.factor), "factor", "above 0")

    def step(self, state: State, raw: float, now: Moment) -> tuple[State, float]:
        """The floored value."""
        past, long_run = self._long_run(state, raw, now)
        value = max(raw, self.factor * long_run)
        return State(raw=raw, value=value, past=past), value


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap(_Compared):
    """Never above `factor` times the long run: the one tool that covers less, so say why.

    >>> Chain((Cap(of="mean", factor=1.5),)).follow([1.0, 3.0])
    [1.0, 3.0]
    >>> Chain((Cap(at=2.5),)).follow([1.0, 3.0])
    [1.0, 2.5]
    """

    kind: ClassVar[str] = "cap"
    factor: float = 1.0

    def __post_init__(self) -> None:
        super(Cap, self).__post_init__()
        _held(self, _positive(self.factor), "factor", "above 0")

    def step(self, state: State, raw: float, now: Moment) -> tuple[State, float]:
        """The capped value."""
        past, long_run = self._long_run(state, raw, now)
        value = min(raw, self.factor * long_run)
        return State(raw=raw, value=value, past=past), value


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughTheCycle(_Compared):
    """A blend with the long run, above it or below.

    >>> Chain((ThroughTheCycle(weight=0.5, of="mean"),)).follow([1.0, 3.0])
    [1.0, 2.5]
    """

    kind: ClassVar[str] = "through_the_cycle"
    weight: float = 0.5
    of: Statistic = "mean"

    def __post_init__(self) -> None:
        super(ThroughTheCycle, self).__post_init__()
        _held(self, 0.0 <= self.weight <= 1.0, "weight", "0 to 1")

    def step(self, state: State, raw: float, now: Moment) -> tuple[State, float]:
        """The blended value."""
        past, long_run = self._long_run(state, raw, now)
        value = (1.0 - self.weight) * raw + self.weight * long_run
        return State(raw=raw, value=value, past=past), value


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Limits on how fast the value rises and falls, per day; a direction without one is free.

    Limiting the rise trades a day or two of coverage for smaller calls.

    >>> Chain((Speed(up=0.10, down=0.02),)).follow([1.0, 2.0, 0.5])
    [1.0, 1.1, 1.078]
    """

    kind: ClassVar[str] = "speed"
    up: float | None = None
    down: float | None = None

    def __post_init__(self) -> None:
        _held(self, self.up is not None or self.down is not None, "up", "a limit up or down")
        _held(self, self.up is None or _positive(self.up), "up", "above 0")
        _held(self, self.down is None or 0.0 < self.down < 1.0, "down", "between 0 and 1")

    def step(self, state: State, raw: float, now: Moment) -> tuple[State, float]:
        """The value within its limits."""
        value = raw
        if state.value > 0.0:
            if self.up is not None:
                value = min(value, state.value * (1.0 + self.up) ** now.days)
            if self.down is not None:
                value = max(value, state.value * (1.0 - self.down) ** now.days)
        return State(raw=raw, value=value), value


_KINDS: Final[Mapping[str, type[Any]]] = {
    tool.kind: tool
    for tool in (
        Buffer, QuantileBuffer, StressedWeight, Floor, Cap, ThroughTheCycle, Speed,
    )
}  # fmt: skip


# ── several, one after another ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Chain:
    """Tools in the order in which they are applied; none leaves the parameter as it is.

    >>> chain = Chain((Floor(of="mean", window_days=4), Speed(up=0.5, down=0.25)))
    >>> chain.follow([1.0, 4.0, 1.0])
    [1.0, 1.5, 2.0]
    """

    tools: tuple[Tool, ...] = ()

    def start(self) -> tuple[State, ...]:
        """What each tool remembers before its first step."""
        return tuple(State() for _ in self.tools)

    def step(
        self,
        states: Sequence[State],
        raw: float,
        *,
        days: float = 1.0,
        told: Mapping[str, float] = _NOTHING_TOLD,
    ) -> tuple[tuple[State, ...], float]:
        """One step, `days` after the last. Raises BadInput for a raw value that is not above 0."""
        if not _positive(raw):
            raise _bad("a parameter above 0", str(raw))
        now, after, value = Moment(days=days, told=told), [], float(raw)
        for tool, state in zip(self.tools, states, strict=True):
            state, value = tool.step(state, value, now)
            after.append(state)
        return tuple(after), value

    def follow(
        self,
        raws: Iterable[float],
        /,
        *,
        days: float = 1.0,
        told: Mapping[str, Sequence[float]] | None = None,
    ) -> list[float]:
        """Every value of a series, from the start. `told` brings a series a name."""
        states, values = self.start(), []
        for n, raw in enumerate(raws):
            now = {name: float(series[n]) for name, series in (told or {}).items()}
            states, value = self.step(states, raw, days=days, told=now)
            values.append(value)
        return values

    def notes(self, states: Sequence[State]) -> tuple[str, ...]:
        """What a report should say: a look-back that is not full yet.

        >>> chain = Chain((Floor(window_days=10),))
        >>> chain.notes(chain.step(chain.start(), 1.0)[0])
        ('floor: 1 of 10 days of past',)
        """
        return tuple(
            f"{tool.kind}: {len(state.past)} of {window} days of past"
            for tool, state in zip(self.tools, states, strict=True)
            if (window := getattr(tool, "window_days", 0)) > len(state.past) > 0
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """As a rulebook writes it: what differs from the defaults, after the tool's name."""
        return [{"tool": tool.kind, **_told_fields(tool)} for tool in self.tools]


def parse_chain(
    told: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]], *, source: str = "tools"
) -> Chain:
    """A chain from a rulebook: a list of tables, or one table with each tool's own by its name.

    Raises RulebookError that names the source and the key.

    >>> chain = parse_chain([{"tool": "speed", "up": 0.1}])
    >>> chain.to_rows()
    [{'tool': 'speed', 'up': 0.1}]
    >>> parse_chain({"speed": {"up": 0.1}}) == chain
    True
    >>> parse_chain([{"tool": "brake"}], source="mine.toml")
    Traceback (most recent call last):
    ...
    solvent.errors.RulebookError: mine.toml: tool 1: expected one of buffer, cap, ...
    """
    if isinstance(told, Mapping):
        told = [{"tool": kind, **row} for kind, row in told.items()]
    return Chain(tuple(_tool(row, f"{source}: tool {n}") for n, row in enumerate(told, 1)))


def _tool(row: Mapping[str, Any], where: str) -> Tool:
    kind = _KINDS.get(str(row.get("tool")))
    if kind is None:
        raise RulebookError(f"{where}: expected one of {', '.join(sorted(_KINDS))}, found {row!r}")
    names = {one.name for one in fields(kind)}
    for key, value in row.items():
        if key != "tool" and key not in names:
            raise RulebookError(
                f"{where}: no {key!r}; a {kind.kind} has {', '.join(sorted(names))}"
            )
        if key not in ("tool", "of", "told") and not _number(value):
            raise RulebookError(f"{where}: {key}: expected a number, found {value!r}")
        if key == "told" and not isinstance(value, str):
            raise RulebookError(f"{where}: {key}: expected a name, found {value!r}")
    try:
        tool: Tool = kind(**{key: value for key, value in row.items() if key != "tool"})
    except RulebookError as fault:
        raise RulebookError(f"{where}: {fault}") from fault
    return tool


def _told_fields(tool: Any) -> dict[str, Any]:
    default = {one.name: one.default for one in fields(tool) if one.default is not MISSING}
    return {name: value for name, value in asdict(tool).items() if value != default.get(name)}


def _held(tool: Any, holds: bool, name: str, expected: str) -> None:
    if not holds:
        raise RulebookError(
            f"{tool.kind}: {name}: expected {expected}, found {getattr(tool, name)}"
        )


def _days(value: object) -> bool:
    return type(value) is int and 1 <= value <= _WINDOW_DAYS_MAX


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0.0


def _bad(expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(
            code=Reject.INPUT_INVALID, source="anti-procyclicality", expected=expected, found=found
        )
    )
