"""Managing a member's default, and how much must be there for one: clients ported, the portfolio
auctioned, contracts torn up, the fund sized.

Amounts are whole smallest units. What a clearing house receives for a part of a portfolio is
positive; below 0 it pays the bidder to take it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from solvent.errors import check
from solvent.liquidation.shares import shared

# ── clients ──────────────────────────────────────────────────────────────────────────────────────


class Client(NamedTuple):
    """A client of a defaulter, and the members it would go to, the first first."""

    name: str
    equity: int
    requirement: int
    """What its positions ask for."""
    prefers: tuple[str, ...] = ()
    """Empty: any member that takes clients."""


class Ported(NamedTuple):
    """Client → taking member, and who stays to be closed out with the reason."""

    taken: dict[str, str]
    stay: dict[str, str]


def port(clients: Sequence[Client], capacity: Mapping[str, int]) -> Ported:
    """Clients with enough margin go to the first member they would have that still has room.

    `capacity` is how much requirement each member is willing to take. One that lacks margin stays:
    nobody has to take a loss with it.

    >>> port([Client("x", 90, 80), Client("y", 70, 80), Client("z", 50, 40)], {"b": 100})
    Ported(taken={'x': 'b'}, stay={'y': 'margin is short', 'z': 'no member has room'})
    """
    room = dict(capacity)
    taken: dict[str, str] = {}
    stay: dict[str, str] = {}
    for client in clients:
        check(client.requirement >= 0, "a requirement is not negative", client)
        if client.equity < client.requirement:
            stay[client.name] = "margin is short"
            continue
        may = client.prefers or tuple(room)
        member = next((one for one in may if room.get(one, -1) >= client.requirement), None)
        if member is None:
            stay[client.name] = "no member has room"
            continue
        room[member] -= client.requirement
        taken[client.name] = member
    return Ported(taken, stay)


# ── the portfolio ────────────────────────────────────────────────────────────────────────────────


class Part(NamedTuple):
    """A part of a defaulter's portfolio, and the least that is accepted for it."""

    name: str
    reserve: int


class Bid(NamedTuple):
    """A member's sealed bid for a part."""

    member: str
    part: str
    amount: int


class Sale(NamedTuple):
    """What came of a part: its buyer, or nobody; `amount` is 0 where it is not sold."""

    part: str
    member: str | None
    amount: int


def sell(parts: Sequence[Part], bids: Sequence[Bid]) -> tuple[Sale, ...]:
    """The best bid of each part wins, if it is at its reserve; of equal bids the first.

    >>> bids = [Bid("b", "rates", -40), Bid("c", "rates", -45), Bid("c", "coins", -1)]
    >>> sell([Part("rates", -50), Part("coins", 0)], bids)
    (Sale(part='rates', member='b', amount=-40), Sale(part='coins', member=None, amount=0))
    """
    names = [part.name for part in parts]
    check(len(set(names)) == len(names), "a part stands once", names)
    check({bid.part for bid in bids} <= set(names), "a bid is for a part", names)
    sales = []
    for part in parts:
        good = [bid for bid in bids if bid.part == part.name and bid.amount >= part.reserve]
        best = max(good, key=lambda bid: bid.amount, default=None)
        won = (best.member, best.amount) if best is not None else (None, 0)
        sales.append(Sale(part.name, *won))
    return tuple(sales)


