"""Worlds in which histories are made up: what is traded there, its prices, its rules, who is there.

A world is a choice out of a seed. Markets and risk arrays are priced once a process, and stamped
with the time at which they are published.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from random import Random
from typing import Final

import numpy as np
from msgspec import structs

from solvent import publishing
from solvent.api import rulebook_in_force
from solvent.feeds.library import rulebook_source, specification
from solvent.instruments import Contract, Instrument, Kind, OptionType, Specification, term_sheet
from solvent.instruments.contract import moment_of
from solvent.instruments.sheet import call_spread, structure
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.market import Quotes, Snapshot, assemble
from solvent.market.moved import moved
from solvent.messages.commands import (
    AdoptRulebook,
    Deposit,
    ListAsset,
    ListInstrument,
    OpenAccount,
    PublishArrays,
    PublishMarket,
)
from solvent.messages.fields import AccountKind, Command, IndexPrice, MarkPrice
from solvent.pricing.black import black76
from solvent.publishing import POINTS_PER_TICK
from solvent.risk import RiskArrays, publish
from solvent.risk.wire import encode_arrays
from solvent.units import DAY_MS, MINUTE_MS, YEAR_MS, TimeMs

START_MS: Final = TimeMs(round(datetime(2026, 7, 1, 7, 30, tzinfo=UTC).timestamp() * 1_000))
"""When every history begins."""
DAY: Final = "2026-07-01"
ACTOR: Final = "sim"
COINS: Final = {"BTC": 64_000.0, "ETH": 1_900.0}
MOVES: Final = (1.0, 0.999, 1.002, 0.97, 1.04, 0.8, 1.3, 0.5, 2.2)
"""Prices over those at the start."""
_LATER: Final = ("BTC_USDC-LATER", "SOL_USDC-PERPETUAL")
"""Contracts that are not listed at the start."""
_HOUR_MS: Final = 60 * MINUTE_MS
_VOL: Final = 0.55


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What is published of a market: index in billionths of a dollar, marks in thousandths of a
    tick."""

    index: dict[str, int]
    marks: dict[str, int]

    def points(self, listing: ListInstrument) -> int:
        """A contract's mark in its own points; 0 for one that this market does not have."""
        return self.marks.get(listing.symbol, 0) * listing.points_per_tick // POINTS_PER_TICK


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where a history takes place.

    Attributes:
        kind: `account` (margin by account) or `contract` (each contract by itself).
        listings: what is listed at the start; later: what may be listed afterwards.
        texts: rulebook → its TOML with this world's `[engine]`; the first is the venue's.
        accounts: names at the start, the last two of them members of the clearing house, the one
            before a backstop account.
        batch: commands that are made up and applied at once.
    """

    kind: str
    assets: tuple[ListAsset, ...]
    listings: tuple[ListInstrument, ...]
    later: tuple[ListInstrument, ...]
    texts: dict[str, str]
    accounts: tuple[str, ...]
    members: tuple[str, ...]
    backstops: tuple[str, ...]
    batch: int
    age_ms_max: int

    @property
    def scope(self) -> str:
        """What is listed at the start, in a word."""
        return "linear" if self.kind == "contract" else "first"

    @property
    def rulebooks(self) -> tuple[str, ...]:
        """Names of its rulebooks, the venue's first."""
        return tuple(self.texts)


# ── the market ───────────────────────────────────────────────────────────────────────────────────


def _instruments(scope: str) -> list[Instrument]:
    """Everything that is traded somewhere: a few of each kind, some of which expire soon.

    `linear` are those futures and perpetuals alone that settle in USDC; with `later` come those
    that are not listed at the start.
    """
    found = _first()
    if "later" in scope:
        found.append(_listed(_LATER[0], "BTC", "USDC", "USDC", Kind.FUTURE, 90 * DAY_MS))
        found.append(_listed(_LATER[1], "SOL", "USDC", "USDC", Kind.PERPETUAL))
    if "linear" in scope:
        found = [one for one in found if one.contract.settlement == "USDC"]
        found = [one for one in found if one.contract.kind in (Kind.PERPETUAL, Kind.FUTURE)]
    return found


