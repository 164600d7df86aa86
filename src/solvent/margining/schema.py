"""The rulebook language as written: what a TOML file may say, checked by pydantic.

Here stands only the shape. What the words mean is told in `docs/rulebooks.md`; `rulebook.py` turns
a checked text into parsed expressions with the parameters in force on a day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    Tag,
    model_serializer,
    model_validator,
)

from solvent.margining.closing import LiquidationText
from solvent.margining.history_text import HistoryText
from solvent.margining.house import EngineText
from solvent.units import Rounding

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Formula = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
Evidence = Literal["verified", "documented", "third party", "inferred", "fitted", "assumed"]


class Text(BaseModel):
    """A part of a rulebook; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RowText(Text):
    """One row of a table: parameters of some keys from a day on."""

    keys: list[str] = Field(min_length=1)
    effective: date
    source: str
    evidence: Evidence = "documented"
    values: dict[Name, float]


class TableText(Text):
    """Parameters by underlying or by settlement asset."""

    by: Literal["underlying", "settlement"]
    rows: list[RowText] = Field(min_length=1)


class VolText(Text):
    """A volatility rule: the shocked volatility."""

    shocked: Formula


class LadderText(Text):
    """Evenly spaced moves, `steps` on either side of 0, up to `reach`."""

    reach: Formula
    steps: int = Field(ge=1, le=1_000)


class PointText(Text):
    """One scenario of a set that is no combination of axes."""

    move: float | Formula
    vol: Name = "same"
    basis: float = 0.0
    weight: float | Formula | None = None
    numbers: dict[Name, float] = Field(default_factory=dict)


