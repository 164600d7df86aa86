"""A venue for the engine's measurements: hundreds of contracts under Deribit's portfolio margin."""

from __future__ import annotations

import random
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final

from solvent import publishing
from solvent.account.ledger import FIRST_ACCOUNT
from solvent.feeds.synthetic_market import generate_market
from solvent.host import Engine
from solvent.market import Snapshot
from solvent.messages.commands import Deposit, OpenAccount, Trade
from solvent.messages.fields import AccountKind, Command, Side

ACTOR: Final = "bench"
RULEBOOK: Final = "deribit-pm"
FUNDED: Final = 1_000_000_000_000
"""A million dollars, in USDC's smallest unit."""


@cache
def market() -> Snapshot:
    """Hundreds of contracts."""
    return generate_market(seed=11, expiries=6, strikes=12)


def opened(place: Path) -> Engine:
    """An engine that takes no snapshots by itself, and whose time is the market's."""
    return Engine.open(place, clock=lambda: int(market().as_of_ms), snapshot_every=1 << 40)


def found(place: Path, *, accounts: int) -> Engine:
    """A new venue with this many funded accounts, opened."""
    Engine.create(place).close()
    engine = opened(place)
    told: list[Command] = list(publishing.listings(market(), actor=ACTOR))
    told.append(
        publishing.adoption(RULEBOOK, day="2026-01-01", key="rules", actor=ACTOR, venue=True)
    )
    told.append(publishing.market(market(), key="market", actor=ACTOR))
    told.append(publishing.arrays(market(), RULEBOOK, name=RULEBOOK, key="arrays", actor=ACTOR))
    for n in range(accounts):
        kind = AccountKind.USER
        told.append(
            OpenAccount(key=f"o{n}", actor=ACTOR, account=f"u{n}", kind=kind, rulebook=RULEBOOK)
        )
        told.append(Deposit(key=f"d{n}", actor=ACTOR, account=f"u{n}", asset="USDC", amount=FUNDED))
    assert all(answer.accepted for answer in engine.submit_all(told))
    return engine


def deposits(engine: Engine, draw: random.Random, count: int, tag: str) -> list[Command]:
    """Small ones, to accounts at random."""
    names = _names(engine)
    return [
        Deposit(key=f"{tag}d{n}", actor=ACTOR, account=draw.choice(names), asset="USDC", amount=5)
        for n in range(count)
    ]


def trades(engine: Engine, draw: random.Random, count: int, tag: str) -> list[Command]:
    """At the mark, up to 20 lots, between accounts at random."""
    names = _names(engine)
    priced = [
        (one.listing.symbol, max(1, one.mark_points // one.deal.points_per_tick))
        for one in engine.state.contracts
        if one.mark_points
    ]
    told: list[Command] = []
    for n in range(count):
        symbol, price_ticks = draw.choice(priced)
        buyer = draw.randrange(len(names))
        seller = (buyer + draw.randrange(1, len(names))) % len(names)
        told.append(
            Trade(
                key=f"{tag}t{n}", actor=ACTOR, buyer=names[buyer], seller=names[seller],
                symbol=symbol, lots=draw.randint(1, 20), price_ticks=price_ticks,
                aggressor=Side.BUY,
            )
        )  # fmt: skip
    return told


def mixed(engine: Engine, draw: random.Random, count: int, tag: str) -> list[Command]:
    """A trade and a deposit in turn."""
    half = count // 2
    pairs = zip(trades(engine, draw, half, tag), deposits(engine, draw, half, tag), strict=True)
    return list(chain.from_iterable(pairs))


def _names(engine: Engine) -> list[str]:
    return [one.name for one in engine.state.accounts[FIRST_ACCOUNT:] if one is not None]
