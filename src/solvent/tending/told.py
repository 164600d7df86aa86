"""What happened to accounts that could not pay, read from the journal: who was reduced, by which
stage, from what to what, at which price against the mark, and who paid what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Final, NamedTuple

from solvent.account.ledger import INSURANCE, SYSTEM_NAMES
from solvent.engine.state import State
from solvent.errors import Reject
from solvent.journal import Row
from solvent.messages import commands as c
from solvent.messages.codec import decode_command, decode_events
from solvent.messages.events import (
    AuctionBid,
    CallEnded,
    Event,
    FeePaid,
    LiquidationBegun,
    MarginCalled,
    PositionChanged,
    Rejected,
    Traded,
)
from solvent.messages.fields import Command
from solvent.order_units import decimal_of
from solvent.units import DOLLARS, MICRO, div_half_even

NANO: Final = 10**9
FUND: Final = SYSTEM_NAMES[INSURANCE]
REDUCING: Final = ("book", "trade", "auction", "backstop", "fund", "adl")
"""Stages that make positions smaller, in the order in which a picture stacks them."""
_STAGE: Final[dict[type[Command], str]] = {
    c.ReviewMargin: "call", c.RelieveMargin: "cancel", c.BeginLiquidation: "begin",
    c.LiquidateInBook: "book", c.Liquidate: "trade", c.TakeOver: "fund", c.Deleverage: "adl",
    c.StartAuction: "auction", c.BidInAuction: "auction", c.EndAuction: "auction",
    c.ConvertCollateral: "convert", c.CoverDebt: "cover", c.SocialiseLoss: "socialise",
    c.Confiscate: "confiscate", c.EndLiquidation: "end",
}  # fmt: skip
_KINDS: Final = frozenset({str(one.__struct_config__.tag) for one in _STAGE})
_PRICES: Final = str(c.PublishMarket.__struct_config__.tag)
_ARRAYS: Final = str(c.PublishArrays.__struct_config__.tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command about one account, and what came of it.

    Attributes:
        stage: what sort of step. who: the other side, or who pays.
        before, after: lots of the contract, signed. price, mark: in the quote currency.
        value_micro: what changed hands at the price. lost_micro: by how much less than at the mark
            the account did (a gain is negative). fee_micro: to the insurance fund.
        paid_micro: money of others, or of the account to others, by this step.
        equity_micro, maintenance_micro: of the account when it was taken over.
        detail: a call's level, or the code of why it was refused.
    """

    sequence: int
    time_ms: int
    account: str
    stage: str
    symbol: str = ""
    who: str = ""
    before: int = 0
    after: int = 0
    price: str = ""
    mark: str = ""
    value_micro: int = 0
    lost_micro: int = 0
    fee_micro: int = 0
    paid_micro: int = 0
    equity_micro: int = 0
    maintenance_micro: int = 0
    detail: str = ""
    rejected: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As a document."""
        return asdict(self)


class _Prices(NamedTuple):
    """(lots, ticks) of each part; who is on the other side; the fee, what an auction brought."""

    fills: tuple[tuple[int, int], ...]
    who: str
    fee: int
    paid: int = 0


class Teller:
    """Follows a journal's rows from the first; the names are those of a state at its head or
    later."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._marks: dict[str, int] = {}
        self._index: dict[str, int] = {}
        self._lots: dict[tuple[int, int], int] = {}

    def take(self, rows: Iterable[Row]) -> Iterator[Step]:
        """What rows tell."""
        for row in rows:
            if row.kind == _PRICES:
                command = decode_command(row.command)
                if isinstance(command, c.PublishMarket):
                    self._marks.update((one.symbol, one.mark_points) for one in command.marks)
                    self._index.update((one.underlying, one.price_nano) for one in command.index)
            elif row.kind != _ARRAYS:
                events = decode_events(row.events)
                moved = self._moved(events)
                if row.kind in _KINDS:
                    yield from self._told(row, decode_command(row.command), events, moved)

    def _moved(self, events: tuple[Event, ...]) -> dict[tuple[int, int], tuple[int, int]]:
        """Account and contract → lots before and after, of what a command changed."""
        moved: dict[tuple[int, int], tuple[int, int]] = {}
        for event in events:
            if isinstance(event, PositionChanged):
                key = event.account, event.instrument
                before = moved[key][0] if key in moved else self._lots.get(key, 0)
                moved[key] = before, event.lots
                self._lots[key] = event.lots
        return moved

    def _told(
        self, row: Row, command: Command, events: tuple[Event, ...],
        moved: dict[tuple[int, int], tuple[int, int]],
    ) -> Iterator[Step]:  # fmt: skip
        stage = _STAGE[type(command)]
        if isinstance(command, c.TakeOver) and command.by is not None:
            stage = "backstop"
        if isinstance(command, c.LiquidateInBook) and command.account == FUND:
            stage = "dispose"
        name = str(getattr(command, "account", ""))
        place: dict[str, Any] = {
            "sequence": row.sequence,
            "time_ms": row.time_ms,
            "account": name,
            "stage": stage,
        }
        if events and isinstance(events[0], Rejected):
            symbol = getattr(command, "symbol", None) or ""
            code = Reject(events[0].code).name
            yield Step(**place, symbol=symbol, detail=code, rejected=True)
            return
        reduces = isinstance(
            command, c.LiquidateInBook | c.Liquidate | c.TakeOver | c.Deleverage | c.BidInAuction
        )
        if not reduces:
            yield self._simple(place, command, events)
            return
        number = self._state.account_numbers[name]
        told = self._prices(command, events, number)
        for (account, instrument), (before, after) in moved.items():
            if account == number:
                yield self._step(place, instrument, before, after, told)

    def _prices(self, command: Command, events: tuple[Event, ...], number: int) -> _Prices:
        """At which prices an account traded, with whom, and its fee."""
        fees = sum(
            one.amount
            for one in events
            if isinstance(one, FeePaid) and (one.account, one.component) == (number, "liquidation")
        )
        if isinstance(command, c.LiquidateInBook):
            fills = [one for one in events if isinstance(one, Traded)
                     and number in (one.buyer, one.seller)]  # fmt: skip
            others = {one.seller if one.buyer == number else one.buyer for one in fills}
            names = [self._state.account(other).name for other in sorted(others)]
            who = names[0] if len(names) == 1 else f"{len(names)} accounts"
            return _Prices(tuple((one.lots, one.price_ticks) for one in fills), who, fees)
        if isinstance(command, c.BidInAuction):
            paid = next((one.paid for one in events if isinstance(one, AuctionBid)), 0)
            return _Prices((), command.bidder, fees, paid)
        if isinstance(command, c.TakeOver):
            who = command.by or "insurance"
        else:
            who = str(getattr(command, "counterparty", ""))
        ticks = int(getattr(command, "price_ticks", 0))
        return _Prices(((int(getattr(command, "lots", 0)), ticks),), who, fees)

    def _step(
        self, place: dict[str, Any], instrument: int, before: int, after: int, told: _Prices
    ) -> Step:
        contract = self._state.contracts[instrument]
        deal, lots = contract.deal, after - before
        sign = 1 if lots > 0 else -1
        mark_points = self._marks.get(contract.listing.symbol, 0)
        at_mark = deal.money(deal.value(lots, mark_points))
        # What an auction sells goes at the marks; its price is for the account as a whole.
        value, price = at_mark, mark_points * deal.point
        if told.fills:
            value = sum(
                (deal.money(deal.value(sign * part, ticks * deal.points_per_tick))
                 for part, ticks in told.fills), Fraction(0),
            )  # fmt: skip
            total = sum(part * ticks for part, ticks in told.fills)
            price = Fraction(total, abs(lots)) * deal.points_per_tick * deal.point
        asset = self._state.assets[deal.asset][0]
        return Step(
            **place, symbol=contract.listing.symbol, who=told.who, before=before, after=after,
            price=str(decimal_of(price)), mark=str(decimal_of(mark_points * deal.point)),
            value_micro=abs(self._micro(asset, value)),
            lost_micro=self._micro(asset, value - at_mark), fee_micro=self._micro(asset, told.fee),
            paid_micro=self._micro(asset, told.paid),
        )  # fmt: skip

    def _simple(self, place: dict[str, Any], command: Command, events: tuple[Event, ...]) -> Step:
        told = {**place, "symbol": getattr(command, "symbol", None) or ""}
        for event in events:
            if isinstance(event, LiquidationBegun):
                told["equity_micro"] = event.equity_micro
                told["maintenance_micro"] = event.maintenance_micro
            elif isinstance(event, MarginCalled):
                words = f"level {event.level}"
                if event.instrument >= 0:
                    told["symbol"] = self._state.contracts[event.instrument].listing.symbol
                if event.call_micro:
                    words += f", {event.call_micro / MICRO:,.2f} dollars asked"
                told["detail"] = words
            elif isinstance(event, CallEnded):
                told.setdefault("detail", event.how)
        match command:
            case c.CoverDebt():
                told["who"] = command.member or command.market or str(command.source)
                told["paid_micro"] = self._micro(command.asset, command.amount)
            case c.SocialiseLoss():
                told["who"] = f"{len(command.shares)} accounts"
                amount = sum(share.amount for share in command.shares)
                told["paid_micro"] = self._micro(command.asset, amount)
            case c.Confiscate():
                told["who"] = command.to or "insurance"
                told["paid_micro"] = self._micro(command.asset, command.amount)
            case c.ConvertCollateral():
                told["who"] = "insurance"
                told["paid_micro"] = self._micro(command.into, command.into_amount)
                told["detail"] = f"{command.asset} into {command.into}"
        return Step(**told)

    def _micro(self, asset: str, amount: Fraction | int) -> int:
        """Smallest units in millionths of a dollar, half-even."""
        state = self._state
        decimals = state.assets[state.asset_numbers[asset]][1]
        price = self._index.get(asset, NANO if asset in DOLLARS else 0)
        worth = Fraction(amount) * price * MICRO / (NANO * 10**decimals)
        return div_half_even(worth.numerator, worth.denominator)
