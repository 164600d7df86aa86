"""A lender's counterparties, agreements and lines as a TOML file (`docs/credit.md`).

Amounts are dollars with up to six decimals; inside they are millionths. Whatever is wrong is named
with its field and line, all of it at once, and nothing is made of a file that has a fault.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
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

from solvent.credit.agreement import Agreement, Counterparty, Register, register
from solvent.credit.csa import Terms
from solvent.credit.lines import Limits, Policy
from solvent.credit.quality import RATINGS, Quality, rated
from solvent.credit.states import Clock
from solvent.errors import BadInput, Problem, Reject
from solvent.limits import MONEY_MAX, PROBLEMS_MAX
from solvent.margining.rulebook import line_of
from solvent.units import DAY_MS, MICRO, MINUTE_MS, Micro, TimeMs

COUNTERPARTIES_MAX = 1_000
HOUR_MS = 60 * MINUTE_MS
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]*$")
]
Dollars = Annotated[
    Decimal, Field(ge=0, le=MONEY_MAX // (COUNTERPARTIES_MAX * MICRO), decimal_places=6)
]
Share = Annotated[Decimal, Field(ge=0, le=1, max_digits=12)]
Units = Annotated[Decimal, Field(ge=0, le=10**12)]
Hours = Annotated[Decimal, Field(ge=0, le=24 * 3_650)]


class Text(BaseModel):
    """A part of the file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PolicyText(Text):
    """How lines follow from quality, and how fast they are withdrawn."""

    appetite: Dollars
    cap: Dollars
    assets_share: Share = Decimal("0.1")
    step: Annotated[Dollars, Field(gt=0)] = Decimal(1_000)
    notice_hours: Hours = Decimal(24)
    over_hours: Hours = Decimal(48)
    steps: Annotated[int, Field(ge=1, le=1_000)] = 4


class LimitsText(Text):
    """What is limited beside the line; what is not told is not limited."""

    gross: Dollars | None = None
    net: Dollars | None = None
    tenor_days: Annotated[Decimal, Field(gt=0, le=36_500)] | None = None
    concentration: Share | None = None
    utilisation: Annotated[Share, Field(gt=0)] = Decimal(1)


class TermsText(Text):
    """An annex and its deadlines; what an agreement does not tell, the file's `[terms]` does."""

    netting: bool = True
    threshold: Dollars = Decimal(0)
    thresholds: dict[str, Dollars] = Field(default_factory=dict)
    independent_amount: Dollars = Decimal(0)
    minimum_transfer: Dollars = Decimal(0)
    rounding: Annotated[Dollars, Field(gt=0)] = Decimal("0.000001")
    warn_at: Annotated[Share, Field(gt=0)] = Decimal("0.8")
    due_hours: Annotated[Hours, Field(gt=0)] = Decimal(12)
    cure_hours: Hours = Decimal(12)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if strange := sorted(set(self.thresholds) - set(RATINGS)):
            raise ValueError(f"thresholds are by rating, one of {', '.join(RATINGS)}: {strange}")
        return self


class AgreementText(TermsText):
    """An agreement: the accounts under it, and its own terms."""

    name: Name
    counterparty: Name
    accounts: list[Name] = Field(min_length=1, max_length=100)
    underlyings: list[Name] = Field(default_factory=list)
    limits: LimitsText | None = None


class CounterpartyText(Text):
    """Who is lent to: a rating, or probabilities of default of its own by years."""

    name: Name
    rating: str | None = None
    pd: dict[str, Share] | None = None
    lgd: Share = Decimal("0.6")
    correlation: Annotated[Decimal, Field(gt=-1, lt=1)] = Decimal("0.2")
    net_assets: Dollars
    line: Dollars | None = None
    outside: Dollars = Decimal(0)
    """Money that it has elsewhere, from which it meets calls while it lasts."""
    pays_after_hours: Hours = Decimal(0)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.rating is None) == (self.pd is None):
            raise ValueError("a counterparty has a `rating`, or `pd` of its own, and not both")
        if self.rating is not None and self.rating not in RATINGS:
            raise ValueError(f"a rating is one of {', '.join(RATINGS)}, not {self.rating!r}")
        if self.pd is not None:
            _curve(self.pd)
        return self


class AccountText(Text):
    """What an account owns and holds at the beginning: units of assets, signed sizes."""

    name: Name
    money: dict[Name, Units] = Field(default_factory=dict)
    positions: dict[Name, Annotated[Decimal, Field(ge=-(10**12), le=10**12)]] = Field(
        default_factory=dict
    )


class MemberText(Text):
    """The lender: what its house account owns, and what stands behind its counterparties' debts."""

    name: Name = "member"
    money: dict[Name, Units]
    fund: dict[Name, Units] = Field(default_factory=dict)