def _first() -> list[Instrument]:
    found = [
        _listed("BTC-PERPETUAL", "BTC", "USD", "BTC", Kind.PERPETUAL),
        _listed("ETH-PERPETUAL", "ETH", "USD", "ETH", Kind.PERPETUAL),
        _listed("BTC_USDC-PERPETUAL", "BTC", "USDC", "USDC", Kind.PERPETUAL),
        _listed("ETH_USDC-PERPETUAL", "ETH", "USDC", "USDC", Kind.PERPETUAL),
        _listed("BTC-SOON", "BTC", "USD", "BTC", Kind.FUTURE, 10 * MINUTE_MS),
        _listed("BTC_USDC-SOON", "BTC", "USDC", "USDC", Kind.FUTURE, 30 * MINUTE_MS),
        _listed("ETH-DAY", "ETH", "USD", "ETH", Kind.FUTURE, DAY_MS),
        _listed("BTC_USDC-WEEK", "BTC", "USDC", "USDC", Kind.FUTURE, 7 * DAY_MS),
        _listed("BTC-MONTH", "BTC", "USD", "BTC", Kind.FUTURE, 40 * DAY_MS),
        _listed("BTC-SOON-64000-C", "BTC", "USD", "BTC", Kind.OPTION, 10 * MINUTE_MS, 64_000),
        _listed("BTC-MONTH-60000-P", "BTC", "USD", "BTC", Kind.OPTION, 40 * DAY_MS, -60_000),
        _listed("BTC_USDC-HOUR-64000-P", "BTC", "USDC", "USDC", Kind.OPTION, _HOUR_MS, -64_000),
        _listed("ETH_USDC-WEEK-2000-C", "ETH", "USDC", "USDC", Kind.OPTION, 7 * DAY_MS, 2_000),
    ]
    quanto = Contract(base="ETH", quote="USD", settlement="BTC", kind=Kind.PERPETUAL)
    sizes = Specification(
        lot_size=Decimal(1), contract_size=Decimal(1), tick_size=Decimal("0.05")
    )  # fmt: skip
    found.append(
        replace(
            term_sheet(replace(quanto, settlement="USDC"), sizes),
            symbol="ETH_BTC-QUANTO", contract=quanto, quanto_rate=1e-6,
        )
    )  # fmt: skip
    found.append(
        structure(
            symbol="BTC-CS-WEEK", like=_contract("BTC", "USDC", "USDC", Kind.FUTURE, 7 * DAY_MS),
            terms=call_spread(60_000, 70_000), specification=found[11].specification,
        )
    )  # fmt: skip
    return found


def _contract(
    base: str, quote: str, settlement: str, kind: Kind, after_ms: int = 0, strike: int = 0
) -> Contract:
    """A contract; a negative strike is a put's."""
    option = strike != 0
    return Contract(
        base=base, quote=quote, settlement=settlement, kind=kind,
        expiry_ms=TimeMs(START_MS + after_ms) if after_ms else None,
        strike=Decimal(abs(strike)) if option else None,
        option_type=(OptionType.CALL if strike > 0 else OptionType.PUT) if option else None,
    )  # fmt: skip


def _listed(
    symbol: str, base: str, quote: str, settlement: str, kind: Kind, after_ms: int = 0,
    strike: int = 0,
) -> Instrument:  # fmt: skip
    contract = _contract(base, quote, settlement, kind, after_ms, strike)
    return replace(term_sheet(contract, specification(contract)), symbol=symbol)


