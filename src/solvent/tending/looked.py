"""What one look at a venue has found already, so that it is not worked out again for accounts that
nothing has happened to: where accounts stand, and the queues of deleveraging.

It lasts for one look, at one moment: no price changes in it, and every command that is sent tells
by its events whom it has touched.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from solvent.account.ledger import FIRST_ACCOUNT, parts
from solvent.engine.standing import standings
from solvent.engine.state import LIQUIDATION, Account, Contract, Standing, State
from solvent.engine.wound_up import nearest
from solvent.margining.closing import LiquidationText
from solvent.messages.events import Event, Posted
from solvent.solvency.classes import State as Class
from solvent.solvency.venue import VenueWatch, Verdict
from solvent.tending.pools import seen_at_risk, with_risk
from solvent.tending.scores import in_queue, scored

_NEAR = 0.2
"""The share of equity above maintenance at which a watch's `warning` begins."""
_NAMES = ("account", "buyer", "seller", "bidder", "member")


class Looked:
    """Standings of whole accounts, and queues, of one look.

    `verdicts` is a watch that has followed every command: then only those are asked whom it has
    not proved to be far from every call.
    """

    def __init__(self, state: State, verdicts: VenueWatch | None = None) -> None:
        self._state = state
        self._verdicts = verdicts
        self._known: dict[int, tuple[Account, Standing]] | None = None
        self.nearest: dict[int, Standing] = {}
        """Account that holds isolated positions → where the pool of it stands that is nearest to
        liquidation; kept up with `standings`."""
        self._changed: set[int] = set()
        self._queues: dict[tuple[int, bool], Line] = {}
        self.fewest: dict[int, dict[tuple[int, int, int, int], int]] = {}
        """Account → pool, contract, lots and price in ticks → lots that are enough."""
        self.in_book: dict[int, dict[tuple[int, int, bool], int]] = {}
        """Account → pool, contract and side → lots that may be enough in its book: a guess."""
        self._coming: list[Account] = []
        self._coming_to_book: list[Account] = []

    def coming(self, accounts: Sequence[Account]) -> None:
        """Whose turn comes, in order."""
        self._coming = list(reversed(accounts))
        self._coming_to_book = list(self._coming)

    def next_ones(self, most: int) -> list[Account]:
        """Accounts under liquidation of which nothing is foreseen where nothing would be left; each
        is handed out once."""
        return _next_of(self._coming, self.fewest, most)

    def next_in_book(self, most: int) -> list[Account]:
        """The same of which nothing is foreseen in their books."""
        return _next_of(self._coming_to_book, self.in_book, most)

    def happened(self, events: Iterable[Event]) -> None:
        """Note whom events are about."""
        touched: set[int] = set()
        for event in events:
            if isinstance(event, Posted):
                for source, target, _ in event.moves:
                    touched |= {parts(source)[0], parts(target)[0]}
            else:
                touched |= {getattr(event, name, 0) for name in _NAMES}
        touched = {one for one in touched if one >= FIRST_ACCOUNT}
        self._changed |= touched
        for number in touched:
            self.fewest.pop(number, None)
            if number in self.in_book:
                self.in_book[number] = {}
        for line in self._queues.values():
            line.changed |= touched

    @property
    def changed(self) -> set[int]:
        """Accounts that something has happened to since `standings` was last asked for."""
        return set(self._changed)

    def standings(self) -> dict[int, tuple[Account, Standing]]:
        """Number → account and where it stands, of all of which margin is asked, in order."""
        state = self._state
        if self._known is None:
            told = self._verdicts
            asked = None if told is None else list(_near(state, told))
            looked = list(with_risk(state) if asked is None else seen_at_risk(state, asked))
            self._known = {}
        else:
            accounts = [state.account(number) for number in sorted(self._changed)]
            for number in self._changed:
                self._known.pop(number, None)
                self.nearest.pop(number, None)
            looked = list(seen_at_risk(state, accounts))
        self._changed = set()
        found = standings(state, [seen for _, seen in looked])
        for (account, _), one in zip(looked, found, strict=True):
            self._known[account.number] = account, one
        apart = [account for account, _ in looked if account.modes and account.positions]
        for account, near in zip(apart, nearest(state, apart), strict=True):
            self.nearest[account.number] = near.found
        if len(looked) != len(self._known):
            self._known = dict(sorted(self._known.items()))
        return dict(self._known)

    def line(self, contract: Contract, *, longs: bool, closing: LiquidationText) -> Line:
        """The queue of a contract and side, up to date."""
        key = contract.number, longs
        line = self._queues.get(key)
        if line is None or line.closing is not closing:
            held = in_queue(self._state, contract, contract.holders, longs=longs)
            line = self._queues[key] = Line(closing)
        else:
            mine = [number for number in line.changed if number in contract.holders]
            held = in_queue(self._state, contract, mine, longs=longs)
            line.leave(line.changed)
        line.changed = set()
        line.join(scored(self._state, contract, held, closing))
        return line


def _near(state: State, verdicts: VenueWatch) -> Iterator[Account]:
    """Accounts of which a look may have something to say, in order.

    A watch tells healthy from near at a fifth of equity, with certainty where it asked nobody; of
    rulebooks that warn earlier all are asked, and of who holds isolated positions, whose pools it
    does not know.
    """
    early = {name for name, rules in state.rules.items() if max(rules.closing.calls.levels) > _NEAR}
    told, calls = verdicts.verdicts, state.calls
    far: Verdict | None = None  # the last that was found to be; most have the same one
    for account in state.accounts[FIRST_ACCOUNT:]:
        if account is None:
            continue
        seen = told.get(account.number)
        if seen is not None and seen is not far and _is_far(seen):
            far = seen
        if (
            seen is None
            or seen is not far
            or account.modes
            or account.status == LIQUIDATION
            or account.number in calls
            or account.rulebook in early
        ):
            yield account


def _is_far(seen: Verdict) -> bool:
    return seen.state is Class.HEALTHY and not _at_the_edge(seen.standing)


def _at_the_edge(found: Standing) -> bool:
    """Whether just a fifth of equity is left above maintenance, where a first level is entered."""
    return (found.equity_micro - found.maintenance_micro) * 5 <= found.equity_micro


def _next_of(coming: list[Account], known: Container[int], most: int) -> list[Account]:
    found: list[Account] = []
    while coming and len(found) < most:
        one = coming.pop()
        if one.status == LIQUIDATION and one.number not in known:
            found.append(one)
    return found


class Waiting(NamedTuple):
    """Who stands in a queue: the smaller the sooner."""

    behind: Fraction
    """The score, negated."""
    number: int


class Line:
    """A queue that is kept in order while some join and some leave."""

    def __init__(self, closing: LiquidationText) -> None:
        self.closing = closing
        self.changed: set[int] = set()
        self.order: list[Waiting] = []
        self._places: dict[int, Waiting] = {}

    def leave(self, numbers: Iterable[int]) -> None:
        """Some stand in it no more."""
        for number in numbers:
            was = self._places.pop(number, None)
            if was is not None:
                del self.order[bisect_left(self.order, was)]

    def join(self, scores: dict[int, Fraction | None]) -> None:
        """Some stand in it, by their scores."""
        new = {
            number: Waiting(-score, number) for number, score in scores.items() if score is not None
        }
        self._places |= new
        if len(new) > len(self.order):
            self.order = sorted([*self.order, *new.values()])
        else:
            for one in new.values():
                insort(self.order, one)
