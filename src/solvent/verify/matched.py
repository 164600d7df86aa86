"""Orders and what they come to in a book, combinations, and blocks: from commands and events.

Which orders meet is taken from the record (`traded`); what each fill does to money and positions is
worked out anew, and so are the prices of a combination's legs. Each order is followed lot by lot:
what it asked for is what was filled, what went, and what is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from solvent.verify.deals import Record
from solvent.verify.steps import fill
from solvent.verify.venue import Asked, Combined, Listed, Venue

COMBINED_FROM: Final = 1 << 20
"""Combinations are numbered from here on."""
_OTHER: Final = {"buy": "sell", "sell": "buy"}

# ── what is asked for ────────────────────────────────────────────────────────────────────────────


def list_combo(venue: Venue, command: Record) -> None:
    """The next number of a combination."""
    number = COMBINED_FROM + len(venue.combined)
    legs = [(venue.contracts[symbol], ratio) for symbol, ratio in command["legs"]]
    venue.number("instrument", command["symbol"], number)
    venue.combined[command["symbol"]] = Combined(number, legs, Fraction(command["tick_size"]))


def place(venue: Venue, command: Record) -> None:
    """An order comes in: it trades, rests, waits or is over by the end of the command."""
    signed = command["lots"] if command["side"] == "buy" else -command["lots"]
    key = venue.owners[command["account"]], command["order"]
    decrements = command.get("self_trade") == "decrement"
    venue.coming[key] = Asked(
        _number(venue, command["symbol"]), signed, command.get("price_ticks"), decrements
    )


def _number(venue: Venue, symbol: str) -> int:
    if symbol in venue.combined:
        return venue.combined[symbol].number
    return venue.contracts[symbol].terms.number


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────


def report(venue: Venue, command: Record) -> None:
    """The first report waits; the second, if it fits, is a trade of two makers."""
    owner, other = venue.owners[command["account"]], venue.owners[command["counterparty"]]
    number, reference = _number(venue, command["symbol"]), command["reference"]
    signed = command["lots"] if command["side"] == "buy" else -command["lots"]
    price = command["price_ticks"]
    first = venue.blocks.pop(reference, None)
    if first is None:
        venue.blocks[reference] = owner, other, number, signed, price
        venue.facts.append(("block_reported", reference, owner, "reported"))
        return
    fits = other, owner, number, -signed, price
    venue.require(first == fits, f"block {reference}", first, fits)
    buyer, seller = (owner, other) if signed > 0 else (other, owner)
    event = number, price, abs(signed), buyer, "", seller, "", ""
    _trade(venue, event)
    venue.facts += [("traded", *event), ("block_reported", reference, owner, "done")]


def withdraw(venue: Venue, command: Record) -> None:
    """Who reported it takes it back."""
    owner, reference = venue.owners[command["account"]], command["reference"]
    first = venue.blocks.pop(reference)
    venue.require(first[0] == owner, f"block {reference}", f"one of owner {first[0]}", owner)
    venue.facts.append(("block_reported", reference, owner, "withdrawn"))


# ── a trade ──────────────────────────────────────────────────────────────────────────────────────


def _trade(venue: Venue, event: Sequence[Any], *, auction: bool = False) -> None:
    """A contract's trade, or one of each leg: what a combination sells its buyer sells."""
    number, price, lots, buyer, _, seller, _, aggressor = event
    venue.require(buyer != seller, "sides of a trade", "two", (buyer, seller))
    side = aggressor or None
    if number < COMBINED_FROM:
        contract = _contract(venue, number)
        fill(
            venue, contract, (buyer, seller), lots=lots, aggressor=side,
            points=price * contract.terms.points_per_tick, auction=auction or contract.auction,
        )  # fmt: skip
        return
    combo = list(venue.combined.values())[number - COMBINED_FROM]
    for (contract, ratio), points in zip(combo.legs, _leg_points(venue, combo, price), strict=True):
        bought = ratio > 0
        fill(
            venue, contract, (buyer, seller) if bought else (seller, buyer),
            lots=abs(ratio) * lots, points=points, auction=contract.auction,
            aggressor=side if bought or side is None else _OTHER[side],
        )  # fmt: skip


