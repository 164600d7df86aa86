"""A clearing house as a TOML file: members, what each has put up, and stress scenarios.

Amounts are dollars with up to six decimals; inside they are millionths.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from solvent.errors import BadInput, Problem, Reject
from solvent.limits import MONEY_MAX, PROBLEMS_MAX
from solvent.liquidation.defaults import over_margin
from solvent.liquidation.waterfall import ORDER, ClearingHouse, Default, Layer, Member
from solvent.margining.rulebook import line_of
from solvent.units import MICRO

_MEMBERS_MAX = 10_000
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
Dollars = Annotated[Decimal, Field(ge=0, le=MONEY_MAX // (_MEMBERS_MAX * MICRO), decimal_places=6)]
"""Sums over all members fit the limit of money as well."""


class Text(BaseModel):
    """A part of the file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ClientText(Text):
    """A client of a member: its margin is segregated."""

    name: Name
    margin: Dollars


class MemberText(Text):
    """A member: the margin of its house account, and its contribution to the default fund."""

    name: Name
    margin: Dollars
    contribution: Dollars
    client: list[ClientText] = Field(default_factory=list, max_length=_MEMBERS_MAX)


class HouseText(Text):
    """The clearing house's own money and rules."""

    name: Name
    skin: Dollars = Decimal(0)
    second_skin: Dollars = Decimal(0)
    assessment_multiple: Annotated[Decimal, Field(ge=0, le=100)] = Decimal(0)
    gains_share: Annotated[Decimal, Field(ge=0, le=1)] = Decimal(1)
    cover: Annotated[int, Field(ge=1, le=100)] = 2
    order: list[Layer] = Field(default=list(ORDER), min_length=1)

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.order)) < len(self.order):
            raise ValueError("a layer stands once in the order")
        return self


class ScenarioText(Text):
    """What closing each account's book would lose, beyond nothing and before its margin."""

    name: Name
    losses: dict[Name, Dollars] = Field(default_factory=dict)
    """By member, of its house account."""
    client_losses: dict[Name, Dollars] = Field(default_factory=dict)
    gains: dict[Name, Dollars] = Field(default_factory=dict)
    """Variation margin gains of members."""
    claims: dict[Name, Dollars] = Field(default_factory=dict)
    """What members would be owed from contracts that are torn up."""
    defaulters: list[Name] | None = None
    """Who defaults; else the largest losses over margin, as many as `cover` says."""
    juniors: list[list[Name]] = Field(default_factory=list)
    """Groups of members whose contributions go first, as an auction's bids have it."""
    sizes_fund: bool = True
    """Whether the default fund is to outlast it; false for what is beyond plausible."""


class FileText(Text):
    """The whole file."""

    house: HouseText
    member: Annotated[list[MemberText], Field(min_length=1, max_length=_MEMBERS_MAX)]
    scenario: Annotated[list[ScenarioText], Field(min_length=1, max_length=1_000)]

    @model_validator(mode="after")
    def _known(self) -> Self:
        members = [one.name for one in self.member]
        clients = [client.name for one in self.member for client in one.client]
        for what, names in (("member", members), ("client", clients),
                            ("scenario", [one.name for one in self.scenario])):  # fmt: skip
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise ValueError(f"{what}s have names of their own, found twice: {sorted(twice)}")
        if not any(row.sizes_fund for row in self.scenario):
            raise ValueError("a scenario sizes the fund")
        for row in self.scenario:
            for field, told, known in _names_of(row, members, clients):
                if unknown := sorted(set(told) - set(known)):
                    raise ValueError(f"scenario {row.name!r}, {field}: nobody is called {unknown}")
                if len(set(told)) < len(told):
                    raise ValueError(f"scenario {row.name!r}, {field}: a name stands twice")
        return self


def _names_of(
    row: ScenarioText, members: list[str], clients: list[str]
) -> Iterator[tuple[str, list[str], list[str]]]:
    yield "losses", list(row.losses), members
    yield "client_losses", list(row.client_losses), clients
    yield "gains", list(row.gains), members
    yield "claims", list(row.claims), members
    yield "defaulters", row.defaulters or [], members
    yield "juniors", [name for group in row.juniors for name in group], members


