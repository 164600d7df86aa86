"""How indices, redemption values and funding rates are made, as a TOML file: its tables to rules.

`[index.NAME]`, `[mark.NAME]`, `[redemption.ASSET]` and `[funding.VENUE]`; an unknown key is an
error. Every table says in `source` where its numbers are from.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from solvent.errors import BadInput, InvariantBroken, Problem, Reject
from solvent.limits import PROBLEMS_MAX
from solvent.margining.rulebook import line_of
from solvent.market.depeg import PegRule
from solvent.market.funding import EIGHT_HOURS_MS, Averaging, Form, FundingRule
from solvent.market.index import How, IndexRule, Weighing
from solvent.market.mark import MarkRule, OptionMarks
from solvent.market.oracles import PPM, SourceRule
from solvent.market.redemption import RedemptionRule, Worth

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Whole = Annotated[int, Field(ge=0, le=10**12, strict=True)]
Share = Annotated[int, Field(ge=0, le=PPM, strict=True)]
Rate = Annotated[Decimal, Field(ge=-1, le=1)]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Sourced(Generic[R]):
    """A rule, where its numbers are from, and which of them are from memory."""

    rule: R
    source: str
    recalled: tuple[str, ...]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    source: Name | Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
    recalled: list[Name] = Field(default_factory=list, max_length=64)

    def told(self) -> dict[str, Any]:
        """What is told of the rule itself."""
        return {name: getattr(self, name) for name in self.model_fields_set
                if name not in ("source", "recalled")}  # fmt: skip


class _Funding(_Table):
    interval_ms: Annotated[int, Field(gt=0, strict=True)]
    basis_ms: Annotated[int, Field(gt=0, strict=True)] = EIGHT_HOURS_MS
    form: Form = Form.DAMPED
    averaging: Averaging = Averaging.MEAN
    interest: Rate = Decimal(0)
    dampener: Rate = Decimal(0)
    cap: Rate | None = None
    floor: Rate | None = None
    capped_ms: Annotated[int, Field(gt=0, strict=True)] = EIGHT_HOURS_MS


class _Index(_Table):
    underlying: Name
    weights: dict[Name, Annotated[int, Field(gt=0, le=10**9, strict=True)]]
    clamp_ppm: Share
    quorum: Whole
    tolerated: Whole = 0
    leapers: Whole = 0
    how: How = How.MEDIAN
    weighing: Weighing = Weighing.FIXED
    weight_max_ppm: Share = PPM
    confirm_ms: Whole = 0
    stale_ms: Whole = 0
    ahead_ms: Whole = 0
    frozen_ms: Whole = 0
    confidence_ppm: Share = 0
    turn_ppm: Share = 0
    turns_max: Whole = 0
    turns_ms: Whole = 0
    leap_ppm: Share = 0
    speed_ppm: Share = 0
    loss_ppm: Share = 0
    recover_ms: Whole = 0
    silent_ppm: Share = 0
    heard_ppm: Share = 0


class _Mark(_Table):
    stale_ms: Whole
    perpetual_ppm: Share
    dated_ppm: Share
    yearly_ppm: Whole
    basis_ms: Whole
    options: OptionMarks


class _Peg(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    leave_ppm: Share
    return_ppm: Share
    lost_ms: Whole
    held_ms: Whole


class _Redemption(_Table):
    underlying: Annotated[str, StringConstraints(max_length=64)]
    worth: Worth
    lost: Worth
    peg: _Peg
    below_ppm: Share = 0
    above_ppm: Share = 0
    floor_ppm: Share = 0
    stale_ms: Whole = 86_400_000


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    index: dict[Name, _Index] = Field(default_factory=dict)
    mark: dict[Name, _Mark] = Field(default_factory=dict)
    redemption: dict[Name, _Redemption] = Field(default_factory=dict)
    funding: dict[Name, _Funding] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRules:
    """All rules of a file, by name, asset and venue."""

    indices: dict[str, Sourced[IndexRule]]
    marks: dict[str, Sourced[MarkRule]]
    redemptions: dict[str, Sourced[RedemptionRule]]
    fundings: dict[str, Sourced[FundingRule]]


def read_market_rules(path: str | Path) -> MarketRules:
    """The rules of a file. Raises BadInput that names the key and what was expected."""
    source = str(path)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise _bad(source, "a readable TOML file", str(fault), Reject.SOURCE_UNREADABLE) from fault
    return parse_market_rules(text, source=source)


def parse_market_rules(toml: str, *, source: str) -> MarketRules:
    """The same from text.

    >>> text = '[funding.mine]\\nsource = "here"\\ninterval_ms = 1000\\ninterest = 0.1'
    >>> parse_market_rules(text, source="text").fundings["mine"].rule.interest
    Fraction(1, 10)
    """
    try:
        told = _File.model_validate(tomllib.loads(toml, parse_float=Decimal))
    except tomllib.TOMLDecodeError as fault:
        raise _bad(source, "TOML", str(fault), Reject.SOURCE_UNREADABLE) from fault
    except ValidationError as fault:
        raise BadInput(*_problems(fault, toml, source)) from fault
    return MarketRules(
        indices={name: _ruled(one, _index(one), f"index.{name}", source)
                 for name, one in told.index.items()},
        marks={name: _ruled(one, partial(MarkRule, **one.told()), f"mark.{name}", source)
               for name, one in told.mark.items()},
        redemptions={name: _ruled(one, _redemption(name, one), f"redemption.{name}", source)
                     for name, one in told.redemption.items()},
        fundings={name: _ruled(one, _funding(one), f"funding.{name}", source)
                  for name, one in told.funding.items()},
    )  # fmt: skip


def _ruled(told: _Table, make: Any, where: str, source: str) -> Sourced[Any]:
    try:
        rule = make()
    except InvariantBroken as fault:
        raise _bad(source, f"a rule that can be safe: {fault}", where, Reject.INPUT_INVALID) from (
            fault
        )
    return Sourced(rule, told.source, tuple(told.recalled))


def _index(told: _Index) -> Any:
    """What a table does not tell of its sources is as `SourceRule` has it."""
    fields = told.told()
    of_sources = {name: fields.pop(name) for name in list(fields)
                  if name in SourceRule.__dataclass_fields__}  # fmt: skip
    return lambda: IndexRule(**fields, source=SourceRule(**of_sources))


def _redemption(asset: str, told: _Redemption) -> Any:
    fields = {name: one for name, one in told.told().items() if name != "peg"}
    return lambda: RedemptionRule(asset=asset, peg=PegRule(**told.peg.model_dump()), **fields)


def _funding(told: _Funding) -> Any:
    fields: dict[str, Any] = {
        name: Fraction(one) if isinstance(one, Decimal) else one
        for name, one in told.told().items()
    }
    return lambda: FundingRule(**fields)


def _bad(source: str, expected: str, found: str, code: Reject) -> BadInput:
    return BadInput(Problem(code=code, source=source, expected=expected, found=found[:160]))


def _problems(fault: ValidationError, toml: str, source: str) -> list[Problem]:
    problems = []
    for error in fault.errors(include_url=False)[:PROBLEMS_MAX]:
        path = ".".join(map(str, error["loc"]))
        missing = error["type"] == "missing"
        problems.append(
            Problem(
                code=Reject.FIELD_MISSING if missing else Reject.INPUT_INVALID,
                source=source, field=path or None, line=line_of(toml, path) if path else None,
                expected=error["msg"],
                found="nothing" if missing or not path else repr(error["input"])[:160],
            )
        )  # fmt: skip
    return problems


# ── what ships ───────────────────────────────────────────────────────────────────────────────────


@cache
def shipped_market_rules() -> MarketRules:
    """The rules that ship with Solvent."""
    source = files("solvent") / "venues" / "market_rules.toml"
    return parse_market_rules(source.read_text("utf-8"), source="market_rules.toml")


def funding_rules() -> dict[str, Sourced[FundingRule]]:
    """Venue → how it makes a funding rate.

    >>> "deribit" in funding_rules()
    True
    """
    return shipped_market_rules().fundings


def funding_rule(venue: str) -> FundingRule:
    """How a venue makes a funding rate. Raises BadInput for one of which nothing ships."""
    return _named(funding_rules(), venue, "funding").rule


def index_rule(name: str) -> IndexRule:
    """A shipped index rule by its name. Raises BadInput for one that does not exist."""
    return _named(shipped_market_rules().indices, name, "index").rule


def mark_rule(name: str) -> MarkRule:
    """A shipped rule of marks by its name. Raises BadInput for one that does not exist."""
    return _named(shipped_market_rules().marks, name, "mark").rule


def redemption_rule(asset: str) -> RedemptionRule:
    """A shipped redemption rule by its asset. Raises BadInput for one that does not exist."""
    return _named(shipped_market_rules().redemptions, asset, "redemption").rule


def _named(rules: dict[str, Sourced[R]], name: str, kind: str) -> Sourced[R]:
    if name not in rules:
        raise _bad("market_rules.toml", f"one of {', '.join(rules)}", f"{kind}.{name}",
                   Reject.INPUT_INVALID)  # fmt: skip
    return rules[name]