@cache
def market(scope: str, *, btc: float = 1.0, eth: float = 1.0) -> Snapshot:
    """The market with prices at so many times those of the start."""
    instruments = _instruments(scope)
    count = len(instruments)
    contracts = [one.contract for one in instruments]
    index = np.array([{**COINS, "SOL": 85.0}[one.base] for one in contracts])
    years = np.array([((one.expiry_ms or START_MS) - START_MS) / YEAR_MS for one in contracts])
    forward = index * np.exp(0.05 * years) * np.where(years == 0.0, 1.0002, 1.0)
    option = np.array([one.kind >= Kind.OPTION for one in contracts])
    inverse = np.array([one.inverse for one in instruments])
    strike = np.array([float(one.strike or 0) for one in contracts])
    side = np.array([-1.0 if one.option_type is OptionType.PUT else 1.0 for one in contracts])
    vol = np.where(option, _VOL, np.nan)
    price = black76(
        forward=forward, strike=strike, years=years, vol=np.full(count, _VOL), side=side
    )
    price = np.where([one.kind is Kind.STRUCTURE for one in contracts], 4_500.0, price)
    mark = np.where(option & inverse, price / forward, np.where(option, price, forward))
    quotes = Quotes(
        instruments=instruments, index=index, forward=forward, mark=mark, vol=vol,
        bid=np.full(count, np.nan), ask=np.full(count, np.nan), rate=np.zeros(count),
        time_ms=np.full(count, START_MS, dtype=np.int64),
    )  # fmt: skip
    return moved(assemble(quotes, as_of_ms=START_MS), {"BTC": btc, "ETH": eth})


@cache
def prices(scope: str, *, btc: float, eth: float) -> Prices:
    """Index and marks of a market as commands tell them."""
    told = publishing.market(market(scope, btc=btc, eth=eth), key="x", actor=ACTOR)
    return Prices(
        index={one.underlying: one.price_nano for one in told.index},
        marks={one.symbol: one.mark_points for one in told.marks},
    )


@cache
def _priced(rulebook: str, scope: str, *, btc: float, eth: float) -> RiskArrays:
    snapshot = market(scope, btc=btc, eth=eth)
    book = rulebook_in_force(rulebook, moment_of(START_MS).date())
    shocks = shocking(book) if isinstance(book, LevelsRulebook) else book
    return publish(snapshot, sets=shocks.sets, rules=shocks.rules, tables=shocks.tables)


def arrays(
    rulebook: str, scope: str, *, btc: float, eth: float, as_of_ms: int, key: str
) -> PublishArrays:
    """Risk arrays of a market, as if they had been made at a time."""
    priced = _priced(rulebook, scope, btc=btc, eth=eth)
    stamped = replace(priced, as_of_ms=TimeMs(as_of_ms))
    return PublishArrays(key=key, actor=ACTOR, rulebook=rulebook, arrays=encode_arrays(stamped))


# ── the choice ───────────────────────────────────────────────────────────────────────────────────


def chosen(rng: Random) -> World:
    """A world out of a seed's lots."""
    contract_wise = rng.random() < 0.25
    age_ms_max = rng.choice((60_000, _HOUR_MS, DAY_MS, 30 * DAY_MS))
    people = rng.choice((6, 20, 60))
    accounts = tuple(f"user-{number}" for number in range(people))
    decimals = {"USDC": rng.choice((2, 6, 6, 8)), "BTC": rng.choice((8, 9)), "ETH": 9, "DUST": 0}
    listings = [
        publishing.listing(one, key=f"list {one.symbol}", actor=ACTOR)
        for one in _instruments("linear later" if contract_wise else "later")
    ]
    if contract_wise:
        listings = [_by_contract(one, rng) for one in listings]
        texts = {"vega": _vega(rng)}
    else:
        texts = _by_account(rng, age_ms_max)
    if rng.random() < 0.5:
        listings = [_stepped(one, rng) for one in listings]
    return World(
        kind="contract" if contract_wise else "account",
        assets=tuple(
            ListAsset(key=f"asset {name}", actor=ACTOR, asset=name, decimals=places)
            for name, places in decimals.items()
        ),
        listings=tuple(one for one in listings if one.symbol not in _LATER),
        later=tuple(one for one in listings if one.symbol in _LATER),
        texts=texts,
        accounts=accounts,
        members=accounts[-2:],
        backstops=accounts[-3:-2],
        batch=rng.choice((1, 64, 256, 1_024, 1_024, 4_096)),
        age_ms_max=age_ms_max,
    )


