"""A desk as rows, and back: it continues exactly as the one that the rows were taken of.

Also the random days that other tests of orders play.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import msgspec
import pytest

from solvent.errors import InvariantBroken, Refused
from solvent.messages.events import Event
from solvent.messages.fields import Phase, SelfTrade, Side, StopAt, TimeInForce, Trigger
from solvent.orders.book import live
from solvent.orders.desk import Desk
from solvent.orders.image import fill_in
from solvent.orders.order import BookTerms, Order, Why
from solvent.orders.stops import holds
from tests.test_orders_desk import RISES, Money, Table, sound

Step = tuple[str, dict[str, Any]]
TERMS = {
    1: BookTerms(points_per_tick=10),
    2: BookTerms(price_step=2, lots_step=2, band_ppm=100_000, points_per_tick=10),
    3: BookTerms(signed=True, band_ppm=1),
    4: BookTerms(matching=False),
}
ACCOUNTS = (1, 2, 3, 4)


def new_desk() -> Desk:
    desk = Desk()
    for number, terms in TERMS.items():
        desk.open_book(number, terms)
    return desk


def new_order(draws: random.Random, number: int) -> dict[str, Any]:
    """Terms of an order, often but not always such as go together."""
    on = draws.choice((1, 1, 1, 2, 3, 4))
    told = draws.choice((TimeInForce.GTC,) * 5 + tuple(TimeInForce))
    about = {1: 100, 2: 100, 3: 0, 4: 100}[on]
    stop = None
    if draws.random() < 0.15:
        rises = draws.random() < 0.5
        at = about * 10 + draws.randint(1, 40) * (1 if rises else -1)
        stop = StopAt(draws.choice(tuple(Trigger)), max(1, at), rises)
    lots = draws.choice((1, -1)) * draws.choice((2, 4, 6, 10, 30))
    price = None if draws.random() < 0.1 else about + draws.randint(-4, 4) * draws.choice((1, 2))
    return {
        "account": draws.choice(ACCOUNTS), "name": f"o{number}", "instrument": on, "lots": lots,
        "price_ticks": price,
        "time_in_force": told if price is not None else draws.choice(tuple(TimeInForce)[2:]),
        "expire_ms": 1_000 + number + draws.randint(0, 60) if told is TimeInForce.GTD else 0,
        "post_only": draws.random() < 0.05, "reduce_only": draws.random() < 0.1,
        "display": draws.choice((0, 0, 0, 2)), "self_trade": draws.choice(tuple(SelfTrade)),
        "group": draws.choice(("", "", "mm")), "session": draws.choice(("", "x")), "stop": stop,
    }  # fmt: skip


def anything(draws: random.Random, desk: Desk, number: int) -> Step:
    """What may be asked next; it may be refused."""
    kind = draws.choices(
        ("place", "cancel", "amend", "observe", "phase", "where", "off", "protect", "reset",
         "expire", "close", "poor"),
        (60, 12, 20, 10, 6, 0.5, 3, 2, 2, 2, 0.05, 1),
    )[0]  # fmt: skip
    account = draws.choice(ACCOUNTS)
    names = [*desk.orders.get(account, {}), *desk.stops.get(account, {}), "none"]
    name, on = draws.choice(names), draws.choice(tuple(TERMS))
    match kind:
        case "place":
            return kind, new_order(draws, number)
        case "cancel":
            return kind, {"account": account, "name": name}
        case "amend":
            return kind, {
                "account": account, "name": name,
                "lots": draws.choice((None, 2, 4, 10, 20)),
                "price_ticks": draws.choice((None, 96, 98, 100, 102, 104, 0, -2)),
            }  # fmt: skip
        case "observe":
            mark, index = (1_000 + draws.randint(-40, 40) for _ in range(2))
            return kind, {"on": on, "mark": mark, "index": draws.choice((None, index))}
        case "phase":
            return kind, {"on": on, "phase": draws.choice((*Phase, *4 * [Phase.CONTINUOUS]))}
        case "where":
            told = {"account": account, "instruments": (on,), "side": draws.choice(tuple(Side)),
                    "group": "mm", "session": "x"}  # fmt: skip
            return kind, {key: told[key] for key in draws.sample(sorted(told), 2)}
        case "off":
            return kind, {"account": account, "name": name, "lots": draws.choice((1, 2, 5))}
        case "protect":
            return kind, {
                "account": account, "group": "mm", "window_ms": draws.choice((1, 5, 20)),
                "frozen_ms": draws.choice((0, 3, 10)), "lots": draws.choice((None, 5, 20)),
                "delta_nano": draws.choice((None, 20)),
            }  # fmt: skip
        case _:
            return kind, {"account": account, "group": "mm", "on": on}


def do(desk: Desk, money: Money, time_ms: int, step: Step) -> list[Event]:
    """Carry a step out, as an engine does; a refusal changes nothing."""
    events: list[Event] = []
    try:
        if step[0] in ("place", "amend", "observe", "phase"):
            trade(desk, money, time_ms, step, events)
        else:
            set_up(desk, money, time_ms, step, events)
    except Refused:
        assert not events
    return events


def trade(desk: Desk, money: Money, time_ms: int, step: Step, events: list[Event]) -> None:
    """Steps that may make orders trade."""
    kind, told = step
    now: Any = {"time_ms": time_ms, "gate": money}
    match kind:
        case "place":
            order = Order(**told)
            desk.accept(order, **now)
            desk.enter(order, **now, events=events)
        case "amend":
            desk.accept_amend(**told, **now)
            desk.amend(**told, **now, events=events)
        case "observe":
            desk.observe(told["on"], mark_points=told["mark"], index_nano=told["index"])
            desk.expire(time_ms=time_ms, events=events)
            desk.settle_stops(**now, events=events)
        case _:
            desk.set_phase(told["on"], told["phase"], **now, events=events)


def set_up(desk: Desk, money: Money, time_ms: int, step: Step, events: list[Event]) -> None:
    """Steps that take back, and steps that happen beside the books."""
    kind, told = step
    match kind:
        case "cancel":
            desk.cancel(**told, why=Why.CANCELLED, time_ms=time_ms, events=events)
        case "where":
            desk.cancel_where(**told, why=Why.CANCELLED, events=events)
        case "off":
            desk.take_off(**told, why=Why.LIQUIDATION, events=events)
        case "protect":
            desk.set_protection(**told)
        case "reset":
            desk.reset_protection(told["account"], told["group"])
        case "expire":
            desk.expire(time_ms=time_ms, events=events)
        case "close":
            desk.close_book(told["on"], events=events)
        case _:
            money.poor = {told["account"]} - money.poor


def encoded(desk: Desk) -> bytes:
    return msgspec.msgpack.encode(desk.image())


@pytest.mark.parametrize("seed", range(6))
def test_a_desk_restored_continues_exactly_as_the_original(seed: int) -> None:
    draws = random.Random(seed)
    desk, money = new_desk(), Money()
    money.deltas = {1: 1, 2: -2, 3: 0}
    again, again_money = desk, money
    traded = 0
    for number in range(1_500):
        if number % 150 == 0:
            again = Desk.restored(msgspec.msgpack.decode(encoded(desk)), TERMS)
            again_money = copy.deepcopy(money)
            sound(desk)
            sound(again)
        step = anything(draws, desk, number)
        found = do(desk, money, 1_000 + number, step)
        assert do(again, again_money, 1_000 + number, step) == found
        assert encoded(again) == encoded(desk)
        assert again.depth(1) == desk.depth(1) if 1 in desk.books else True
        traded += sum(type(event).__name__ == "Traded" for event in found)
    assert money.lots == again_money.lots
    assert traded > 50
    assert desk.orders


@pytest.mark.parametrize("seed", range(6, 10))
def test_nothing_is_left_that_should_have_gone(seed: int) -> None:
    draws = random.Random(seed)
    desk, money = new_desk(), Money()
    for number in range(1_500):
        step = anything(draws, desk, number)
        events = do(desk, money, 1_000 + number, step)
        if number % 5 == 0:
            sound(desk)
        for mine in desk.stops.values():
            for order in mine.values():
                book = desk.books[order.instrument]
                assert order.stop is not None
                assert book.phase is not Phase.CONTINUOUS or not holds(
                    order.stop, book.references()
                )
        if step[0] in ("place", "expire") and events:
            kept = [o for table in (desk.orders, desk.stops) for m in table.values()
                    for o in m.values()]  # fmt: skip
            assert all(live(order, 1_000 + number) for order in kept)


def test_an_image_is_plain_rows() -> None:
    table = Table()
    table.protect(7, "mm", lots=9, delta_nano=1 << 40, frozen_ms=7, window_ms=6)
    table.place(7, "b", 5, 99, group="mm", session="x", display=2, post_only=True)
    table.place(7, "a", -5, 101, time_in_force=TimeInForce.GTD, expire_ms=5_000)
    table.place(8, "s", -5, reduce_only=False, stop=RISES, self_trade=SelfTrade.BOTH)
    table.place(9, "t", -1, 99)
    table.desk.observe(1, mark_points=1_000)
    assert table.desk.image() == (
        3,
        [(1, "continuous", 1_000, None, 99)],
        [(7, [("b", 1, 4, 99, 1, 1, 1, "gtc", 0, True, False, 2, "newest", "mm", "x", None),
              ("a", 1, -5, 101, 2, 5, 0, "gtd", 5_000, False, False, 0, "newest", "", "", None)])],
        [(8, [("s", 1, -5, None, 3, 0, 0, "ioc", 0, False, False, 0, "both", "", "",
               ("last", 200, True))])],
        [(7, "mm", 6, 7, 9, 1 << 40, False, 0, [(1_000, 1, "1000000000")])],
    )  # fmt: skip


def test_an_image_holds_deltas_of_any_size() -> None:
    table = Table()
    table.money.deltas = {1: 1 << 62}
    table.protect(7, "mm", lots=1 << 40)
    table.place(7, "a", 1 << 30, 99, group="mm")
    table.place(8, "t", -(1 << 30), 99)
    rows = msgspec.msgpack.decode(encoded(table.desk))
    again = Desk.restored(rows, table.terms)
    assert again.groups[7, "mm"].notes == table.desk.groups[7, "mm"].notes


def test_a_frozen_group_is_restored_frozen() -> None:
    table = Table()
    table.protect(7, "mm", lots=1, frozen_ms=100)
    table.place(7, "a", 5, 99, group="mm")
    table.place(8, "t", -5, 99)
    again = Desk.restored(table.desk.image(), table.terms)
    assert again.groups[7, "mm"].frozen(1_099)
    assert not again.groups[7, "mm"].frozen(1_100)


def test_rows_fill_empty_books_alone() -> None:
    table = Table()
    with pytest.raises(InvariantBroken, match="books are empty"):
        fill_in(table.desk, table.desk.image(), table.terms)
