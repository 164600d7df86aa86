"""A rulebook of formulas at levels as written: what its TOML may say, checked by pydantic."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import Field, StringConstraints, model_validator

from solvent.expressions import Expression, inline, parse
from solvent.margining.closing import LiquidationText
from solvent.margining.house import EngineText
from solvent.margining.schema import (
    Evidence,
    Formula,
    Name,
    ScenarioText,
    Text,
    VolText,
)

Key = Literal[
    "account", "pool", "asset", "instrument", "underlying", "settlement", "expiry", "strike",
    "kind", "right", "side", "order",
]  # fmt: skip
"""What rows are told apart by."""
KEYS: Final = frozenset(get_args(Key))
Property = Literal[
    "requirement_not_negative", "scales", "subadditive", "more_collateral_helps",
    "isolated_pools", "permutes",
]  # fmt: skip
"""What a rulebook may claim of itself; each claim is tested."""
TierBound = Literal["from", "above"]
"""Whether a tier holds its lower bound or begins just above it."""


class TierRow(Text):
    """Parameters of some keys from a day on; a list has one entry a tier."""

    keys: list[str] = Field(min_length=1)
    effective: date
    source: str
    evidence: Evidence = "documented"
    values: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")],
                 float | Annotated[list[float], Field(min_length=1)]]  # fmt: skip

    @model_validator(mode="after")
    def _shares_fit(self) -> TierRow:
        for name, told in self.values.items():
            numbers = told if isinstance(told, list) else [told]
            if "haircut" in name and not all(0.0 <= one <= 1.0 for one in numbers):
                raise ValueError(f"`{name}` is a share of a value, from 0 to 1, found {told}")
            if isinstance(told, list) and name.endswith("rate") and min(numbers) < 0.0:
                raise ValueError(f"`{name}` of a tier is not negative, found {min(numbers)}")
        return self

    @model_validator(mode="after")
    def _tiers_fit(self) -> TierRow:
        lists = {name: column for name, column in self.values.items() if isinstance(column, list)}
        if not lists:
            return self
        bound = next((name for name in get_args(TierBound) if name in lists), None)
        if bound is None:
            raise ValueError("a row of tiers needs their lower bounds, `from` or `above`")
        if len({len(column) for column in lists.values()}) > 1:
            raise ValueError("every list of a row has one entry a tier")
        bounds = lists[bound]
        if bounds != sorted(set(bounds)):
            raise ValueError(f"`{bound}` rises from tier to tier")
        return self


class TierTable(Text):
    """Parameters by key. The key `*` stands for every key without a row of its own.

    `wanted` names entries that are not published: what needs one that no row sets is not known.
    """

    by: Key
    about: str = ""
    rows: list[TierRow] = Field(default_factory=list)
    wanted: list[Name] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_entries(self) -> TierTable:
        if not self.rows and not self.wanted:
            raise ValueError("a table has rows, or names what is wanted")
        return self


SpreadSide = Literal["A", "B"]


class LegText(Text):
    """A leg of a spread: rows whose keys are those named, one side against the other."""

    side: SpreadSide
    ratio: float = Field(default=1.0, gt=0.0)
    rate: float | None = None
    keys: dict[Key, str | list[str]] = Field(min_length=1)


class SpreadText(Text):
    """A spread, and what each one formed counts for; a leg without a rate takes the spread's."""

    rate: float
    legs: list[LegText] = Field(min_length=2)

    @model_validator(mode="after")
    def _two_sides(self) -> SpreadText:
        if len({leg.side for leg in self.legs}) < 2:
            raise ValueError("a spread has legs on side A and on side B")
        return self


class SpreadList(Text):
    """Spreads from a day on, in the order in which they are formed."""

    effective: date
    source: str
    evidence: Evidence = "documented"
    spreads: list[SpreadText]


class SpreadTable(Text):
    """An ordered table of spreads between rows of a level that lie in one row of another.

    `amount` is what is matched: a formula at `rows`. The newest list that is in force holds whole,
    as its order is part of it; without a list the caller brings one.
    """

    about: str = ""
    rows: Name
    within: Name
    amount: Formula
    lists: list[SpreadList] = Field(default_factory=list)


class ColumnInput(Text):
    """A number that the caller brings for each row of a level, or its default."""

    about: str
    default: float | None = None
    least: float | None = None
    most: float | None = None
    """What a number may be; one beyond is refused where it is brought."""

    def fault(self, value: float) -> str:
        """What a value ought to be, in words; empty where it is that.

        >>> ColumnInput(about="a share", least=0.0, most=1.0).fault(1.5)
        'at most 1'
        """
        if self.least is not None and not value >= self.least:
            return f"at least {self.least:g}"
        if self.most is not None and not value <= self.most:
            return f"at most {self.most:g}"
        return ""


class ShockText(VolText):
    """A volatility rule whose formula may stand on others by name."""

    let: dict[Name, Formula] = Field(default_factory=dict)

    def expression(self) -> Expression:
        """The shocked volatility, its names replaced by what they stand for."""
        return inline(parse(self.shocked), {name: parse(one) for name, one in self.let.items()})


class WorstText(Text):
    """Which scenario is told as the worst: the one in which `pnl`, a formula with one number a
    scenario of the set, is least over an account's rows of the level."""

    level: Name
    scenarios: Name
    pnl: Formula


class AnswerText(Text):
    """Where the answer stands: columns of one level, in dollars.

    `credit` names what is lent to the account at most, which is no money of its own: equity is told
    without it, the margins are what is left to be met after it.
    """

    level: Literal["account", "pool"] = "account"
    equity: Name = "equity"
    initial: Name = "initial"
    maintenance: Name = "maintenance"
    liquidate: Formula = "equity < maintenance"
    credit: Name | None = None
    components: list[Name] = Field(default_factory=list)
    worst: WorstText | None = None


class LevelsText(Text):
    """A whole rulebook of formulas at levels."""

    version: Literal[2] = Field(alias="schema")
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]
    title: str
    venue: str
    family: Literal["tiered leverage", "option formulas", "scenario", "regulatory"]
    summary: str = ""
    sources: list[str] = Field(min_length=1)
    notes: list[str] = Field(default_factory=list)
    unset: dict[str, str] = Field(default_factory=dict)
    properties: list[Property] = Field(default_factory=list)
    parameters: dict[Name, float] = Field(default_factory=dict)
    tables: dict[Name, TierTable] = Field(default_factory=dict)
    spreads: dict[Name, SpreadTable] = Field(default_factory=dict)
    vols: dict[Name, ShockText] = Field(default_factory=dict)
    scenarios: dict[Name, ScenarioText] = Field(default_factory=dict)
    levels: dict[Name, Annotated[list[Key], Field(min_length=1)]] = Field(default_factory=dict)
    inputs: dict[Name, dict[Name, ColumnInput]] = Field(default_factory=dict)
    at: dict[Name, dict[Name, Formula]] = Field(min_length=1)
    answer: AnswerText = AnswerText()
    engine: EngineText = EngineText()
    liquidation: LiquidationText = LiquidationText()

    @model_validator(mode="after")
    def _columns_of_orders(self) -> Self:
        """Which orders stay is told by a column that is there."""
        column = self.engine.kept_orders
        if column is not None and column not in self.at.get("order", {}):
            raise ValueError(f"engine.kept_orders: expected a column of at.order, found {column!r}")
        return self