def _by_account(rng: Random, age_ms_max: int) -> dict[str, str]:
    """A rulebook of scans and one or two of formulas, either of which may be the venue's."""
    names = [
        "deribit-pm",
        *rng.sample(("hyperliquid", "binance-usdm", "bitmex", "credit-lines"), rng.choice((1, 2))),
    ]
    if rng.random() < 0.4:
        names.reverse()
    usual = rng.random() < 0.6
    house: dict[str, object] = {
        "realise": "on_close" if usual else rng.choice(("on_close", "at_mark")),
        "losses": "debt" if usual else rng.choice(("debt", "collect")),
        "money_rounding": rng.choice(("against_account", "toward_zero", "half_even")),
        "entry_price": rng.choice(("exact", "exact", "whole_points")),
        "reducing": rng.choice(("position", "position", "margin", "none")),
        "settlement_window_ms": rng.choice((1_800_000, 60_000, 0)),
        "age_ms_max": age_ms_max,
        "matching": rng.choice(("book", "book", "book", "outside")),
        "relief": rng.choice(("largest", "all")),
    }
    if rng.random() < 0.4:
        house["price_band"] = rng.choice((0.01, 0.05, 0.3))
    fees = rng.sample(_FEES, rng.randint(0, len(_FEES)))
    auction = _auction(rng)
    return {
        name: with_engine(rulebook_source(name), house, fees) + auction * (rng.random() < 0.7)
        for name in names
    }


def _auction(rng: Random) -> str:
    """Auctions that some hundreds of commands see the end of."""
    told: dict[str, object] = {
        "fast_ms": rng.choice((1_000, 60_000)), "slow_ms": rng.choice((10_000, 600_000)),
        "insolvent_ms": rng.choice((5_000, 300_000)), "fee": rng.choice((0.0, 0.02)),
        "buffer": rng.choice((0.0, 0.15)), "whole_below": rng.choice((0.0, 1_000.0)),
    }  # fmt: skip
    lines = "\n".join(f"{name} = {value}" for name, value in told.items())
    return f"\n[liquidation.auction]\n{lines}\n"


_FEES: Final[tuple[dict[str, object], ...]] = (
    {"component": "taker", "rate": 0.0005, "of": "notional", "premium_cap": 0.125},
    {"component": "maker", "rate": -0.0001, "payer": "maker"},
    {"component": "insurance", "rate": 0.00003, "payer": "both", "receiver": "insurance"},
    {"component": "between", "rate": 0.0002, "receiver": "maker", "kinds": ["perpetual", "future"]},
    {"component": "liquidity", "rate": 0.0001, "receiver": "liquidity", "auction": "split"},
    {"component": "opening", "rate": 0.0003, "auction": "skipped"},
)


def with_engine(toml: str, house: dict[str, object], fees: Sequence[dict[str, object]] = ()) -> str:
    """A rulebook's text with an `[engine]` part put at its end, or put to the one that it has."""
    told = [f"{name} = {_written(value)}" for name, value in house.items()]
    before, header, rest = toml.partition("\n[engine]\n")
    lines = ["", *([] if header else ["[engine]", *told])]
    toml = before + header + "\n".join([*told, rest]) if header else toml
    for fee in fees:
        lines += [
            "[[engine.fees]]",
            *(f"{name} = {_written(value)}" for name, value in fee.items()),
        ]
    return toml + "\n".join(lines) + "\n"


