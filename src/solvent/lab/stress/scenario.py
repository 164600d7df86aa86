"""Stress scenarios as data: named ones that ship with Solvent, and a user's own files.

A scenario says what it is, and each of its numbers says where it is from: `measured` in data that
is named, `published` by somebody, `derived` from another number by a rule that is named, or
`assumed`. What a scenario does to a market is a `Shock`; some are complete only with a history (a
factor, a jump), which `resolve` asks for.
"""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from solvent.errors import BadInput, Problem, Reject
from solvent.lab.stress import factors
from solvent.lab.stress.shock import MOVE_MAX, MOVE_MIN, SHIFT_MAX, WORTH_MAX, Move, Shock
from solvent.lab.wording import expected, unreadable
from solvent.limits import PROBLEMS_MAX
from solvent.margining.rulebook import line_of
from solvent.scenarios.history import Series

Kind = Literal["historical", "hypothetical", "factor", "jump", "depeg", "outage", "oracle"]
Evidence = Literal["measured", "published", "derived", "assumed"]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
Words = Annotated[str, StringConstraints(max_length=2_000, strip_whitespace=True)]
Shift = Annotated[float, Field(ge=-SHIFT_MAX, le=SHIFT_MAX)]
_ROWS_MAX = 1_000


class _Text(BaseModel):
    """A part of the file: an unknown key and a number that is none are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Sourced(_Text):
    source: Words
    evidence: Evidence = "assumed"
    date: datetime.date | None = None


class MoveText(_Sourced):
    """What happens to an underlying, or to all others (`*`)."""

    underlying: Name
    spot: Annotated[float, Field(ge=MOVE_MIN, le=MOVE_MAX)] = 0.0
    level: Shift = 0.0
    skew: Shift = 0.0
    term: Shift = 0.0
    basis: Shift = 0.0


class CollateralText(_Sourced):
    """What an asset comes to be worth as collateral, as a relative change."""

    asset: Name
    worth: Annotated[float, Field(ge=-1.0, le=WORTH_MAX)]


class FactorText(_Sourced):
    """A move along a factor of a history: the market's own, or a principal component (1 …)."""

    which: Literal["market"] | Annotated[int, Field(ge=1, le=100)] = "market"
    deviations: Annotated[float, Field(ge=-50.0, le=50.0)]
    hours: Annotated[float, Field(gt=0.0, le=24.0 * 30)] = 24.0


class JumpText(_Sourced):
    """A jump of the size that a share of a coin's jumps stays within, and of those that follow."""

    leader: Name
    share: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.99
    side: Literal["down", "up"] = "down"
    hours: Annotated[float, Field(gt=0.0, le=24.0 * 7)] = 24.0


class OutageText(_Sourced):
    """Nobody can trade, pay in or be closed out while the moves happen."""

    hours: Annotated[float, Field(gt=0.0, le=24.0 * 30)]
    steps: Annotated[int, Field(ge=1, le=200)] = 24