class ScenarioText(Text):
    """A scenario set: every combination of moves, volatilities and basis, or point by point, or
    joint shocks that whoever publishes brings along: by name, or as a history."""

    moves: LadderText | Annotated[list[float | Formula], Field(min_length=1)] | None = None
    vols: list[Name] = Field(default=["same"], min_length=1)
    basis: list[float] = Field(default=[0.0], min_length=1)
    roll_days: float = Field(default=0.0, ge=0.0)
    averaging_minutes: float = Field(default=0.0, ge=0.0)
    numbers: dict[Name, float] = Field(default_factory=dict)
    weight: Formula | None = None
    points: Annotated[list[PointText], Field(min_length=1)] | None = None
    joint: (
        Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)] | None
    ) = None
    history: HistoryText | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_told(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A set without joint shocks is written as before there were any: digests stay.
        told: dict[str, Any] = handler(self)
        return {
            name: value
            for name, value in told.items()
            if name not in ("joint", "history") or value is not None
        }

    @model_validator(mode="after")
    def _axes_or_points(self) -> ScenarioText:
        ways = {"moves": self.moves, "points": self.points, "joint": self.joint,
                "history": self.history}  # fmt: skip
        if sum(one is not None for one in ways.values()) != 1:
            raise ValueError("a scenario set has one of `moves`, `points`, `joint`, `history`")
        if self.points is not None and self.model_fields_set & {"vols", "basis", "weight"}:
            raise ValueError("each point has a volatility, basis and weight of its own")
        plain = self.vols == ["same"] and self.basis == [0.0]
        if self.is_joint and not (plain and self.weight is None and not self.numbers):
            raise ValueError("joint shocks bring volatilities, basis and weights along")
        for point in self.points or []:
            if strange := point.numbers.keys() - self.numbers.keys():
                raise ValueError(f"`numbers` of the set has no {sorted(strange)}")
        return self

    @property
    def is_joint(self) -> bool:
        """Whether its scenarios are joint shocks."""
        return self.joint is not None or self.history is not None

    def vol_rules(self) -> list[str]:
        """Names of the volatility rules in use."""
        return [point.vol for point in self.points] if self.points else self.vols

    def formulas(self) -> Iterator[tuple[str, str]]:
        """Every formula, with its place in the set."""
        if self.weight is not None:
            yield "weight", self.weight
        if isinstance(self.moves, LadderText):
            yield "moves.reach", self.moves.reach
        elif self.moves is not None:
            for n, move in enumerate(self.moves):
                if isinstance(move, str):
                    yield f"moves.{n}", move
        for n, point in enumerate(self.points or []):
            if isinstance(point.move, str):
                yield f"points.{n}.move", point.move
            if isinstance(point.weight, str):
                yield f"points.{n}.weight", point.weight


class NodeText(Text):
    """A level of the netting tree: instruments that agree in `by` lie in one node.

    An empty `by` is one node of all that an account holds, in dollars.
    """

    by: list[Literal["underlying", "settlement", "expiry", "instrument"]]
    numeraire: Literal["coin", "dollar", "settlement"] = "dollar"

    @model_validator(mode="after")
    def _everything_is_in_dollars(self) -> NodeText:
        if not self.by and self.numeraire != "dollar":
            raise ValueError("one node of everything is counted in dollars")
        return self


class MapText(Text):
    """A piecewise-linear map of a node's PnL in each scenario, in the node's numeraire."""

    toward_zero: Formula = "0"
    losses: Formula = "1"
    gains: Formula = "1"
    gains_cap: Formula | None = None


class RoundText(Text):
    """A rounding to decimals of the numeraire."""

    decimals: int = Field(ge=0, le=18)
    mode: Rounding


Level = Annotated[float, Field(ge=0.5, lt=1.0)]


class TailText(Text):
    """A reduction to a tail: one of them, at a level such as 0.99 (`risk.tails`)."""

    expected_shortfall: Level | None = None
    value_at_risk: Level | None = None
    harrell_davis: Level | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> TailText:
        told = [one for one in self.model_dump().values() if one is not None]
        if len(told) != 1:
            raise ValueError("expected one of expected_shortfall, value_at_risk, harrell_davis")
        return self

    @property
    def kind(self) -> str:
        """Its name."""
        return next(name for name, level in self.model_dump().items() if level is not None)

    @property
    def level(self) -> float:
        """Its level."""
        told: float = getattr(self, self.kind)
        return told


def _which_reduction(told: object) -> str:
    return "worst" if isinstance(told, str) else "tail"


Reduction = Annotated[
    Annotated[Literal["worst"], Tag("worst")] | Annotated[TailText, Tag("tail")],
    Discriminator(_which_reduction),
]


class ScanText(Text):
    """Scenario PnL, summed to `node`, mapped there, summed on to `into`, and reduced."""

    scenarios: list[Name] = Field(min_length=1)
    node: Name
    into: Name
    map: MapText | None = None
    reduce: Reduction = "worst"
    round: RoundText | None = None

    @model_validator(mode="after")
    def _a_tail_is_of_one_set(self) -> ScanText:
        if self.reduce != "worst" and len(self.scenarios) != 1:
            raise ValueError("a tail is of one scenario set; blend sets in the requirement")
        return self


class SumText(Text):
    """Σ lots × an amount per lot at a node; longs and shorts may count differently."""

    node: Name
    unit: Literal["coin", "dollar"] = "coin"
    let: dict[Name, Formula] = Field(default_factory=dict)
    per_lot: Formula | None = None
    long: Formula = "0"
    short: Formula = "0"


class ChargeText(Text):
    """An amount at a node, from its sums, added up into a coarser node.

    `slope` bounds how much the amount changes per unit of its sums; it scales the allowance for
    the rounding of the sums.
    """

    node: Name
    into: Name
    let: dict[Name, Formula] = Field(default_factory=dict)
    amount: Formula
    slope: Formula = "1"


class InputText(Text):
    """A number that the caller brings per account and requirement node, or its default."""

    about: str
    default: float = 0.0


class RequirementText(Text):
    """Margins of one node, from its components; an account's are the sums over its nodes."""

    node: Name
    let: dict[Name, Formula] = Field(default_factory=dict)
    initial: Formula
    maintenance: Formula
    round_initial: RoundText | None = None
    round_maintenance: RoundText | None = None


class CollateralText(Text):
    """An asset that counts as collateral; a debt is never haircut.

    Several rows of an asset are its history: each counts from its `effective` day, one without a
    day since ever. Where the market has no index of the asset, that of the asset `of` prices it.
    """

    asset: str
    haircut: float = Field(ge=0.0, le=1.0)
    price: Literal["index", "par"] = "index"
    of: str | None = None
    effective: date | None = None
    source: str = ""


class RulebookText(Text):
    """A whole rulebook."""

    version: Literal[1] = Field(alias="schema")
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]
    title: str
    venue: str
    summary: str = ""
    sources: list[str] = Field(min_length=1)
    notes: list[str] = Field(default_factory=list)
    unset: dict[str, str] = Field(default_factory=dict)
    parameters: dict[Name, float] = Field(default_factory=dict)
    tables: dict[Name, TableText] = Field(default_factory=dict)
    vols: dict[Name, VolText] = Field(default_factory=dict)
    scenarios: dict[Name, ScenarioText] = Field(default_factory=dict)
    nodes: dict[Name, NodeText] = Field(min_length=1)
    inputs: dict[Name, InputText] = Field(default_factory=dict)
    scans: dict[Name, ScanText] = Field(default_factory=dict)
    sums: dict[Name, SumText] = Field(default_factory=dict)
    charges: dict[Name, ChargeText] = Field(default_factory=dict)
    requirement: RequirementText
    collateral: list[CollateralText] = Field(min_length=1)
    haircut_on: Literal["equity", "initial"] = "equity"
    engine: EngineText = EngineText()
    liquidation: LiquidationText = LiquidationText()

    @model_validator(mode="after")
    def _no_columns(self) -> Self:
        """Columns are of rulebooks of formulas."""
        if self.engine.kept_orders is not None:
            raise ValueError("engine.kept_orders: expected a rulebook of formulas (schema 2)")
        return self