def _written(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _vega(rng: Random) -> str:
    """Vega's rulebook, with another rounding, other prices of entry and no book in some worlds."""
    text = rulebook_source("vega")
    rounding = rng.choice(("toward_zero", "toward_zero", "against_account", "half_even"))
    text = re.sub(r'(money_rounding = )"\w+"', rf'\1"{rounding}"', text)
    entry = rng.choice(("whole_points", "whole_points", "exact"))
    text = re.sub(r'(entry_price    = )"\w+"', rf'\1"{entry}"', text)
    matching = rng.choice(("book", "book", "outside"))
    return text.replace("[engine]\n", f'[engine]\nmatching = "{matching}"\n', 1)


def _by_contract(listing: ListInstrument, rng: Random) -> ListInstrument:
    """A listing with the numbers that Vega leaves to each market."""
    told = {
        "maker_fee": "0.0002", "infrastructure_fee": "0.0005", "liquidity_fee": "0.0001",
        "interest_rate": "0.05", "clamp_lower": "-0.01", "clamp_upper": "0.01",
        "risk_factor_long": "0.05", "risk_factor_short": "0.06", "linear_slippage": "0.01",
        "quadratic_slippage": "0", "margin_funding_factor": "0.5",
    }  # fmt: skip
    kept = {name: number for name, number in told.items() if rng.random() < 0.8}
    for name in ("risk_factor_long", "risk_factor_short", "linear_slippage", "quadratic_slippage"):
        kept[name] = told[name]
    return structs.replace(listing, points_per_tick=rng.choice((1, 1_000)), parameters=kept)


def _stepped(listing: ListInstrument, rng: Random) -> ListInstrument:
    """A listing that some have a coarser grid, or other limits, for its orders."""
    told = dict(listing.parameters)
    if rng.random() < 0.5:
        told["price_step"] = rng.choice(("1", "2", "5"))
    if rng.random() < 0.5:
        step = rng.choice((1, 2, 10))
        told |= {"lots_step": str(step), "lots_min": str(step * rng.choice((1, 2)))}
    if rng.random() < 0.3:
        told["lots_max"] = rng.choice(("1000", "50000", "1000000"))
    if rng.random() < 0.3:
        told["price_band"] = rng.choice(("0.002", "0.02", "0.5"))
    return structs.replace(listing, parameters=told)


def beginning(world: World, rng: Random) -> list[Command]:
    """The commands with which a world begins: assets, contracts, rules, accounts, money, prices."""
    found: list[Command] = [*world.assets, *world.listings]
    for place, (name, toml) in enumerate(world.texts.items()):
        found.append(
            AdoptRulebook(
                key=f"adopt {name}", actor=ACTOR, name=name, toml=toml, day=DAY, venue=place == 0
            )
        )
    told = prices(world.scope, btc=1.0, eth=1.0)
    marks = tuple(MarkPrice(one.symbol, told.points(one), 0) for one in world.listings)
    index = tuple(IndexPrice(name, price, 0) for name, price in told.index.items())
    found.append(PublishMarket(key="market", actor=ACTOR, index=index, marks=marks))
    found += [
        arrays(name, world.scope, btc=1.0, eth=1.0, as_of_ms=START_MS, key=f"arrays {name}")
        for name in world.rulebooks
    ]
    # Where all have little, more of them come to have too little.
    wealth = rng.choice((1.0, 1.0, 0.1, 0.02))
    for number, name in enumerate(world.accounts):
        kind = AccountKind.MEMBER if name in world.members else AccountKind.USER
        if name in world.backstops:
            kind = AccountKind.BACKSTOP
        found.append(
            OpenAccount(
                key=f"open {name}", actor=ACTOR, account=name, kind=kind,
                rulebook=rng.choice(world.rulebooks),
            )
        )  # fmt: skip
        for asset, scale in world_scales(world).items():
            if asset == "USDC" or rng.random() < 0.4:
                units = {"USDC": 200_000, "BTC": 4, "ETH": 80, "DUST": 10}[asset]
                amount = max(1, round(units * scale * wealth * rng.choice((0.01, 1, 1, 10))))
                found.append(
                    Deposit(
                        key=f"first {number} {asset}", actor=ACTOR, account=name, asset=asset,
                        amount=amount,
                    )
                )  # fmt: skip
    return found


def world_scales(world: World) -> dict[str, int]:
    """Asset → smallest units of one."""
    return {one.asset: 10**one.decimals for one in world.assets}