def juniorised(
    members: Sequence[str], parts: Sequence[Part], bids: Sequence[Bid], tolerance: Fraction
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whose contributions are used first: (who did not bid for every part, whose bids were poor).

    A bid is poor where it is further below the best one of its part than `tolerance` of the best
    one's size. All others keep theirs to the last.

    >>> parts, bids = [Part("p", -99)], [Bid("a", "p", -10), Bid("b", "p", -11), Bid("c", "p", -50)]
    >>> juniorised(["a", "b", "c", "d"], parts, bids, Fraction(1, 5))
    (('d',), ('c',))
    """
    check(tolerance >= 0, "a tolerance is not negative", tolerance)
    best: dict[str, int] = {}
    mine: dict[tuple[str, str], int] = {}
    for bid in bids:
        best[bid.part] = max(best.get(bid.part, bid.amount), bid.amount)
        key = (bid.member, bid.part)
        mine[key] = max(mine.get(key, bid.amount), bid.amount)
    absent, poor = [], []
    for member in members:
        if any((member, part.name) not in mine for part in parts):
            absent.append(member)
        elif any(
            best[part.name] - mine[member, part.name] > tolerance * abs(best[part.name])
            for part in parts
        ):
            poor.append(member)
    return tuple(absent), tuple(poor)


def closing_loss(*, owed: int, hedging: int, sales: Sequence[Sale]) -> int:
    """What closing a defaulter's books loses: variation it owes, what hedging cost, less proceeds.

    Not below 0: what is left over belongs to the defaulter's estate.

    >>> closing_loss(owed=100, hedging=5, sales=[Sale("p", "b", -40)])
    145
    """
    return max(0, owed + hedging - sum(sale.amount for sale in sales))


class Torn(NamedTuple):
    """Lots of a contract that a member's position is reduced by, without sign."""

    contract: str
    member: str
    lots: int


def torn_up(
    unsold: Mapping[str, int], held: Mapping[str, Sequence[tuple[str, int]]]
) -> tuple[Torn, ...]:
    """End what nobody has bought: positions on the other side are reduced pro rata, in whole lots.

    `unsold` and `held` are signed lots by contract. Contracts balance: the others hold at least as
    many lots on the other side as are to be ended.

    >>> torn_up({"F": 5}, {"F": [("b", -6), ("c", -4), ("d", 5)]})
    (Torn(contract='F', member='b', lots=3), Torn(contract='F', member='c', lots=2))
    """
    found = []
    for contract, lots in unsold.items():
        other = [(name, abs(one)) for name, one in held.get(contract, ()) if one * lots < 0]
        there = [one for _, one in other]
        check(sum(there) >= abs(lots), "a contract's positions balance", contract, lots)
        parts = shared(abs(lots), there, list(there))
        found += [
            Torn(contract, name, part) for (name, _), part in zip(other, parts, strict=True) if part
        ]
    return tuple(found)


# ── how much must be there ───────────────────────────────────────────────────────────────────────


def over_margin(loss: int, margin: int) -> int:
    """What a stress scenario loses beyond a member's margin."""
    return max(0, loss - margin)


class Cover(NamedTuple):
    """What the worst defaults of every scenario would need, and the largest of it."""

    members: int
    by_scenario: dict[str, int]
    worst: str
    required: int


def cover(losses: Mapping[str, Mapping[str, int]], members: int) -> Cover:
    """Cover-1, cover-2, …: the sum of so many largest losses over margin, and the worst scenario.

    `losses`: scenario → member → loss over margin, not below 0.

    >>> cover({"up": {"a": 30, "b": 12, "c": 25}, "down": {"a": 5, "b": 40, "c": 22}}, 2)
    Cover(members=2, by_scenario={'up': 55, 'down': 62}, worst='down', required=62)
    """
    check(members >= 1 and len(losses) > 0, "a scenario and a member", members)
    check(all(one >= 0 for row in losses.values() for one in row.values()), "losses", losses)
    sums = {name: sum(sorted(row.values())[-members:]) for name, row in losses.items()}
    worst = max(sums, key=lambda name: sums[name])
    return Cover(members, sums, worst, sums[worst])


def contributions(required: int, margin: Mapping[str, int], *, least: int = 0) -> dict[str, int]:
    """A default fund of a size, by members' initial margin, none below `least`.

    The part above the least is shared by largest remainder, so that the fund adds up.

    >>> contributions(62, {"a": 100, "b": 80, "c": 60, "d": 40, "e": 20})
    {'a': 21, 'b': 17, 'c': 12, 'd': 8, 'e': 4}
    """
    check(required >= 0 and least >= 0, "money is not negative", required, least)
    rest = max(0, required - least * len(margin))
    parts = shared(rest, list(margin.values()))
    return {name: least + part for name, part in zip(margin, parts, strict=True)}
