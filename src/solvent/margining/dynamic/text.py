"""A dynamic rulebook as written: what its TOML may say, checked by pydantic.

`[signals]` say what is measured, by key (an underlying); `[[follow]]` what moves with it, through
which anti-procyclical tools, in which steps, within which bounds and with how much notice.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from solvent.errors import RulebookError
from solvent.expressions import ExpressionError, parse
from solvent.margining.levels.text import LegText
from solvent.margining.schema import Formula, Name, Text
from solvent.scenarios.anti_procyclical import Chain, parse_chain

OWN_NAMES: Final = frozenset({"base"})
"""What a formula may use besides signals and parameters: the wrapped rulebook's own number."""
Target = Annotated[
    str, StringConstraints(pattern=r"^(tables\.\w+\.\w+|parameters\.\w+|collateral|spreads\.\w+)$")
]
Tools = dict[str, dict[str, Any]] | list[dict[str, Any]]


class SignalText(Text):
    """Something measured by key.

    Attributes:
        of: the quantity observed, such as `price`, `adv`, `depth`, `open_interest`.
        measure: `volatility`, of a day, of an EWMA of squared log returns; `level`, an EWMA of the
            quantity; `correlation`, of log returns with those of the key `beside`, the least over
            `windows_days`.
        decay: of a day; 0 keeps the newest alone.
        warm_up_days: observations before it is known; a volatility averages over them.
        hold_days: for how long it is kept where nothing is observed; beyond, it is not known.
    """

    of: Name
    measure: Literal["volatility", "level", "correlation"]
    decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    warm_up_days: int = Field(default=30, ge=1, le=3_660)
    hold_days: float = Field(default=3.0, ge=0.0)
    beside: str | None = None
    windows_days: list[int] = Field(default=[90, 365], min_length=1)

    @model_validator(mode="after")
    def _a_pair(self) -> SignalText:
        if (self.measure == "correlation") != (self.beside is not None):
            raise ValueError("a correlation, and nothing else, is told `beside` which key")
        if min(self.windows_days) < 2 or max(self.windows_days) > 3_660:
            raise ValueError("a window has 2 to 3660 days")
        return self


class FollowText(Text):
    """A number of the wrapped rulebook that follows signals.

    Attributes:
        what: `tables.T.entry`, `parameters.P`, `collateral` (haircuts, by asset) or `spreads.S`
            (the rate of one spread).
        keys: rows of the table, assets, or a name for the spread; a parameter has none.
        of: key → the key whose signals it follows, where that is another one.
        value: what it should be; `scale`: what the wrapped rulebook's number (each, of tiers) is
            multiplied by.
        powers: other entries of the same rows that are multiplied by a power of the scale: a
            maintenance amount by 1, a highest leverage by −1.
        legs: of a spread.
        tools: anti-procyclical tools that the value or scale goes through.
        tick: step in which it moves. round: how it is brought on a tick.
        least, most: bounds, of the value or scale.
        tightens: in which direction margin grows.
        notice_days: between announcement and effect; relax_notice_days: of a relaxation.
        emergency: a tightening by more than this share of what holds needs no notice.
        every_days: between two announcements of one number.
        move_least: changes by a smaller share are not announced.
    """

    what: Target
    keys: list[str] = Field(default=["*"], min_length=1)
    of: dict[str, str] = Field(default_factory=dict)
    value: Formula | None = None
    scale: Formula | None = None
    powers: dict[Name, Literal[-1, 1]] = Field(default_factory=dict)
    legs: list[LegText] = Field(default_factory=list)
    tools: Tools = Field(default_factory=list)
    tick: float = Field(gt=0.0)
    round: Literal["up", "down", "nearest"] = "up"
    least: float = Field(ge=0.0)
    most: float = Field(gt=0.0)
    tightens: Literal["up", "down"] = "up"
    notice_days: int = Field(default=1, ge=0, le=366)
    relax_notice_days: int | None = Field(default=None, ge=0, le=366)
    emergency: float | None = Field(default=None, gt=0.0)
    every_days: int = Field(default=1, ge=1)
    move_least: float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _fits(self) -> FollowText:
        if (self.value is None) == (self.scale is None):
            raise ValueError("a number that follows has either `value` or `scale`")
        if self.least > self.most:
            raise ValueError(f"`least` is at most `most`, found {self.least} and {self.most}")
        if self.what.startswith("spreads.") != bool(self.legs):
            raise ValueError("a spread, and nothing else, has `legs`")
        if self.what.startswith("spreads.") and self.value is None:
            raise ValueError("a spread's rate is told by `value`")
        if self.powers and (self.scale is None or not self.what.startswith("tables.")):
            raise ValueError("`powers` go with the `scale` of a table's entry")
        if len(set(self.keys)) != len(self.keys):
            raise ValueError(f"each key once, found {self.keys}")
        return self

    @property
    def formula(self) -> str:
        """Of the value or the scale."""
        return self.value if self.value is not None else self.scale or ""

    def chain(self) -> Chain:
        """Its tools."""
        return parse_chain(self.tools, source=self.what)


class DynamicText(Text):
    """A whole dynamic rulebook."""

    version: Literal[3] = Field(alias="schema")
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]
    base: str
    title: str
    summary: str = ""
    sources: list[str] = Field(min_length=1)
    notes: list[str] = Field(default_factory=list)
    parameters: dict[Name, float] = Field(default_factory=dict)
    signals: dict[Name, SignalText] = Field(min_length=1)
    follow: list[FollowText] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_mean_something(self) -> DynamicText:
        known = self.signals.keys() | self.parameters.keys() | OWN_NAMES
        if len(known) != len(self.signals) + len(self.parameters) + len(OWN_NAMES):
            raise ValueError("a name is a signal, a parameter or `base`, and only one of them")
        for one in self.follow:
            try:
                unknown = parse(one.formula).names - known
                one.chain()
            except (ExpressionError, RulebookError) as fault:
                raise ValueError(f"{one.what}: {fault}") from fault
            if unknown:
                raise ValueError(f"{one.what}: {min(unknown)!r} means nothing; {sorted(known)} do")
        targets = [(one.what, key) for one in self.follow for key in one.keys]
        if len(set(targets)) != len(targets):
            raise ValueError("a number follows once")
        return self


def read_dynamic(toml: str, *, source: str) -> DynamicText:
    """Check a dynamic rulebook's text. Raises RulebookError naming source and key.

    >>> read_dynamic("name = 3", source="mine.toml")
    Traceback (most recent call last):
    ...
    solvent.errors.RulebookError: mine.toml: schema: Field required (and ... more)
    """
    try:
        content = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as fault:
        raise RulebookError(f"{source}: not TOML: {fault}") from fault
    return check_dynamic(content, source=source)


def check_dynamic(content: Mapping[str, Any], *, source: str) -> DynamicText:
    """Check a dynamic rulebook, given as plain tables."""
    try:
        return DynamicText.model_validate(content)
    except ValidationError as fault:
        first, *others = fault.errors()
        where = ".".join(str(part) for part in first["loc"]) or "whole"
        more = f" (and {len(others)} more)" if others else ""
        raise RulebookError(f"{source}: {where}: {first['msg']}{more}") from fault