class OracleText(_Sourced):
    """Sources of one underlying's index fail while the market moves as the moves say."""

    underlying: Name
    rule: Name = "guarded"
    silent: tuple[Name, ...] = ()
    """Say nothing any more."""
    stuck: tuple[Name, ...] = ()
    """Go on telling the price of before, as if it were of now."""
    wrong: dict[Name, Annotated[float, Field(gt=-1.0, le=10.0)]] = Field(default_factory=dict)
    """Source → relative error of what it tells."""
    seconds: Annotated[int, Field(ge=1, le=3_600)] = 60
    ramp_seconds: Annotated[int, Field(ge=1, le=3_600)] = 30
    """In how long the market moves: not longer than the fault goes on."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        told = [*self.silent, *self.stuck, *self.wrong]
        if not told:
            raise ValueError("a source that is silent, stuck or wrong")
        if len(set(told)) < len(told):
            raise ValueError("each source fails in one way")
        if self.ramp_seconds > self.seconds:
            raise ValueError("ramp_seconds up to seconds: the move ends before the fault does")
        return self


class HeadText(_Text):
    """What a scenario is."""

    name: Name
    title: Words = ""
    kind: Kind
    date: datetime.date | None = None
    hours: Annotated[float, Field(ge=0.0, le=24.0 * 365)] = 0.0
    about: Words = ""


class FileText(_Text):
    """A whole file."""

    scenario: HeadText
    move: Annotated[tuple[MoveText, ...], Field(max_length=_ROWS_MAX)] = ()
    collateral: Annotated[tuple[CollateralText, ...], Field(max_length=_ROWS_MAX)] = ()
    factor: FactorText | None = None
    jump: JumpText | None = None
    outage: OutageText | None = None
    oracle: OracleText | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        kind = self.scenario.kind
        for name in ("factor", "jump", "outage", "oracle"):
            if (getattr(self, name) is not None) != (kind == name):
                there = "a" if kind == name else "no"
                raise ValueError(f"a scenario of kind {kind!r} has {there} [{name}]")
        if kind == "depeg" and not self.collateral:
            raise ValueError("a depeg tells what an asset comes to be worth: [[collateral]]")
        if kind in ("historical", "hypothetical", "outage", "oracle") and not (
            self.move or self.collateral
        ):
            raise ValueError("a move or more: [[move]]")
        for what in ("move.underlying", "collateral.asset"):
            table, _, column = what.partition(".")
            names = [getattr(one, column) for one in getattr(self, table)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"each {column} once, found twice: {', '.join(twice)}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario of a file; `own` ones are a user's, whose names the market must have."""

    text: FileText
    source: str
    own: bool = False

    @property
    def name(self) -> str:
        """What it is called."""
        return self.text.scenario.name

    @property
    def title(self) -> str:
        """In words."""
        return self.text.scenario.title or self.name

    @property
    def kind(self) -> str:
        """Which of `Kind`."""
        return self.text.scenario.kind

    @property
    def needs_history(self) -> bool:
        """Whether it is complete only with a history of prices."""
        return self.kind in ("factor", "jump")

    @property
    def told(self) -> Shock:
        """What the file itself says happens."""
        head, outage = self.text.scenario, self.text.outage
        return Shock(
            name=head.name, hours=head.hours if outage is None else outage.hours,
            moves={
                one.underlying: Move(
                    spot=one.spot, level=one.level, skew=one.skew, term=one.term, basis=one.basis
                )
                for one in self.text.move
            },
            worth={one.asset: one.worth for one in self.text.collateral},
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A scenario on a market: what happens there, and what was to be said of it."""

    scenario: Scenario
    shock: Shock
    notes: tuple[str, ...]


def resolve(
    scenario: Scenario, underlyings: Sequence[str], *, history: Series | None = None,
    scale: float = 1.0,
) -> Resolved:  # fmt: skip
    """A scenario's shock on a market of some underlyings, `scale` times as far (in logs).

    Raises BadInput for a user's scenario that names what the market does not have, for a factor or
    a jump without a history that tells it, and for a scale at which a move leaves its limits.
    """
    if not (math.isfinite(scale) and 0.0 <= scale <= 10.0):
        raise _bad("scale", "a number from 0 to 10", repr(scale), Reject.INPUT_INVALID)
    shock = scenario.told
    notes: list[str] = []
    if scenario.text.factor is not None or scenario.text.jump is not None:
        if history is None:
            raise _bad(scenario.source, f"a history of prices for a {scenario.kind}", "none",
                       Reject.SOURCE_EMPTY)  # fmt: skip
        try:
            added = _of_history(scenario, underlyings, history)
        except BadInput as fault:
            told = f"{history.source}, for {scenario.name}"
            raise BadInput(
                *(replace(one, source=told, found=_of(one, history)) for one in fault.problems)
            ) from fault
        shock = replace(shock, moves={**added.moves, **shock.moves})
        notes += added.notes
    if scale != 1.0:
        shock = _scaled(shock, scale)
        notes.append(f"scaled by {scale:g}, in logs")
    absent = shock.among(underlyings, source=scenario.source, strict=scenario.own)
    if absent:
        notes.append(f"not in this market: {', '.join(absent)}")
    still = [name for name in underlyings if name not in shock.moves and "*" not in shock.moves]
    if still and shock.moves:
        notes.append(f"stands still: {', '.join(still)}")
    guessed = [one.underlying for one in scenario.text.move if one.evidence == "assumed"]
    if guessed and scenario.kind == "historical":
        others = [name for name in underlyings if name not in scenario.told.moves]
        named = [name for name in guessed if name in underlyings or (name == "*" and others)]
        if named:
            shown = ", ".join(", ".join(others) if one == "*" else one for one in named)
            notes.append(f"assumed, not measured: the move of {shown}")
    return Resolved(scenario=scenario, shock=shock, notes=tuple(notes))


def _scaled(shock: Shock, scale: float) -> Shock:
    """A shock so many times as far, in logs. Time is not scaled: a crash twice as deep takes as
    long. Raises BadInput where a move would leave its limits."""

    def far(move: float) -> float:
        return math.expm1(scale * math.log1p(move)) if move > -1.0 else -1.0

    for name, one in shock.moves.items():
        spot = far(one.spot)
        shift = scale * max(map(abs, (one.level, one.skew, one.term, one.basis)))
        if not (MOVE_MIN <= spot <= MOVE_MAX and shift <= SHIFT_MAX):
            raise _bad(
                "scale", f"moves of {name} from {MOVE_MIN} to {MOVE_MAX:g} with shifts up to "
                f"{SHIFT_MAX:g}", f"{scale:g} times {shock.name}: a move of {spot:.6g}, a shift of "
                f"{shift:.6g}", Reject.INPUT_INVALID,
            )  # fmt: skip
    for asset, worth in shock.worth.items():
        if far(worth) > WORTH_MAX:
            raise _bad(
                "scale", f"{asset} worth up to {WORTH_MAX:g} more",
                f"{scale:g} times {shock.name}: {far(worth):.6g}", Reject.INPUT_INVALID,
            )  # fmt: skip
    return replace(replace(shock, hours=0.0).part(scale), hours=shock.hours)


def _of_history(
    scenario: Scenario, underlyings: Sequence[str], history: Series
) -> factors.FromHistory:
    factor, jump = scenario.text.factor, scenario.text.jump
    if factor is not None:
        return factors.along_factor(
            history, underlyings, which=factor.which, deviations=factor.deviations,
            hours=factor.hours,
        )  # fmt: skip
    assert jump is not None
    return factors.jump_of(
        history, underlyings, leader=jump.leader, share=jump.share, down=jump.side == "down",
        hours=jump.hours,
    )  # fmt: skip


# ── files ────────────────────────────────────────────────────────────────────────────────────────


@cache
def scenario_names() -> tuple[str, ...]:
    """Names of the scenarios that ship with Solvent.

    >>> "2020-03-12" in scenario_names()
    True
    """
    folder = files("solvent") / "lab" / "stress" / "named"
    return tuple(sorted(one.name.removesuffix(".toml") for one in folder.iterdir()
                        if one.name.endswith(".toml")))  # fmt: skip


def load_scenario(name_or_path: str | Path) -> Scenario:
    """A shipped scenario by its name, or a user's at a path that ends in .toml.

    Raises BadInput naming file, field and line for what is wrong with it.

    >>> load_scenario("2020-03-12").told.of("BTC").spot
    -0.451
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            found = unreadable(fault)
            raise _bad(
                str(path), "a readable TOML file", found, Reject.SOURCE_UNREADABLE
            ) from fault
        return parse_scenario(text, source=str(path), own=True)
    if str(name_or_path) not in scenario_names():
        raise _bad("scenario", f"a path to a .toml, or one of {', '.join(scenario_names())}",
                   repr(str(name_or_path)), Reject.INPUT_INVALID)  # fmt: skip
    return _shipped(str(name_or_path))


def scenario_text(name_or_path: str) -> str:
    """The file of a scenario that `load_scenario` takes.

    >>> scenario_text("crash-50").splitlines()[0]
    '[scenario]'
    """
    if name_or_path.endswith(".toml"):
        return Path(name_or_path).read_text("utf-8")
    return (files("solvent") / "lab" / "stress" / "named" / f"{name_or_path}.toml").read_text(
        "utf-8"
    )


@cache
def _shipped(name: str) -> Scenario:
    source = files("solvent") / "lab" / "stress" / "named" / f"{name}.toml"
    return parse_scenario(source.read_text("utf-8"), source=f"{name}.toml")


def parse_scenario(toml: str, *, source: str, own: bool = False) -> Scenario:
    """A scenario from the text of a file.

    >>> parse_scenario('''
    ... scenario = {name = "half", kind = "hypothetical"}
    ... move = [{underlying = "*", spot = -0.5, source = "assumed"}]''', source="text").told.of("X")
    Move(spot=-0.5, level=0.0, skew=0.0, term=0.0, basis=0.0)
    """
    try:
        content = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as fault:
        raise _bad(source, "TOML", str(fault), Reject.SOURCE_UNREADABLE) from fault
    try:
        text = FileText.model_validate(content)
    except ValidationError as fault:
        raise BadInput(*_problems(fault, toml, source)) from fault
    return Scenario(text=text, source=source, own=own)


def _problems(fault: ValidationError, toml: str, source: str) -> list[Problem]:
    problems = []
    for error in fault.errors(include_url=False)[:PROBLEMS_MAX]:
        path = ".".join(map(str, error["loc"]))
        missing = error["type"] == "missing"
        wild = error["type"] == "finite_number"
        code = Reject.FIELD_MISSING if missing else Reject.INPUT_INVALID
        problems.append(
            Problem(
                code=Reject.FIELD_NOT_FINITE if wild else code, source=source, field=path or None,
                line=line_of(toml, path) if path else None,
                expected=expected(error, FileText),
                found="nothing" if missing else _shown(error["input"]) if path else "others",
            )
        )  # fmt: skip
    return problems


def _of(one: Problem, history: Series) -> str:
    """What was found, and of what where that is not the history itself."""
    return one.found if one.source == history.source else f"{one.found} ({one.source})"


def _shown(told: Any) -> str:
    return repr(told)[:80]


def _bad(source: str, expected: str, found: str, code: Reject) -> BadInput:
    return BadInput(Problem(code=code, source=source, expected=expected, found=found[:160]))