class DowngradeText(Text):
    """A rating that changes at a moment."""

    counterparty: Name
    at: datetime
    rating: str

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.rating not in RATINGS:
            raise ValueError(f"a rating is one of {', '.join(RATINGS)}, not {self.rating!r}")
        return self


class ExposureText(Text):
    """How markets are drawn for exposure."""

    seed: Annotated[int, Field(ge=0, le=2**31)] = 1
    paths: Annotated[int, Field(ge=2, le=100_000)] = 400
    days: list[Annotated[float, Field(gt=0, le=3_650)]] = Field(
        default=[1.0, 3.0, 7.0, 14.0, 30.0], min_length=1, max_length=64
    )
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.975
    vol_of_vol: Annotated[float, Field(ge=0, le=5)] = 1.0
    skew: Annotated[float, Field(ge=-1, le=1)] = -0.3
    correlation: Annotated[float, Field(gt=-1, lt=1)] = 0.8


class FileText(Text):
    """The whole file."""

    member: MemberText
    policy: PolicyText
    terms: TermsText = TermsText()
    limits: LimitsText = LimitsText()
    exposure: ExposureText = ExposureText()
    counterparty: list[CounterpartyText] = Field(min_length=1, max_length=COUNTERPARTIES_MAX)
    agreement: list[AgreementText] = Field(min_length=1, max_length=COUNTERPARTIES_MAX)
    account: list[AccountText] = Field(default_factory=list)
    downgrade: list[DowngradeText] = Field(default_factory=list)


def _curve(told: dict[str, Decimal]) -> list[tuple[Fraction, Fraction]]:
    """(years, cumulative probability) rising in both; ValueError says what is not."""
    if not told:
        raise ValueError("`pd` has a probability for one horizon or more, found none")
    try:
        found = sorted((Fraction(years), Fraction(pd)) for years, pd in told.items())
    except ValueError as fault:
        raise ValueError(f"`pd` is by years, such as '1': {fault}") from fault
    if found[0][0] <= 0:
        raise ValueError("`pd` is by years above 0")
    if any(a[1] > b[1] for a, b in pairwise(found)):
        raise ValueError("a cumulative probability of default never falls with years")
    return found


# ── inside ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """How a counterparty meets calls: from how much, and how long after."""

    outside_micro: Micro
    after_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Downgrade:
    """A rating from a moment on."""

    time_ms: TimeMs
    counterparty: str
    rating: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditFile:
    """A lender and its counterparties, as a file tells them."""

    source: str
    member: MemberText
    register: Register
    payers: dict[str, Payer]
    accounts: dict[str, AccountText]
    downgrades: tuple[Downgrade, ...]
    exposure: ExposureText


def read_credit(path: str | Path) -> CreditFile:
    """Read and check a file. Raises BadInput naming file, field and line."""
    source = str(path)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise BadInput(
            Problem(code=Reject.SOURCE_UNREADABLE, source=source, expected="a readable TOML file",
                    found=f"{type(fault).__name__}: {fault}"[:160])
        ) from fault  # fmt: skip
    return parse_credit(text, source=source)


def parse_credit(toml: str, *, source: str) -> CreditFile:
    """The same from text."""
    try:
        content = tomllib.loads(toml, parse_float=Decimal)
    except tomllib.TOMLDecodeError as fault:
        raise BadInput(
            Problem(code=Reject.SOURCE_UNREADABLE, source=source, expected="TOML",
                    found=str(fault)[:160])
        ) from fault  # fmt: skip
    try:
        told = FileText.model_validate(_floats(content))
    except ValidationError as fault:
        raise BadInput(*_problems(fault, toml, source)) from fault
    names = {one.name for one in told.counterparty}
    known = {account for one in told.agreement for account in one.accounts}
    if faults := list(_strangers(told, names, known, source)):
        raise BadInput(*faults)
    return CreditFile(
        source=source,
        member=told.member,
        register=_register(told, source),
        payers={
            one.name: Payer(
                outside_micro=_micro(one.outside), after_ms=_hours(one.pays_after_hours)
            )
            for one in told.counterparty
        },
        accounts={one.name: one for one in told.account},
        downgrades=tuple(
            sorted(
                (_downgrade(one) for one in told.downgrade),
                key=lambda one: (one.time_ms, one.counterparty),
            )
        ),
        exposure=told.exposure,
    )


def _floats(content: dict[str, Any]) -> dict[str, Any]:
    """`[exposure]` is statistics: its numbers are floats."""
    part = content.get("exposure")
    if not isinstance(part, dict):
        return content

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(one) for one in value]
        return float(value) if isinstance(value, Decimal) else value

    return {**content, "exposure": {name: plain(value) for name, value in part.items()}}