def _contract(venue: Venue, number: int) -> Listed:
    return list(venue.contracts.values())[number]


def _leg_points(venue: Venue, combo: Combined, price: int) -> list[int]:
    """Every leg's price in points: its mark in whole ticks, but for what the legs of one lot take
    so that all add up; the one with the finest tick first and last, none below a tick."""
    ticks = [one.terms.point * one.terms.points_per_tick for one, _ in combo.legs]
    prices = [
        max(tick, tick * round((one.mark or 0) * one.terms.point / tick))
        for (one, _), tick in zip(combo.legs, ticks, strict=True)
    ]
    ratios = [ratio for _, ratio in combo.legs]
    wanted = price * combo.tick
    single = [place for place, ratio in enumerate(ratios) if ratio in (1, -1)]
    finest = min(single, key=lambda place: ticks[place])
    for place in (finest, *single, finest):
        left = wanted - sum(ratio * one for ratio, one in zip(ratios, prices, strict=True))
        whole = math.trunc(left * ratios[place] / ticks[place])
        prices[place] = max(ticks[place], prices[place] + whole * ticks[place])
    total = sum(ratio * one for ratio, one in zip(ratios, prices, strict=True))
    venue.require(total == wanted, f"legs of combination {combo.number}", wanted, total)
    return [int(one / leg.terms.point) for one, (leg, _) in zip(prices, combo.legs, strict=True)]


# ── events of orders ─────────────────────────────────────────────────────────────────────────────

Event = Sequence[Any]
"""What is told after the kind."""


def follow(venue: Venue, command: Record, events: Sequence[Event], *, auction: bool) -> None:
    """Everything that is recorded of orders, in its order. `auction`: the command ends one, whose
    trades have no aggressor."""
    venue.touched = set()
    steps = _Steps(venue, command, auction=auction)
    for kind, *event in events:
        step = _FOLLOWED.get(kind)
        if step is not None:
            step(steps, event)
    left = [*venue.coming, *steps.filled]
    venue.require(not left, "orders", "each that came in or was filled told of", left)
    venue.coming.clear()


