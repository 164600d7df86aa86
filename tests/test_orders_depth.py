"""What all may see: books found from events, by number, and how far the mark moved after trades."""

from __future__ import annotations

import random
from bisect import bisect_left
from fractions import Fraction

import pytest

from solvent.errors import InvariantBroken
from solvent.messages.events import Delisted, Traded
from solvent.orders.depth import BUY, Change, Depth, DepthFeed, MarkOut, MarkOuts
from tests.test_orders_desk import Money, Table
from tests.test_orders_image import TERMS, anything, do, new_desk


class Client:
    """Who took a snapshot and follows the changes since."""

    def __init__(self, start: Depth) -> None:
        self.sequence = start.sequence
        self.bids, self.asks = dict(start.bids), dict(start.asks)

    def apply(self, change: Change) -> None:
        if change.sequence <= self.sequence:
            return
        assert change.sequence == self.sequence + 1
        self.sequence += 1
        for side, price, lots in change.levels:
            book = self.bids if side == BUY else self.asks
            assert book.get(price, 0) != lots
            if lots:
                book[price] = lots
            else:
                del book[price]

    def book(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


# ── depth ────────────────────────────────────────────────────────────────────────────────────────


def test_changes_of_a_book() -> None:
    table, feed = Table(), DepthFeed()
    assert feed.snapshot(1) == Depth(1, 0, (), ())
    assert feed.best(1) == (None, None)
    assert feed.apply(table.place(7, "a", 5, 99)) == [Change(1, 1, (("buy", 99, 5),), ())]
    feed.apply(table.place(7, "b", 2, 98))
    feed.apply(table.place(8, "c", -10, 101, display=3))
    feed.apply(table.place(8, "d", 1, 99))
    assert feed.snapshot(1) == Depth(1, 4, ((99, 6), (98, 2)), ((101, 3),))
    assert feed.snapshot(1, 1) == Depth(1, 4, ((99, 6),), ((101, 3),))
    assert feed.best(1) == ((99, 6), (101, 3))
    assert feed.apply(table.amend(7, "a", price=100)) == [
        Change(1, 5, (("buy", 100, 5), ("buy", 99, 1)), ())
    ]
    # Three levels of bids, and the rest of the order that took them.
    assert feed.apply(table.place(9, "t", -9, 98)) == [
        Change(
            1, 6,
            (("buy", 100, 0), ("buy", 99, 0), ("buy", 98, 0), ("sell", 98, 1)),
            ((100, 5, "sell"), (99, 1, "sell"), (98, 2, "sell")),
        )
    ]  # fmt: skip
    assert feed.best(1) == (None, (98, 1))


def test_a_trade_with_a_hidden_part_may_change_no_level() -> None:
    table, feed = Table(), DepthFeed()
    feed.apply(table.place(8, "c", -10, 101, display=3))
    assert feed.apply(table.place(9, "t", 3, 101)) == [Change(1, 2, (), ((101, 3, "buy"),))]


def test_what_changes_nothing_has_no_number() -> None:
    table, feed = Table(), DepthFeed()
    feed.apply(table.place(8, "c", -10, 101))
    assert feed.apply(table.amend(8, "c", lots=10)) == []
    assert feed.apply(table.place(9, "n", 3)[1:]) != []
    assert feed.apply(table.place(9, "m", -3)) == []
    assert feed.apply([]) == []
    assert feed.snapshot(1).sequence == 2


def test_instruments_are_told_apart() -> None:
    table, feed = Table(), DepthFeed()
    table.open(2)
    for on in (2, 1):
        feed.apply(table.place(8, f"a{on}", -10, 101, on=on))
        feed.apply(table.place(8, f"b{on}", -10, 102, on=on))
    assert feed.apply(table.cancel_where(account=8)) == [
        Change(2, 3, (("sell", 101, 0), ("sell", 102, 0)), ()),
        Change(1, 3, (("sell", 101, 0), ("sell", 102, 0)), ()),
    ]


def test_an_instrument_that_is_over_is_forgotten() -> None:
    table, feed = Table(), DepthFeed()
    feed.apply(table.place(8, "c", -10, 101))
    feed.apply([*table.cancel(8, "c"), Delisted(1)])
    assert feed.snapshot(1) == Depth(1, 0, (), ())
    assert feed.apply([Delisted(2)]) == []


@pytest.mark.parametrize("seed", range(5))
def test_who_follows_the_changes_has_the_same_book(seed: int) -> None:
    draws = random.Random(seed)
    desk, money, feed = new_desk(), Money(), DepthFeed()
    clients: dict[int, list[Client]] = {number: [] for number in TERMS}
    trades = changes = 0
    for number in range(1_500):
        if number % 300 == 0:
            for on in TERMS:
                clients[on].append(Client(feed.snapshot(on)))
        events = do(desk, money, 1_000 + number, anything(draws, desk, number))
        found = feed.apply(events)
        assert len({change.instrument for change in found}) == len(found)
        changes += len(found)
        for change in found:
            for client in clients[change.instrument]:
                client.apply(change)
            trades += len(change.trades)
        trades -= sum(isinstance(event, Traded) for event in events)
        for on in desk.books:
            bids, asks = desk.depth(on)
            book = [(p, n) for p, n, _ in bids], [(p, n) for p, n, _ in asks]
            assert all(client.book() == book for client in clients[on])
            depth = feed.snapshot(on)
            assert (list(depth.bids), list(depth.asks)) == book
            best = desk.best(on)
            assert tuple(one and one[0] for one in feed.best(on)) == best
    assert trades == 0
    assert changes > 300


# ── what trades were worth later ─────────────────────────────────────────────────────────────────


def traded(lots: int, aggressor: str, instrument: int = 1) -> Traded:
    return Traded(instrument, 100, lots, 7, "a", 8, "b", aggressor)


def test_the_move_of_the_mark_after_trades() -> None:
    outs = MarkOuts((100, 1_000))
    outs.traded(traded(50, "buy"), time_ms=0)  # before the first mark
    outs.marked(1, mark_points=1_000, time_ms=0)
    outs.traded(traded(3, "buy"), time_ms=0)
    outs.traded(traded(9, ""), time_ms=0)
    outs.marked(1, mark_points=1_010, time_ms=50)
    outs.traded(traded(1, "sell"), time_ms=60)
    assert outs.found(1, time_ms=100) == [MarkOut(100, 0, 0, None), MarkOut(1_000, 0, 0, None)]
    outs.marked(1, mark_points=1_002, time_ms=100)  # at the very time: it counts
    outs.marked(1, mark_points=1_004, time_ms=100)  # the last of them
    # 3 lots gained 4 points
    assert outs.found(1, time_ms=101)[0] == MarkOut(100, 1, 3, Fraction(4))
    outs.marked(1, mark_points=1_007, time_ms=161)
    # and 1 lot, sold at 1,010, gained 6: the mark was 1,004 until 160
    assert outs.found(1, time_ms=161)[0] == MarkOut(100, 2, 4, Fraction(18, 4))
    outs.marked(1, mark_points=980, time_ms=1_000)
    # 3 lots lost 20, 1 lot gained 30
    assert outs.found(1, time_ms=5_000) == [
        MarkOut(100, 2, 4, Fraction(9, 2)), MarkOut(1_000, 2, 4, Fraction(-30, 4)),
    ]  # fmt: skip


def test_mark_outs_are_by_instrument() -> None:
    outs = MarkOuts((10,))
    for instrument in (1, 2):
        outs.marked(instrument, mark_points=100, time_ms=1)
        outs.traded(traded(1, "buy", instrument), time_ms=1)
    outs.marked(2, mark_points=90, time_ms=2)
    assert outs.found(1, time_ms=20) == [MarkOut(10, 1, 1, Fraction(0))]
    assert outs.found(2, time_ms=20) == [MarkOut(10, 1, 1, Fraction(-10))]
    assert outs.found(3, time_ms=20) == [MarkOut(10, 0, 0, None)]


def test_times_never_go_back() -> None:
    outs = MarkOuts((10,))
    outs.marked(1, mark_points=100, time_ms=5)
    with pytest.raises(InvariantBroken, match="never go back"):
        outs.traded(traded(1, "buy"), time_ms=4)


@pytest.mark.parametrize("seed", range(3))
def test_mark_outs_agree_with_looking_every_trade_up(seed: int) -> None:
    draws = random.Random(seed)
    horizons = (0, 7, 50)
    outs = MarkOuts(horizons)
    marks: list[tuple[int, int]] = []
    trades: list[tuple[int, int]] = []
    for time_ms in range(400):
        for _ in range(draws.choice((0, 0, 1, 2))):
            marks.append((time_ms, draws.randint(900, 1_100)))
            outs.marked(1, mark_points=marks[-1][1], time_ms=time_ms)
            if draws.random() < 0.5:
                side = draws.choice(("buy", "sell"))
                event = traded(draws.randint(1, 9), side)
                outs.traded(event, time_ms=time_ms)
                trades.append((len(marks) - 1, event.lots if side == "buy" else -event.lots))
    times = [time_ms for time_ms, _ in marks]
    for horizon_ms, found in zip(horizons, outs.found(1, time_ms=390 + 9), strict=True):
        done = [(at, lots) for at, lots in trades if marks[at][0] + horizon_ms < 399]
        total = sum(
            lots * (marks[bisect_left(times, marks[at][0] + horizon_ms + 1) - 1][1] - marks[at][1])
            for at, lots in done
        )
        size = sum(abs(lots) for _, lots in done)
        assert found == MarkOut(horizon_ms, len(done), size, Fraction(total, size))
