"""Orders made up from a seed: one swarm's tastes, and what its accounts ask for.

Each seed switches a part of everything off and skews the rest, so that what rarely comes together
does so in some. Enters: a seed, and what the swarm has come to. Leaves: what an order tells, by the
names of the desk's `Order`. Lots are signed, positive to buy; prices are ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final, TypeVar

from solvent.limits import LOTS_MAX
from solvent.messages.fields import Phase, SelfTrade, StopAt, TimeInForce, Trigger

T = TypeVar("T")
Terms = dict[str, Any]
Named = tuple[int, str]
"""Account and name of an order."""
START_MS: Final = 1_000_000
GROUPS: Final = ("g1", "g2")
SESSIONS: Final = ("s1", "s2")
INDEX_NANO: Final = 1_000
BOOKS_EVER: Final = 40
_PPM: Final = 1_000_000
_FEATURES: Final = (
    "market", "ioc", "fok", "gtd", "post_only", "reduce_only", "display", "stop", "group",
    "session", "amend_price", "amend_lots",
)  # fmt: skip
_PHASES: Final = (
    (Phase.CONTINUOUS,),
    (Phase.AUCTION, Phase.CONTINUOUS),
    (Phase.AUCTION, Phase.CONTINUOUS),
    (Phase.AUCTION, Phase.CONTINUOUS, Phase.CONTINUOUS, Phase.HALTED),
    (Phase.AUCTION, Phase.AUCTION, Phase.CONTINUOUS, Phase.HALTED),
    (Phase.CONTINUOUS, Phase.HALTED),
)


class OrderDraws:
    """One seed's tastes and what has come of it.

    Attributes:
        resting: signed lots of what rests, by account and name, as events tell it. waiting: the
            instruments of stops. filled, places: lots so far and instruments, maybe of the past.
        books: terms by instrument; phases: how they trade; centres: ticks about which they do.
        positions: signed lots by account and instrument.
        orders_max: how many orders an account may have. alive: how many there are before they are
            taken back.
        refusals: of so many fills one is refused by the gate, 0 for none; by_terms: the same fill
            always is.
    """

    def __init__(self, seed: int) -> None:
        rng = self.rng = Random(seed)
        self.time_ms = START_MS
        self.resting: dict[Named, int] = {}
        self.waiting: dict[Named, int] = {}
        self.filled: dict[Named, int] = {}
        self.places: dict[Named, int] = {}
        self.books: dict[int, Terms] = {}
        self.phases: dict[int, Phase] = {}
        self.centres: dict[int, int] = {}
        self.closed: list[int] = []
        self.does = {name for name in _FEATURES if rng.random() < 0.65}
        self.accounts = list(range(11, 11 + rng.choice((1, 2, 2, 3, 3, 4, 4, 6, 6, 8))))
        self.alive = rng.choice((5, 10, 20, 40))
        self.orders_max = rng.choice((5, *[10_000] * 5))
        self.names = [f"{letter}{n}" for letter in "abcdef" for n in range(rng.choice((1, 8, 8)))]
        self.reach = rng.choice((0, 1, 2, 3, 8))
        self.passive = rng.choice(((0,), (0, 0, 1), (0, 1, 2), (-1, 0, 1), (-1, -1, 0, 2)))
        self.size = rng.choice((1, 3, 10, 60))
        self.mad = rng.choice((0.0, 0.0, 0.02, 0.1))
        self.pace = rng.choice(((0,), (0, 0, 0, 1), (0, 1, 7, 50), (1, 100, 1_000)))
        self.share = rng.choice((0.1, 0.3, 0.6))
        self.settled = rng.choice((0.3, 0.9, 1.0))
        self.refusals = rng.choice((0, 0, 2, 5, 20))
        self.by_terms = rng.random() < 0.5
        self.ways = rng.choice(_PHASES)
        self.positions = {
            (account, instrument): rng.randrange(-2 * self.size, 2 * self.size + 1)
            for account in self.accounts
            for instrument in range(1, BOOKS_EVER + 1)
        }

    # ── lots ─────────────────────────────────────────────────────────────────────────────────

    def one(self, among: Sequence[T]) -> T:
        """One of some."""
        return among[int(self.rng.random() * len(among))]

    def often(self, share: float) -> bool:
        """True in so many of all cases."""
        return self.rng.random() < share

    def does_now(self, feature: str, share: float) -> bool:
        """Whether this seed has a feature, and now is the time for it."""
        return feature in self.does and self.rng.random() < share

    def near(self, most: int) -> int:
        """A whole number as far from zero as this, either way."""
        return int(self.rng.random() * (2 * most + 1)) - most

    def soon(self, *others: int) -> int:
        """A time that may be just what passes until something else happens, or another."""
        return self.one((*others, *(step for step in self.pace if step), 1))

    # ── books ────────────────────────────────────────────────────────────────────────────────

    def terms(self) -> Terms:
        """What a new book takes."""
        rng = self.rng
        terms: Terms = {"points_per_tick": rng.choice((1, 10, 7))}
        if rng.random() < 0.4:
            step = rng.choice((2, 5))
            terms.update(lots_step=step, lots_min=step * rng.choice((1, 2)))
            terms["lots_max"] = step * rng.choice((4, 8, 40))
        if rng.random() < 0.4:
            terms["price_step"] = rng.choice((2, 5))
        if rng.random() < 0.2:
            terms["signed"] = True
        if rng.random() < 0.5:
            terms["band_ppm"] = rng.choice((20_000, 100_000, _PPM))
        if rng.random() < 0.12:
            terms["matching"] = False
        if rng.random() < 0.15:
            terms["expiry_ms"] = self.time_ms + rng.choice((50, 2_000, 50_000))
        return terms

    def centre(self, terms: Terms) -> int:
        """About which price a new book trades."""
        return 0 if terms.get("signed") else self.one((20, 100, 1_000))

    def told(self, instrument: int) -> Terms:
        """A book's terms; none of one that is closed."""
        return self.books.get(instrument, {})

    def instrument(self) -> int:
        """A book, mostly one in which something can be done, seldom a closed one."""
        if self.closed and self.often(self.mad / 8):
            return self.one(self.closed)
        books = list(self.books)
        found = self.one(books)
        for _ in range(3):
            if self.phases[found] is not Phase.HALTED and not self.over(found):
                break
            found = self.one(books)
        return found

    def over(self, instrument: int) -> bool:
        """Whether an instrument has ended."""
        expiry_ms = self.told(instrument).get("expiry_ms")
        return expiry_ms is not None and bool(expiry_ms <= self.time_ms)

    def points(self, instrument: int, far: int = 1) -> int:
        """A mark near the centre of a book's prices, mostly not at a whole tick."""
        each = int(self.told(instrument).get("points_per_tick", 1))
        return max(0, abs(self.centres[instrument]) * each + self.near(2 * far * each))

    def lots(self, instrument: int) -> int:
        """Lots of an order."""
        terms = self.told(instrument)
        step = terms.get("lots_step", 1)
        most = terms.get("lots_max", LOTS_MAX) // step
        if most > 100 and self.often(self.mad / 10):
            return LOTS_MAX // self.one((2, 3))
        least = terms.get("lots_min", 1) // step
        return int(step * min(most, least + int(self.rng.random() * self.size)))

    def price(self, instrument: int, side: int) -> int:
        """A price near the centre; `side` is 1 to buy."""
        terms = self.told(instrument)
        step = terms.get("price_step", 1)
        if self.phases.get(instrument) is Phase.AUCTION:
            away = self.near(self.reach) + side * self.one((0, 1, 2))
        else:
            away = self.near(self.reach) - side * self.one(self.passive)
        centre = self.centres[instrument] // step + away
        return int(step * (centre if terms.get("signed") else max(1, centre)))

    # ── orders ───────────────────────────────────────────────────────────────────────────────

    def order(self) -> dict[str, Any]:
        """What an order tells."""
        instrument = self.instrument()
        side = self.one((1, -1))
        told: dict[str, Any] = {
            "account": self.one(self.accounts),
            "name": self.one(self.names),
            "instrument": instrument,
            "lots": side * self.lots(instrument),
            "price_ticks": self.price(instrument, side),
            "time_in_force": TimeInForce.GTC,
            "self_trade": self.one(tuple(SelfTrade)),
        }
        self._reduce_only(told)
        if self.does_now("group", self.share):
            told["group"] = self.one(GROUPS)
        if self.does_now("session", self.share):
            told["session"] = self.one(SESSIONS)
        rests = not self.told(instrument).get("matching", True)
        if self.does_now("gtd", self.share):
            told["time_in_force"] = TimeInForce.GTD
            told["expire_ms"] = self.time_ms + self.soon(5, 100, 3_000, 50_000)
        if not rests or self.often(self.mad):
            if self.does_now("stop", self.share):
                told["stop"] = self._stop(instrument)
            if self.phases.get(instrument) is not Phase.AUCTION or self.often(0.1):
                self._at_once(told)
            if told["time_in_force"] in (TimeInForce.GTC, TimeInForce.GTD):
                self._waits(told)
        if self.often(self.mad):
            self._spoil(told)
        return told

    def _reduce_only(self, told: dict[str, Any]) -> None:
        """Mostly on the side that can reduce something."""
        if not self.does_now("reduce_only", self.share):
            return
        told["reduce_only"] = True
        held = self.positions.get((told["account"], told["instrument"]), 0)
        if held * told["lots"] > 0 and self.often(0.8):
            told["lots"] = -told["lots"]

    def _at_once(self, told: dict[str, Any]) -> None:
        """Some orders do not wait."""
        now = None
        if self.does_now("market", 0.15):
            told["price_ticks"] = None
            now = TimeInForce.IOC
        if self.does_now("fok", 0.2):
            now = TimeInForce.FOK
        elif self.does_now("ioc", 0.15):
            now = TimeInForce.IOC
        if now is not None:
            told.pop("expire_ms", None)
            told["time_in_force"] = now

    def _waits(self, told: dict[str, Any]) -> None:
        """What only an order that waits may ask for."""
        if self.does_now("post_only", self.share / 2):
            told["post_only"] = True
        if self.does_now("display", self.share):
            shown, lots = sorted((self.lots(told["instrument"]), abs(told["lots"])))
            told["display"] = shown
            told["lots"] = lots if told["lots"] > 0 else -lots

    def _stop(self, instrument: int) -> StopAt:
        """What it waits for, near where prices are."""
        trigger = self.one(tuple(Trigger))
        if trigger is Trigger.INDEX:
            price = INDEX_NANO + self.near(10)
        else:
            price = max(1, self.points(instrument))
        return StopAt(trigger, price, self.often(0.5))

    def _spoil(self, told: dict[str, Any]) -> None:
        """Put one thing in an order wrong."""
        name, value = self.one((
            ("lots", 0), ("lots", told["lots"] + 1), ("lots", 1), ("lots", -LOTS_MAX),
            ("price_ticks", 0), ("price_ticks", -5), ("price_ticks", None),
            ("price_ticks", (told["price_ticks"] or 7) + 1), ("price_ticks", 10**6),
            ("price_ticks", 1), ("expire_ms", self.time_ms), ("expire_ms", self.time_ms + 9),
            ("post_only", True), ("display", 1), ("display", 10**6), ("group", "unheard-of"),
            ("time_in_force", TimeInForce.GTD), ("time_in_force", TimeInForce.FOK),
            ("time_in_force", TimeInForce.GTC), ("past", True),
        ))  # fmt: skip
        if name == "past":
            told.update(time_in_force=TimeInForce.GTD, expire_ms=self.time_ms)
        else:
            told[name] = value
