"""Operations on an order desk, made up from a seed: what a swarm of accounts asks of it.

Enters: a seed, and the rows of events that came of the last operation. Leaves: operations as plain
values, valid and mad. Times are milliseconds.

>>> from solvent.sim.order_swarm import OrderSwarm
>>> OrderSwarm(7).draw().what
'open_book'
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from solvent.limits import LOTS_MAX
from solvent.messages.fields import Phase, Side
from solvent.orders.order import Why
from solvent.sim.order_draws import BOOKS_EVER, GROUPS, INDEX_NANO, SESSIONS, Named, OrderDraws

_WEIGHTS: Final = {
    "place": 90.0, "accept": 1.0, "amend": 12.0, "cancel": 4.0, "take_off": 1.5,
    "cancel_where": 0.6, "expire": 1.0, "set_phase": 2.0, "observe": 5.0, "settle_stops": 1.0,
    "set_protection": 1.0, "reset_protection": 0.7, "open_book": 0.15, "close_book": 0.1,
}  # fmt: skip
"""How often an operation is drawn where nothing is skewed."""
_ALWAYS: Final = ("place", "cancel", "open_book")


class Operation(NamedTuple):
    """What is asked: a name, the time, and what is told."""

    what: str
    time_ms: int
    told: dict[str, Any]


class OrderSwarm(OrderDraws):
    """One seed's operations."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        rng = self.rng
        self.kinds = [kind for kind in _WEIGHTS if kind in _ALWAYS or rng.random() < 0.8]
        self.weights = [_WEIGHTS[kind] * rng.choice((0.2, 1.0, 1.0, 3.0)) for kind in self.kinds]
        self.due = [self._opened() for _ in range(rng.choice((1, 2, 2, 3)))]
        if "group" in self.does:
            self.due += [
                self._protected(account, group) for account in self.accounts for group in GROUPS
            ]

    def draw(self) -> Operation:
        """The next operation."""
        if self.due:
            return self.due.pop(0)
        if self.rng.random() < 0.4:
            self.time_ms += self.one(self.pace)
        if len(self.resting) > self.alive and self.often(0.5):
            return self._cancel()
        if len(self.waiting) > self.alive / 2 and self.often(0.3):
            return self._observe() if self.often(0.6) else self._cancel(stops=1.0)
        if Phase.HALTED in self.phases.values() and self.often(0.1):
            return self._phase()
        return _DRAWN[self.rng.choices(self.kinds, self.weights)[0]](self)

    def see(self, rows: Iterable[list[Any]]) -> None:
        """Follow what came of the last operation by its events alone."""
        for row in rows:
            kind, named = row[0], (row[1], row[2])
            if kind == "order_rested":
                self.resting[named] = row[4]
                self.places[named] = row[3]
            elif kind == "order_reduced" and row[3]:
                self.resting[named] = row[3]
            elif kind == "order_reduced":
                del self.resting[named]
                if row[5] != Why.AMENDED:
                    self.filled.pop(named, None)
            elif kind == "order_ended":
                self.filled.pop(named, None)
            elif kind == "stop_placed":
                self.waiting[named] = row[3]
            elif kind in ("stop_triggered", "stop_cancelled"):
                del self.waiting[named]
            elif kind == "traded":
                self._traded(row)

    def _traded(self, row: list[Any]) -> None:
        _, instrument, _, lots, buyer, bought, seller, sold, _ = row
        for account, name, signed in ((buyer, bought, lots), (seller, sold, -lots)):
            self.filled[account, name] = self.filled.get((account, name), 0) + lots
            held = self.positions.get((account, instrument), 0)
            self.positions[account, instrument] = held + signed

    def _now(self, what: str, **told: Any) -> Operation:
        return Operation(what, self.time_ms, told)

    # ── books ────────────────────────────────────────────────────────────────────────────────

    def _opened(self) -> Operation:
        instrument = len(self.books) + len(self.closed) + 1
        terms = self.books[instrument] = self.terms()
        self.phases[instrument] = Phase.CONTINUOUS
        self.centres[instrument] = self.centre(terms)
        return self._now("open_book", instrument=instrument, terms=terms)

    def _open(self) -> Operation:
        if len(self.books) > 4:
            return self._close()
        if len(self.books) + len(self.closed) == BOOKS_EVER:
            return self._place()
        return self._opened()

    def _close(self) -> Operation:
        if len(self.books) < 2:
            return self._place()
        ended = [one for one in self.books if self.over(one)]
        instrument = self.one(ended or list(self.books))
        del self.books[instrument], self.phases[instrument]
        self.closed.append(instrument)
        return self._now("close_book", instrument=instrument)

    def _phase(self) -> Operation:
        instrument, phase = self.one(list(self.books)), self.one(self.ways)
        halted = [one for one in self.books if self.phases[one] is Phase.HALTED]
        if halted and self.often(0.5):
            instrument = self.one(halted)
        self.phases[instrument] = phase
        if self.often(self.mad / 8) and self.closed:
            instrument = self.one(self.closed)
        return self._now("set_phase", instrument=instrument, phase=phase)

    def _observe(self) -> Operation:
        instrument = self.instrument()
        if self.waiting and self.often(0.5):
            instrument = self.one(list(self.waiting.values()))
        if self.often(0.1) and not self.told(instrument).get("signed"):
            moved = self.centres[instrument] + self.one((-9, -3, 3, 9))
            self.centres[instrument] = max(5, moved)
        told: dict[str, Any] = {"instrument": instrument}
        far = 5 if self.often(0.2) else 1
        if self.often(0.7):
            told["mark_points"] = self.points(instrument, far)
        if self.often(0.5):
            told["index_nano"] = INDEX_NANO + self.near(8 * far)
        if self.often(self.settled):
            self.due.append(self._now("settle_stops"))
        return self._now("observe", **told)

    def _settle(self) -> Operation:
        return self._now("settle_stops")

    def _expire(self) -> Operation:
        self.time_ms += self.one(self.pace)
        return self._now("expire")

    # ── orders ───────────────────────────────────────────────────────────────────────────────

    def _place(self) -> Operation:
        return self._now("place", order=self.order())

    def _accept(self) -> Operation:
        return self._now("accept", order=self.order())

    def _known(self, *, stops: float) -> Named:
        """An order that is there, mostly."""
        lot = self.rng.random()
        if lot < 0.03 or not (self.resting or self.waiting):
            return self.one(self.accounts), self.one(self.names)
        if self.waiting and (lot < stops or not self.resting):
            return self.one(list(self.waiting))
        return self.one(list(self.resting))

    def _amend(self) -> Operation:
        if not self.resting and self.often(0.9):
            return self._place()
        account, name = self._known(stops=0.06)
        told: dict[str, Any] = {"account": account, "name": name, "lots": None, "price_ticks": None}
        place = self.places.get((account, name))
        left = self.resting.get((account, name), 1)
        if place is None or place not in self.books:
            return self._now("amend", **(told | {"lots": 3}))
        step = self.books[place].get("lots_step", 1)
        if self.does_now("amend_lots", 0.7):
            by = self.one((-3, -2, -1, -1, -1, 0, 1, 2, 5)) * step
            filled = self.filled.get((account, name), 0)
            told["lots"] = max(1 if self.often(self.mad) else step, filled + abs(left) + by)
        if self.does_now("amend_price", 0.6):
            told["price_ticks"] = self.price(place, 1 if left > 0 else -1)
            if self.often(self.mad):
                told["price_ticks"] = self.one((0, -3, 1, 7, 10**6))
        if self.often(self.mad / 4) and "display" not in self.does:
            told["lots"] = self.one((1, LOTS_MAX, LOTS_MAX // 2))
        return self._now("amend", **told)

    def _cancel(self, stops: float = 0.1) -> Operation:
        if not (self.resting or self.waiting) and self.often(0.9):
            return self._place()
        account, name = self._known(stops=stops)
        why = self.one((Why.CANCELLED, Why.CANCELLED, Why.RELIEF))
        return self._now("cancel", account=account, name=name, why=why)

    def _take_off(self) -> Operation:
        account, name = self._known(stops=0.0)
        if (account, name) in self.waiting:
            return self._place()
        left = abs(self.resting.get((account, name), 1))
        lots = left if self.often(0.3) else 1 + int(self.rng.random() * left)
        why = self.one((Why.FILLED, Why.LIQUIDATION))
        return self._now("take_off", account=account, name=name, lots=lots, why=why)

    def _cancel_where(self) -> Operation:
        told: dict[str, Any] = {}
        why = Why.CANCELLED
        if self.often(0.5):
            told["account"] = self.one(self.accounts)
        if self.often(0.3):
            told["instruments"] = [self.instrument(), self.instrument()]
        if self.often(0.3):
            told["side"] = self.one(tuple(Side))
        if self.often(0.2):
            told["group"] = self.one(GROUPS)
            why = Why.LIQUIDATION
        if self.often(0.2):
            told["session"] = self.one(SESSIONS)
            why = Why.DISCONNECTED
        return self._now("cancel_where", **told, why=why)

    # ── protection ───────────────────────────────────────────────────────────────────────────

    def _protected(self, account: int, group: str) -> Operation:
        size = self.size
        return self._now(
            "set_protection",
            account=account,
            group=group,
            window_ms=self.soon(10, 1_000),
            frozen_ms=self.soon(0, 20),
            lots=self.one((None, size, 4 * size)),
            delta_nano=self.one((None, size, 5 * size, 20 * size)),
        )

    def _protect(self) -> Operation:
        return self._protected(self.one(self.accounts), self.one(GROUPS))

    def _reset(self) -> Operation:
        group = "unheard-of" if self.often(0.03) else self.one(GROUPS)
        return self._now("reset_protection", account=self.one(self.accounts), group=group)


_DRAWN: Final = {
    "place": OrderSwarm._place, "accept": OrderSwarm._accept, "amend": OrderSwarm._amend,
    "cancel": OrderSwarm._cancel, "take_off": OrderSwarm._take_off,
    "cancel_where": OrderSwarm._cancel_where, "expire": OrderSwarm._expire,
    "set_phase": OrderSwarm._phase, "observe": OrderSwarm._observe,
    "settle_stops": OrderSwarm._settle, "set_protection": OrderSwarm._protect,
    "reset_protection": OrderSwarm._reset, "open_book": OrderSwarm._open,
    "close_book": OrderSwarm._close,
}  # fmt: skip