class _Steps:
    """What each event does to the orders of one command."""

    def __init__(self, venue: Venue, command: Record, *, auction: bool) -> None:
        self.venue = venue
        self.command = command
        self.kind: str = command["do"]
        self.auction = auction
        self.filled = {
            (venue.owners[command[who]], command[which])
            for who, which in (("buyer", "buy_order"), ("seller", "sell_order"))
            if command.get(which) is not None
        }
        """Orders at rest that were filled, and of which no event has told what is left."""

    def rested(self, event: Event) -> None:
        """What is left of an order that came in comes to rest."""
        owner, name, number, lots, price, shown = event
        asked = self.venue.coming.pop((owner, name))
        taken = (owner, name) in self.venue.orders
        self.venue.require(not taken, f"order {name}", "a new one", "one that rests")
        wanted, found = (asked.number, asked.lots, asked.limit), (number, lots, price)
        self.venue.require(wanted == found, f"order {name} at rest", wanted, found)
        self._check_shown(name, lots, shown)
        self.venue.orders[owner, name] = asked
        self.venue.touched.add(number)

    def _check_shown(self, name: str, lots: int, shown: int) -> None:
        within = 0 < shown <= lots or lots <= shown < 0 or lots == shown == 0
        self.venue.require(within, f"lots shown of order {name}", f"some of {lots}", shown)

    def reduced(self, event: Event) -> None:
        """Lots of an order that rests are filled, taken back, or met its account's own."""
        venue, (owner, name, lots, shown, why) = self.venue, event
        asked = venue.orders[owner, name]
        venue.touched.add(asked.number)
        if why == "filled" and self.kind == "trade":
            # What fills an order that a trade names is told by the command.
            asked.fill(self.command["lots"])
        before = asked.lots
        fewer = lots * before >= 0 and abs(lots) <= abs(before)
        venue.require(lots == before if why == "filled" else fewer, f"lots left of order {name}",
                      f"{before} or fewer", lots)  # fmt: skip
        self._check_shown(name, lots, shown)
        if why == "filled":
            self.filled.discard((owner, name))
        if why == "self_trade":
            self._decrement(owner, abs(before) - abs(lots))
        asked.lots = lots
        if lots == 0:
            del venue.orders[owner, name]
            if why == "amended":
                self._come_again(owner, name, asked, before)
        elif why == "amended":
            wanted = self._asked_for(asked, before)
            venue.require(abs(lots) == wanted, f"lots left of order {name}", wanted, abs(lots))

    def _decrement(self, owner: int, gone: int) -> None:
        for (mine, _), coming in self.venue.coming.items():
            if mine == owner and coming.decrements:
                coming.lots -= gone if coming.lots > 0 else -gone

    def _asked_for(self, asked: Asked, before: int) -> int:
        """Lots that a change leaves, without sign."""
        total: int | None = self.command.get("lots")
        return abs(before) if total is None else total - asked.filled

    def _come_again(self, owner: int, name: str, asked: Asked, before: int) -> None:
        """Taken out to come in anew, with what the command tells."""
        left = self._asked_for(asked, before)
        asked.lots = left if before > 0 else -left
        asked.limit = self.command.get("price_ticks", asked.limit)
        self.venue.coming[owner, name] = asked

    def ended(self, event: Event) -> None:
        """What is left of an order that came in is over."""
        owner, name, lots, _ = event
        left = self.venue.coming.pop((owner, name)).lots
        self.venue.require(left == lots, f"lots left of order {name}", left, lots)

    def stop_placed(self, event: Event) -> None:
        """It waits."""
        owner, name, number = event
        asked = self.venue.stops[owner, name] = self.venue.coming.pop((owner, name))
        self.venue.require(asked.number == number, f"stop {name}", asked.number, number)

    def stop_triggered(self, event: Event) -> None:
        """It comes in."""
        owner, name = event
        self.venue.coming[owner, name] = self.venue.stops.pop((owner, name))

    def stop_cancelled(self, event: Event) -> None:
        """It waits no more."""
        owner, name, _ = event
        del self.venue.stops[owner, name]

    def traded(self, event: Event) -> None:
        """Two orders meet: both take it, and money moves accordingly."""
        venue, aggressor = self.venue, event[-1]
        number, price, lots, buyer, buy_order, seller, sell_order, _ = event
        if self.kind == "report_block":
            return
        for owner, name, sign in ((buyer, buy_order, 1), (seller, sell_order, -1)):
            asked = venue.coming.get((owner, name)) or venue.orders[owner, name]
            better = 0 if asked.limit is None else (asked.limit - price) * sign
            takes = asked.number == number and 0 < lots <= asked.lots * sign and better >= 0
            found = f"{lots} lots of {number} at {price}"
            venue.require(takes, f"order {name} of owner {owner}",
                          f"up to {asked.lots} lots of {asked.number} at {asked.limit} or better",
                          found)  # fmt: skip
            if (owner, name) in venue.orders:
                at_limit = better == 0 or not aggressor
                venue.require(at_limit, f"price of order {name} at rest", asked.limit, price)
                self.filled.add((owner, name))
            asked.fill(lots)
        venue.touched.add(number)
        _trade(venue, event, auction=self.auction and not aggressor)
        venue.facts.append(("traded", *event))


_FOLLOWED: Final[Mapping[str, Callable[[_Steps, Event], None]]] = {
    "order_rested": _Steps.rested, "order_reduced": _Steps.reduced, "order_ended": _Steps.ended,
    "stop_placed": _Steps.stop_placed, "stop_triggered": _Steps.stop_triggered,
    "stop_cancelled": _Steps.stop_cancelled, "traded": _Steps.traded,
}  # fmt: skip
