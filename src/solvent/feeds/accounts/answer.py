"""What a venue's answers say, in Solvent's own units: exact decimals, as they were told.

A size is signed, in Solvent's unit whatever the venue counts in: the base coin, or dollars of an
inverse contract. Prices are quoted, volatilities and rates are fractions, times milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject
from solvent.instruments import Instrument
from solvent.instruments.contract import plain
from solvent.units import TimeMs

CROSS: Final = "cross"
ISOLATED: Final = "isolated"
HEDGE: Final = "hedge"
NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A contract as a venue lists it. `unit` is what one of what the venue counts positions in is
    in Solvent's unit of size: 0.01 BTC for a contract of 0.01 BTC, 1 where it counts alike."""

    name: str
    instrument: Instrument
    unit: Decimal
    traded: bool = True

    @property
    def symbol(self) -> str:
        """Solvent's name."""
        return self.instrument.symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A ticker: what was told of one instrument; None is *not told*."""

    symbol: str
    time_ms: TimeMs | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None
    forward: Decimal | None = None
    vol: Decimal | None = None
    last: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A position. `initial`, `maintenance`, `unrealised` are what the venue says of it, in what the
    contract settles in."""

    symbol: str
    size: Decimal
    entry_price: Decimal | None = None
    mark: Decimal | None = None
    mode: str = CROSS
    leverage: Decimal | None = None
    isolated_margin: Decimal | None = None
    initial: Decimal | None = None
    maintenance: Decimal | None = None
    unrealised: Decimal | None = None
    time_ms: TimeMs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """A balance in one asset, debts taken off, without unrealised gains.

    `backing` is what of it backs cross positions: not what is put to isolated ones, and with gains
    that are realised and not yet settled. `equity` is the venue's own.
    """

    asset: str
    amount: Decimal
    backing: Decimal
    equity: Decimal | None = None
    time_ms: TimeMs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a venue says that an account needs and has, in one currency; `part` is the currency of
    accounts that are margined by currency, empty for all of it."""

    part: str
    currency: str
    model: str = ""
    equity: Decimal | None = None
    initial: Decimal | None = None
    maintenance: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """An open order: `size` is what is left of it, unsigned."""

    symbol: str
    order: str
    buy: bool
    size: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One bracket of a contract's position limits. `above` and `to` are in `unit`: sizes in
    Solvent's unit, or values in what is quoted; `to` is None where it has no end."""

    symbol: str
    unit: str
    above: Decimal
    to: Decimal | None
    maintenance_rate: Decimal
    initial_rate: Decimal | None = None
    leverage: Decimal | None = None
    deduction: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Everything that one answer said, or several together. `notes` stop nothing."""

    account: str = ""
    time_ms: TimeMs | None = None
    listings: tuple[Listing, ...] = ()
    prices: tuple[Price, ...] = ()
    holdings: tuple[Holding, ...] = ()
    money: tuple[Money, ...] = ()
    reported: tuple[Reported, ...] = ()
    orders: tuple[Resting, ...] = ()
    tiers: tuple[Tier, ...] = ()
    notes: tuple[Problem, ...] = ()

    def __add__(self, other: Answer) -> Answer:
        """Both together; the account's name and the later time of the two."""
        joined: dict[str, Any] = {
            one.name: getattr(self, one.name) + getattr(other, one.name)
            for one in fields(self) if one.name not in ("account", "time_ms")
        }  # fmt: skip
        times = [one.time_ms for one in (self, other) if one.time_ms is not None]
        account = self.account or other.account
        return Answer(account=account, time_ms=max(times, default=None), **joined)


def once(source: str, what: str, keys: Sequence[object]) -> None:
    """Raise BadInput for rows that say one thing twice."""
    seen: dict[object, int] = {}
    problems = []
    for row, key in enumerate(keys):
        first = seen.setdefault(key, row)
        if first != row:
            words = " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
            problems.append(
                Problem(
                    code=Reject.ROW_DUPLICATED, source=source, row=row + 1, field=what,
                    expected="it told once", found=f"{words}, in row {first + 1} too",
                )
            )  # fmt: skip
    if problems:
        raise BadInput(*problems)


def by_name(listings: Iterable[Listing]) -> dict[str, Listing]:
    """Listings by the venue's own name; a name that several markets have keeps the derivative."""
    found: dict[str, Listing] = {}
    for one in sorted(listings, key=lambda one: one.instrument.contract.kind):
        found[one.name] = one
    return found


def position_rows(answer: Answer, account: str) -> list[dict[str, object]]:
    """Holdings as rows that `feeds.positions` reads; what is flat is left out."""
    return [
        {
            "account": account, "instrument": one.symbol, "size": plain(one.size),
            "entry_price": None if one.entry_price is None else plain(one.entry_price),
        }
        for one in answer.holdings if one.size
    ]  # fmt: skip


def collateral_rows(answer: Answer, account: str) -> list[dict[str, object]]:
    """Balances as rows that `feeds.positions` reads."""
    return [
        {"account": account, "asset": one.asset, "amount": plain(one.backing)}
        for one in answer.money if one.backing
    ]  # fmt: skip


def order_rows(answer: Answer, account: str) -> list[dict[str, object]]:
    """Open orders as rows that `feeds.orders` reads."""
    return [
        {
            "account": account, "instrument": one.symbol, "side": "buy" if one.buy else "sell",
            "size": plain(one.size), "price": plain(one.price),
        }
        for one in answer.orders
    ]  # fmt: skip


def mode_rows(answer: Answer, account: str) -> list[dict[str, object]]:
    """How positions are held, as rows that `feeds.orders.read_modes` reads; one an instrument.

    What is held in two ways that it cannot read together (long and short each with a margin of its
    own) stays two rows, which it refuses.
    """
    rows: list[dict[str, object]] = []
    for one in answer.holdings:
        if one.size:
            row: dict[str, object] = {
                "account": account, "instrument": one.symbol, "mode": one.mode,
                "leverage": None if not one.leverage else plain(one.leverage),
                "isolated_margin": None if one.isolated_margin is None
                else plain(one.isolated_margin),
            }  # fmt: skip
            if one.mode == ISOLATED or row not in rows:
                rows.append(row)
    return rows