# ── inside ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """A scenario: what each member's default would lose, and what others gain. Millionths."""

    name: str
    defaults: dict[str, Default]
    """By member, all of them."""
    over_margin: dict[str, int]
    """What each member's default would lose beyond its margins."""
    gains: dict[str, int]
    claims: dict[str, int]
    juniors: tuple[tuple[str, ...], ...]
    defaulters: tuple[str, ...]
    sizes_fund: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseFile:
    """A clearing house and its scenarios, as a file tells them."""

    name: str
    house: ClearingHouse
    cover: int
    stresses: tuple[Stress, ...]


def read_clearing_house(path: str | Path) -> HouseFile:
    """Read and check a file. Raises BadInput naming file, field and line."""
    source = str(path)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        found = f"{type(fault).__name__}: {fault}"
        raise _bad(source, "a readable TOML file", found, Reject.SOURCE_UNREADABLE) from fault
    return parse_clearing_house(text, source=source)


def parse_clearing_house(toml: str, *, source: str) -> HouseFile:
    """The same from text.

    >>> house = parse_clearing_house('''
    ... house = {name = "H", skin = 5}
    ... member = [{name = "a", margin = 60, contribution = 10.5}]
    ... scenario = [{name = "crash", losses = {a = 70}}]''', source="text")
    >>> house.house.members[0].contribution, house.stresses[0].over_margin
    (10500000, {'a': 10000000})
    """
    try:
        content = tomllib.loads(toml, parse_float=Decimal)
    except tomllib.TOMLDecodeError as fault:
        raise _bad(source, "TOML", str(fault), Reject.SOURCE_UNREADABLE) from fault
    try:
        told = FileText.model_validate(content)
    except ValidationError as fault:
        raise BadInput(*_problems(fault, toml, source)) from fault
    house = _house(told)
    stresses = tuple(_stress(row, house, told.house.cover) for row in told.scenario)
    return HouseFile(name=told.house.name, house=house, cover=told.house.cover, stresses=stresses)


def _bad(source: str, expected: str, found: str, code: Reject) -> BadInput:
    return BadInput(Problem(code=code, source=source, expected=expected, found=found[:160]))


def _problems(fault: ValidationError, toml: str, source: str) -> list[Problem]:
    problems = []
    for error in fault.errors(include_url=False)[:PROBLEMS_MAX]:
        path = ".".join(map(str, error["loc"]))
        missing = error["type"] == "missing"
        found = "nothing" if missing or not path else _shown(error["input"])
        problems.append(
            Problem(
                code=Reject.FIELD_MISSING if missing else Reject.INPUT_INVALID,
                source=source,
                field=path or None,
                line=line_of(toml, path) if path else None,
                expected=error["msg"].removeprefix("Value error, "),
                found=found,
            )
        )
    return problems


def _shown(told: Any) -> str:
    return str(told) if isinstance(told, Decimal) else repr(told)[:80]


def _micro(dollars: Decimal) -> int:
    return int(dollars * MICRO)


def _amounts(told: dict[str, Decimal]) -> dict[str, int]:
    return {name: _micro(amount) for name, amount in told.items()}


def _house(told: FileText) -> ClearingHouse:
    return ClearingHouse(
        members=tuple(
            Member(
                name=one.name,
                margin=_micro(one.margin),
                contribution=_micro(one.contribution),
                clients={client.name: _micro(client.margin) for client in one.client},
            )
            for one in told.member
        ),
        skin=_micro(told.house.skin),
        second_skin=_micro(told.house.second_skin),
        assessment_multiple=Fraction(told.house.assessment_multiple),
        gains_share=Fraction(told.house.gains_share),
        order=tuple(told.house.order),
    )


def _stress(row: ScenarioText, house: ClearingHouse, cover: int) -> Stress:
    losses, clients = _amounts(row.losses), _amounts(row.client_losses)
    defaults = {
        member.name: Default(
            member=member.name,
            loss=losses.get(member.name, 0),
            clients={name: clients[name] for name in member.clients if name in clients},
        )
        for member in house.members
    }
    over = {
        member.name: over_margin(
            defaults[member.name].loss
            + sum(
                over_margin(loss, member.clients[name])
                for name, loss in defaults[member.name].clients.items()
            ),
            member.margin,
        )
        for member in house.members
    }
    worst = sorted((name for name in over if over[name]), key=lambda name: -over[name])
    told = row.defaulters
    return Stress(
        name=row.name,
        defaults=defaults,
        over_margin=over,
        gains=_amounts(row.gains),
        claims=_amounts(row.claims),
        juniors=tuple(tuple(group) for group in row.juniors),
        defaulters=tuple(worst[:cover] if told is None else told),
        sizes_fund=row.sizes_fund,
    )