def _strangers(
    told: FileText, names: set[str], accounts: set[str], source: str
) -> Iterator[Problem]:
    """What names somebody who is not there, or somebody twice."""
    seen: set[str] = set()
    for one in told.account:
        if one.name not in accounts or one.name in seen:
            expected = "an account of one agreement" if one.name not in accounts else "it once"
            yield _stranger(source, "account.name", expected, one.name)
        seen.add(one.name)
    for down in told.downgrade:
        if down.counterparty not in names:
            yield _stranger(source, "downgrade.counterparty", "one that is told", down.counterparty)
    if told.member.name in accounts:
        yield _stranger(source, "member.name", "a name that no account has", told.member.name)


def _stranger(source: str, field: str, expected: str, found: str) -> Problem:
    return Problem(
        code=Reject.INPUT_INVALID, source=source, field=field, expected=expected, found=repr(found)
    )  # fmt: skip


def _register(told: FileText, source: str) -> Register:
    policy = told.policy
    return register(
        Policy(
            appetite_micro=_micro(policy.appetite), cap_micro=_micro(policy.cap),
            assets_share=Fraction(policy.assets_share), step_micro=_micro(policy.step),
            notice_ms=_hours(policy.notice_hours), over_ms=_hours(policy.over_hours),
            steps=policy.steps,
        ),
        [
            Counterparty(
                name=one.name, quality=_quality(one, source),
                net_assets_micro=_micro(one.net_assets),
                line_micro=None if one.line is None else _micro(one.line),
            )
            for one in told.counterparty
        ],
        [_agreement(one, told) for one in told.agreement],
        source=source,
    )  # fmt: skip


def _quality(one: CounterpartyText, source: str) -> Quality:
    lgd, correlation = Fraction(one.lgd), Fraction(one.correlation)
    if one.pd is None:
        return rated(one.rating or "", lgd=lgd, correlation=correlation, source=source)
    curve = _curve(one.pd)
    return Quality(
        rating="", horizons=tuple(years for years, _ in curve), pd=tuple(pd for _, pd in curve),
        lgd=lgd, correlation=correlation,
    )  # fmt: skip


def _agreement(one: AgreementText, told: FileText) -> Agreement:
    said = one.model_fields_set
    terms: Any = {
        name: getattr(one if name in said else told.terms, name) for name in TermsText.model_fields
    }
    limits = told.limits if one.limits is None else one.limits
    return Agreement(
        name=one.name, counterparty=one.counterparty, accounts=tuple(one.accounts),
        underlyings=frozenset(one.underlyings), netting=terms["netting"],
        terms=Terms(
            threshold=_micro(terms["threshold"]), independent=_micro(terms["independent_amount"]),
            minimum_transfer=_micro(terms["minimum_transfer"]), rounding=_micro(terms["rounding"]),
        ),
        thresholds={rating: _micro(amount) for rating, amount in terms["thresholds"].items()},
        limits=_limits(limits),
        clock=Clock(due_ms=_hours(terms["due_hours"]), cure_ms=_hours(terms["cure_hours"]),
                    warn_at=Fraction(terms["warn_at"])),
    )  # fmt: skip


def _limits(told: LimitsText) -> Limits:
    tenor = told.tenor_days
    share = told.concentration
    return Limits(
        gross_micro=None if told.gross is None else _micro(told.gross),
        net_micro=None if told.net is None else _micro(told.net),
        tenor_ms=None if tenor is None else int(tenor * DAY_MS),
        concentration=None if share is None else Fraction(share),
        utilisation=Fraction(told.utilisation),
    )


def _downgrade(one: DowngradeText) -> Downgrade:
    at = one.at if one.at.tzinfo is not None else one.at.replace(tzinfo=UTC)
    return Downgrade(
        time_ms=TimeMs(round(at.timestamp() * 1_000)), counterparty=one.counterparty,
        rating=one.rating,
    )  # fmt: skip


def _micro(dollars: Decimal) -> Micro:
    return Micro(int(dollars * MICRO))


def _hours(hours: Decimal) -> int:
    return int(hours * HOUR_MS)


def _problems(fault: ValidationError, toml: str, source: str) -> list[Problem]:
    problems = []
    for error in fault.errors(include_url=False)[:PROBLEMS_MAX]:
        path = ".".join(map(str, error["loc"]))
        missing = error["type"] == "missing"
        shown = error["input"]
        found = "nothing" if missing else str(shown) if isinstance(shown, Decimal) else repr(shown)
        problems.append(
            Problem(
                code=Reject.FIELD_MISSING if missing else Reject.INPUT_INVALID, source=source,
                field=path or None, line=line_of(toml, path) if path else None,
                expected=error["msg"].removeprefix("Value error, "), found=found[:80],
            )
        )  # fmt: skip
    return problems
