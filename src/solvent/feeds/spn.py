"""SPAN risk parameters: a clearing house's daily `.spn` file (XML, format 4.00).

A file gives each contract its 16 losses of one long unit, its composite delta and its price, and
each combined commodity its spreads and the minimum of a short option. `SpanFile.sheet` margins a
portfolio by them under the rulebook `span`: nothing is priced again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from solvent.errors import BadInput, Problem, Reject, RulebookError
from solvent.feeds.library import load_rulebook
from solvent.feeds.xml import elements, text
from solvent.margining.levels.rows import Sheet
from solvent.margining.levels.rulebook import in_force
from solvent.margining.levels.text import LegText, LevelsText, SpreadSide, SpreadText

SCENARIOS = 16
MOVES = tuple(x / 3 for x in (0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3))
"""Moves of the first 14 scenarios in price scan ranges."""
EXTREME = 2.0
"""Move of the last two, in price scan ranges; their cover fraction is in the arrays already."""
_RIGHTS = {"C": "call", "P": "put"}
_KINDS = {"futPf": "future", "oopPf": "option", "phyPf": "physical"}
_TAGS = frozenset({"date", "pointDef", "ccDef", "interSpreads", *_KINDS})
_METHODS = ("F", "P", "W")
"""Ways to charge a spread: money per spread (F; P, by month, in the same way), or a share of the
weighted price risk (W), which is a credit between commodities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanContract:
    """A contract of a file; money is in the file's currency.

    Attributes:
        commodity: code of its combined commodity. kind: future, option or physical.
        expiry: YYYYMMDD as the file has it. right: call, put, or nothing.
        price: per unit. value_factor: money per unit of price.
        losses: of one long unit by scenario; a loss is positive. delta: composite, per unit.
        delta_scale: what its delta is multiplied by inside its commodity.
    """

    commodity: str
    kind: str
    expiry: str
    right: str
    strike: float
    price: float
    value_factor: float
    losses: tuple[float, ...]
    delta: float
    delta_scale: float = 1.0

    @property
    def symbol(self) -> str:
        """`NIFTY-20260630` of a future, `NIFTY-20260630-24000-C` of an option."""
        parts = [self.commodity, self.expiry]
        if self.right:
            parts += [f"{self.strike:g}", self.right[0].upper()]
        return "-".join(parts)

    def row(self) -> dict[str, Any]:
        """Keys and facts as the rulebook reads them: dollars stand for the file's currency."""
        value = self.price * self.value_factor
        option = self.kind == "option"
        return {
            "instrument": self.symbol, "underlying": self.commodity, "settlement": "USD",
            "expiry": self.expiry, "strike": self.strike, "kind": self.kind, "right": self.right,
            "is_option": int(option), "settlement_price": 1, "value": value if option else 0,
            "worth": value, "composite_delta": self.delta, "delta_scale": self.delta_scale,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanCommodity:
    """A combined commodity: `minimum` is money per unit of short option; spreads in their order."""

    code: str
    currency: str = ""
    minimum: float = 0.0
    calendar: tuple[SpreadText, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFile:
    """Everything of a file that a margin needs; contracts by symbol, commodities by code."""

    source: str
    contracts: Mapping[str, SpanContract]
    commodities: Mapping[str, SpanCommodity]
    products: tuple[SpreadText, ...] = ()
    business_date: str = ""
    extreme: float = EXTREME

    def sheet(
        self,
        sizes: Mapping[str, float],
        *,
        rulebook: str | Path = "span",
        parameters: Mapping[str, float] | None = None,
    ) -> Sheet:
        """The margin of signed units by symbol, column by column, on the file's day.

        `rulebook` is a name or a path. Raises BadInput for a contract that is not of the file.
        """
        written = load_rulebook(rulebook)
        if not isinstance(written, LevelsText):
            raise RulebookError(f"{rulebook}: no rulebook of formulas at levels")
        day = self.business_date
        in_use = in_force(written, date.fromisoformat(day) if day else date.max)
        told = self._told(sizes)
        return Sheet(
            in_use.form,
            {level: told[level] for level in ("instrument", "position")},
            parameters=parameters,
            tables={**in_use.tables, **told["tables"]},
            scenarios=told["scenarios"],
            spreads={**in_use.spreads, **told["spreads"]},
        )

    def _told(self, sizes: Mapping[str, float]) -> dict[str, Any]:
        for symbol in sizes:
            if symbol not in self.contracts:
                raise BadInput(
                    Problem(
                        code=Reject.SYMBOL_UNKNOWN, source=self.source,
                        expected="a contract of the file", found=symbol,
                    )
                )  # fmt: skip
        held = {symbol: self.contracts[symbol] for symbol in sizes}
        codes = sorted({one.commodity for one in held.values()})
        known = {code: self.commodities.get(code, SpanCommodity(code=code)) for code in codes}
        moves = (*MOVES, self.extreme, -self.extreme)
        return {
            "instrument": [{**one.row(), "instrument": symbol} for symbol, one in held.items()],
            "position": [
                {"instrument": symbol, "size": size, "entry_worth": held[symbol].row()["worth"]}
                for symbol, size in sizes.items()
            ],
            "tables": {
                "product": {
                    code: {"minimum": one.minimum, "minimum_share": 0}
                    for code, one in known.items()
                }
            },
            "scenarios": {
                "scan": {
                    "pnl": {
                        symbol: tuple(-loss for loss in one.losses) for symbol, one in held.items()
                    },
                    "move": dict.fromkeys(codes, moves),
                }
            },
            "spreads": {
                "calendar": [spread for one in known.values() for spread in one.calendar],
                "products": list(self.products),
            },
        }


def read_spn(path: str | Path) -> SpanFile:
    """Read a file. Raises BadInput naming the element that cannot be read."""
    reading = _Reading(str(path))
    for element in elements(path, _TAGS):
        if element.tag == "date":
            reading.business_date = reading.business_date or _day(element)
        elif element.tag == "pointDef":
            reading.points(element)
        elif element.tag in _KINDS:
            reading.portfolio(element)
        else:
            reading.definitions.append(element)
    if not reading.contracts:
        raise reading.bad(Reject.SOURCE_EMPTY, "contracts with risk arrays", "none")
    return reading.settled()


def _day(element: Element) -> str:
    """YYYYMMDD, or nothing for what is no day."""
    said = (element.text or "").strip()[:8]
    try:
        return f"{date.fromisoformat(said):%Y%m%d}" if said.isdigit() else ""
    except ValueError:
        return ""


@dataclass(slots=True)
class _Reading:
    """A file while it is read: definitions wait for the contracts that they speak of."""

    source: str
    contracts: list[tuple[str, SpanContract]] = field(default_factory=list)
    definitions: list[Element] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    expiries: dict[str, set[str]] = field(default_factory=dict)
    business_date: str = ""
    extreme: float = EXTREME

    def bad(self, code: Reject, expected: str, found: str, name: str | None = None) -> BadInput:
        problem = Problem(code=code, source=self.source, field=name, expected=expected, found=found)
        return BadInput(problem)

    def number(self, element: Element, tag: str, default: float | None = None) -> float:
        said = text(element, tag)
        if not said and default is not None:
            return default
        try:
            number = float(said)
        except ValueError as fault:
            expected = f"a number in <{element.tag}>"
            raise self.bad(Reject.FIELD_NOT_A_NUMBER, expected, repr(said), tag) from fault
        if not math.isfinite(number):
            raise self.bad(Reject.FIELD_NOT_FINITE, "a finite number", said, tag)
        return number

    def points(self, element: Element) -> None:
        """The extreme move in ranges, where the file tells its scenarios."""
        for point in element.iter("scanPointDef"):
            if text(point, "point") == str(SCENARIOS - 1):
                self.extreme = self.number(point, "priceScanDef/mult", EXTREME)

    def portfolio(self, element: Element) -> None:
        """Contracts of one portfolio; those of a series take from it what they do not say."""
        kind, code = _KINDS[element.tag], text(element, "pfCode")
        of_all = self.number(element, "cvf", 1.0)
        for parent in (element, *element.findall("series")):
            factor = self.number(parent, "cvf", of_all)
            for contract in (
                *parent.findall("fut"),
                *parent.findall("opt"),
                *parent.findall("phy"),
            ):
                array = contract.find("ra")
                if array is None:
                    continue
                price, value_factor = self.worth(contract, factor)
                one = SpanContract(
                    commodity=code,
                    kind=kind,
                    expiry=text(contract, "pe") or text(parent, "pe"),
                    right=self.right(contract) if kind == "option" else "",
                    strike=self.number(contract, "k") if kind == "option" else 0.0,
                    price=price,
                    value_factor=value_factor,
                    losses=self.losses(array),
                    delta=self.number(array, "d"),
                    delta_scale=self.number(contract, "sc", self.number(parent, "sc", 1.0)),
                )
                self.contracts.append((text(element, "pfId"), one))

    def worth(self, contract: Element, factor: float) -> tuple[float, float]:
        """Price, and money per unit of it."""
        price, factor = self.number(contract, "p"), self.number(contract, "cvf", factor)
        if not math.isfinite(price * factor):
            expected, found = "a price times a factor within float64", f"{price:g} and {factor:g}"
            raise self.bad(Reject.EXACT_RANGE_EXCEEDED, expected, found, "p")
        return price, factor

    def right(self, option: Element) -> str:
        said = text(option, "o")
        if said not in _RIGHTS:
            raise self.bad(Reject.ROW_MALFORMED, "C or P", repr(said), "o")
        return _RIGHTS[said]

    def losses(self, array: Element) -> tuple[float, ...]:
        said = [cell.text or "" for cell in array.findall("a")]
        if len(said) != SCENARIOS:
            raise self.bad(Reject.ROW_MALFORMED, f"{SCENARIOS} values", str(len(said)), "ra")
        try:
            values = tuple(map(float, said))
        except ValueError as fault:
            raise self.bad(Reject.FIELD_NOT_A_NUMBER, "numbers", str(fault), "a") from fault
        if not all(map(math.isfinite, values)):
            raise self.bad(Reject.FIELD_NOT_FINITE, "finite numbers", ", ".join(said), "a")
        return values

    def settled(self) -> SpanFile:
        """Portfolios joined to their commodities, and spreads to the months that exist."""
        commodities = [one for one in self.definitions if one.tag == "ccDef"]
        for one in commodities:
            links = {text(link, "pfId"): text(one, "cc") for link in one.findall("pfLink")}
            self.links |= links
        contracts = [
            replace(one, commodity=self.links.get(portfolio, one.commodity))
            for portfolio, one in self.contracts
        ]
        for contract in contracts:
            self.expiries.setdefault(contract.commodity, set()).add(contract.expiry)
        spreads = [spread for one in self.definitions for spread in self.spreads(one)]
        return SpanFile(
            source=self.source,
            contracts={one.symbol: one for one in contracts},
            commodities={
                text(one, "cc"): SpanCommodity(
                    code=text(one, "cc"),
                    currency=text(one, "currency"),
                    minimum=self.minimum(one),
                    calendar=tuple(made for code, made in spreads if code == text(one, "cc")),
                )
                for one in commodities
            },
            products=tuple(made for code, made in spreads if not code),
            business_date=self.business_date,
            extreme=self.extreme,
        )

    def minimum(self, commodity: Element) -> float:
        """The last rate that is not 0 among the tiers of the short option minimum."""
        rates = (self.number(one, "val", 0.0) for one in commodity.findall("somTiers/tier/rate"))
        return next((rate for rate in reversed(list(rates)) if rate), 0.0)

    def spreads(self, definition: Element) -> Iterator[tuple[str, SpreadText]]:
        """Spreads in the order of their priority; those between commodities have no code."""
        tiers = {
            (text(definition, "cc"), text(tier, "tn")): (text(tier, "sPe"), text(tier, "ePe"))
            for tier in definition.findall("intraTiers/tier")
        }
        rank = [(self.number(one, "spread", 0.0), one) for one in definition.findall("dSpread")]
        for _, one in sorted(rank, key=lambda pair: pair[0]):
            method = text(one, "chargeMeth", "F")
            if method not in _METHODS or one.find("sLeg") is not None:
                expected = "a spread of deltas by method F, P or W"
                raise self.bad(Reject.ROW_MALFORMED, expected, method, "dSpread")
            within = definition.tag == "ccDef" and method != "W"
            rate = self.number(one, "rate/val", 0.0)
            try:
                legs = [self.leg(leg, tiers, within) for leg in one if leg.tag in ("pLeg", "tLeg")]
                made = SpreadText(rate=rate, legs=legs)
            except ValueError as fault:
                expected = "legs on side A and side B, of ratios above 0"
                found = " ".join(str(fault).split())
                raise self.bad(Reject.ROW_MALFORMED, expected, found, "dSpread") from fault
            yield (text(definition, "cc") if within else "", made)

    def leg(
        self, leg: Element, tiers: Mapping[tuple[str, str], tuple[str, str]], within: bool
    ) -> LegText:
        code = text(leg, "cc")
        keys: dict[Any, Any] = {"underlying": code}
        if within and leg.tag == "pLeg":
            keys["expiry"] = text(leg, "pe")
        elif within:
            first, last = tiers.get((code, text(leg, "tn")), ("", ""))
            months = self.expiries.get(code, set())
            keys["expiry"] = sorted(
                one for one in months
                if first <= one[: len(first)] and (not last or one[: len(last)] <= last)
            )  # fmt: skip
        side: SpreadSide = "B" if text(leg, "rs") == "B" else "A"
        return LegText(side=side, ratio=self.number(leg, "i", 1.0), keys=keys)
