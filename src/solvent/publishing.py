"""From markets and rulebooks to commands: what a venue's shell tells its engine.

The engine never prices. Whoever runs it reads a market, prices it under each rulebook that accounts
are margined by, and publishes prices and risk arrays as commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction

import numpy as np

from solvent.api import HistoryLike, Joint, RulebookLike, published, rulebook_in_force
from solvent.feeds.library import rulebook_source
from solvent.instruments import Instrument, Kind
from solvent.instruments.contract import moment_of, plain
from solvent.limits import POINTS_MAX
from solvent.market import Index, Snapshot
from solvent.market.indexed import index_prices
from solvent.market.wire import encode_snapshot
from solvent.messages.commands import (
    AdoptRulebook,
    ListAsset,
    ListInstrument,
    PublishArrays,
    PublishMarket,
)
from solvent.messages.fields import Command, IndexPrice, MarkPrice, TermText
from solvent.risk.wire import encode_arrays
from solvent.units import asset_decimals

POINTS_PER_TICK = 1_000
"""Marks are published to a thousandth of a tick."""
NANO = 10**9


def listing(instrument: Instrument, *, key: str, actor: str) -> ListInstrument:
    """The command that lists an instrument as this market has it."""
    contract, sizes = instrument.contract, instrument.specification
    terms: tuple[TermText, ...] = ()
    if contract.kind is Kind.STRUCTURE:
        terms = tuple(
            TermText(one.payoff.name.lower(), _plain(one.strike), _plain(one.weight))
            for one in instrument.terms
        )
    return ListInstrument(
        key=key, actor=actor, symbol=instrument.symbol, kind=contract.kind.name.lower(),
        base=contract.base, quote=contract.quote, settlement=contract.settlement,
        lot_size=plain(sizes.lot_size), contract_size=plain(sizes.contract_size),
        tick_size=plain(sizes.tick_size), points_per_tick=POINTS_PER_TICK,
        inverse=instrument.inverse, quanto_rate=_plain(instrument.quanto_rate),
        expiry_ms=contract.expiry_ms,
        strike=None if contract.strike is None else plain(contract.strike),
        option_type=None if contract.option_type is None else contract.option_type.value,
        terms=terms,
    )  # fmt: skip


def _plain(number: float) -> str:
    return plain(Decimal(repr(number)))


def listings(snapshot: Snapshot, *, actor: str) -> Iterator[Command]:
    """Commands that list every asset and instrument of a market."""
    universe = snapshot.universe
    for asset in dict.fromkeys([*universe.settlements, "USDC"]):
        yield ListAsset(
            key=f"asset {asset}", actor=actor, asset=asset, decimals=asset_decimals(asset)
        )
    for instrument in universe.instruments:
        yield listing(instrument, key=f"list {instrument.symbol}", actor=actor)


def market(
    snapshot: Snapshot, *, key: str, actor: str, indices: Iterable[Index] = ()
) -> PublishMarket:
    """The command that publishes a market's prices, and the snapshot itself for who reprices.

    `indices` are told as they were published, to the billionth and with their own age; of other
    underlyings the snapshot's price is told, as old as the youngest row on it.
    """
    own = {one.underlying: one for one in index_prices(indices)}
    return PublishMarket(
        key=key, actor=actor,
        index=tuple(own.get(one.underlying, one) for one in _index(snapshot)),
        marks=tuple(_marks(snapshot)),
        snapshot=encode_snapshot(snapshot),
    )  # fmt: skip


def _index(snapshot: Snapshot) -> Iterable[IndexPrice]:
    universe = snapshot.universe
    age_ms: dict[str, int] = {}
    for row in np.flatnonzero(snapshot.usable).tolist():
        name = universe.underlyings[universe.underlying[row]]
        age_ms[name] = min(age_ms.get(name, snapshot.age_ms[row]), snapshot.age_ms[row])
    for name, price in zip(universe.underlyings, snapshot.index.tolist(), strict=True):
        if price > 0:
            yield IndexPrice(name, round(price * NANO), max(0, int(age_ms.get(name, 0))))


def _marks(snapshot: Snapshot) -> Iterable[MarkPrice]:
    for row in np.flatnonzero(snapshot.usable).tolist():
        instrument = snapshot.universe.instruments[row]
        tick = Fraction(instrument.specification.tick_size)
        points = round(Fraction(float(snapshot.mark[row])) / tick * POINTS_PER_TICK)
        if 0 <= points <= POINTS_MAX:
            yield MarkPrice(instrument.symbol, points, max(0, int(snapshot.age_ms[row])))


def arrays(
    snapshot: Snapshot, rulebook: RulebookLike, *, name: str, key: str, actor: str,
    joint: Joint = None, history: HistoryLike = None,
) -> PublishArrays:  # fmt: skip
    """The command that publishes a market's risk arrays under a rulebook adopted as `name`.

    `joint` and `history` are what its joint scenarios are, or are made of (`api.prepare`): the
    arrays carry them from here on, so that a replay needs neither.
    """
    book = rulebook_in_force(rulebook, moment_of(snapshot.as_of_ms).date())
    priced, _ = published(snapshot, book, joint=joint, history=history)
    return PublishArrays(key=key, actor=actor, rulebook=name, arrays=encode_arrays(priced))


def adoption(
    name: str, *, day: str, key: str, actor: str, venue: bool, toml: str | None = None
) -> AdoptRulebook:
    """The command that puts a shipped rulebook (or a text) in force."""
    text = rulebook_source(name) if toml is None else toml
    return AdoptRulebook(key=key, actor=actor, name=name, toml=text, day=day, venue=venue)
