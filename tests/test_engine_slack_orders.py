"""Orders beside trades: bounds decide nothing, and sums are what a walk over all orders gives."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from functools import cache
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.engine import ahead, slack
from solvent.engine.apply import Applied, apply_all
from solvent.engine.audit import violations
from solvent.engine.combos import split
from solvent.engine.image import image, restore, state_hash
from solvent.engine.open_orders import Asked
from solvent.engine.standing import View, standing, standings, view
from solvent.engine.state import Account, Spared, Standing, State
from solvent.errors import Reject
from solvent.limits import COMBO_FIRST
from solvent.messages import commands as c
from solvent.messages.codec import encode_command
from solvent.messages.events import (
    OrderEnded,
    OrderReduced,
    OrderRested,
    PositionChanged,
    Traded,
)
from solvent.messages.fields import (
    ComboLeg,
    Command,
    IndexPrice,
    MarkPrice,
    OpeningPosition,
    Phase,
    SelfTrade,
    Side,
    StopAt,
    TimeInForce,
    Trigger,
)
from solvent.units import div_half_even
from tests.test_engine_slack import check_bounds
from tests.venues import (
    BOOK,
    CALL,
    DOLLAR,
    FAR,
    FUT,
    HIGH,
    INV,
    LIN,
    MARKS,
    MARKS_MORE,
    NANO,
    NEAR,
    OUTSIDE,
    PUT,
    QUANTO,
    SPREAD,
    T0,
    Venue,
    arrays,
    new_venue,
    order_of,
)

PEOPLE: Final = 8
LOTS: Final = {FUT: 40_000, LIN: 40, INV: 300, CALL: 4, PUT: 20, QUANTO: 60, NEAR: 30, FAR: 30,
               "ROLL": 60, "RISE": 5}  # fmt: skip
POINTS: Final = {**MARKS, **MARKS_MORE, "ROLL": 6_000, "RISE": 6_000}
FEES: Final = """
[[engine.fees]]
component = "taker"
rate = 0.0005
[[engine.fees]]
component = "maker"
rate = -0.0001
payer = "maker"
"""


@cache
def _crowd(engine: str) -> bytes:
    """Eight people under Deribit's rules, all with little."""
    venue = new_venue(engine, scans=True, more=True)
    for name, *legs in (("ROLL", (FAR, 1), (NEAR, -1)), ("RISE", (CALL, 1), (HIGH, -1))):
        pairs = tuple(ComboLeg(*leg) for leg in legs)
        venue.do(c.ListCombo, symbol=name, legs=pairs, tick_size="1")
    for number in range(PEOPLE):
        money = (100, 300, 1_000, 3_000)[number % 4]
        name = f"u{number}"
        venue.open(name, usdc=money, btc=5 * 10**6, rulebook="deribit-pm")
        venue.do(c.SetProtection, account=name, group="g", window_ms=1, frozen_ms=0,
                 lots=10_000)  # fmt: skip
    return image(venue.state)


def crowd(engine: str = BOOK) -> State:
    return restore(_crowd(engine))


# ── what people ask ──────────────────────────────────────────────────────────────────────────────


class Draw:
    """Requests near what people can bear; orders are named so that later ones find them."""

    def __init__(self, rng: Random, tag: str) -> None:
        self.rng, self.tag, self.count = rng, tag, 0
        self.placed: list[tuple[str, str]] = [("u0", "none")]

    def commands(self, count: int) -> list[Command]:
        return [self.command() for _ in range(count)]

    def command(self) -> Command:
        self.count += 1
        key, what = f"{self.tag}{self.count}", self.rng.random()
        told: dict[str, Any] = {"key": key, "actor": "op"}
        if what < 0.45:
            return self._place(told)
        if what < 0.60:
            return self._change(told)
        if what < 0.75:
            return self._trade(told)
        if what < 0.83:
            return self._money(told)
        return self._rest(told, what)

    def _person(self) -> str:
        return f"u{self.rng.randrange(PEOPLE)}"

    def _ticks(self, symbol: str) -> int:
        return POINTS[symbol] // 10 + self.rng.randint(-3, 3)

    def _place(self, told: dict[str, Any]) -> Command:
        rng, name, symbol = self.rng, self._person(), self.rng.choice(list(LOTS))
        self.placed.append((name, told["key"]))
        lots = rng.randint(1, LOTS[symbol]) * rng.choice((-1, 1))
        more: dict[str, Any] = {}
        kind = rng.random()
        ticks: int | None = self._ticks(symbol)
        if kind < 0.1:
            more["time_in_force"] = rng.choice((TimeInForce.IOC, TimeInForce.FOK))
            ticks = rng.choice((ticks, None))
        elif kind < 0.2:
            more["stop"] = StopAt(Trigger.MARK, POINTS[symbol] + rng.choice((-20, 20)),
                                  rng.random() < 0.5)  # fmt: skip
        elif kind < 0.3:
            more["reduce_only"] = True
        elif kind < 0.4:
            more |= {"display_lots": 1 + abs(lots) // 4, "group": "g"}
        elif kind < 0.5:
            until = T0 + self.count + rng.randint(1, 30)
            more |= {"time_in_force": TimeInForce.GTD, "expire_ms": until}
        more["self_trade"] = rng.choice(list(SelfTrade))
        return c.PlaceOrder(**told, **order_of(name, told["key"], lots, ticks, symbol=symbol),
                            **more)  # fmt: skip

    def _change(self, told: dict[str, Any]) -> Command:
        rng = self.rng
        account, order = rng.choice(self.placed[-25:])
        named = {**told, "account": account, "order": order}
        what = rng.random()
        if what < 0.4:
            return c.CancelOrder(**named)
        if what < 0.7:
            return c.AmendOrder(**named, lots=rng.randint(1, 60))
        return c.AmendOrder(**named, price_ticks=self._ticks(rng.choice((LIN, CALL, FAR))))

    def _trade(self, told: dict[str, Any]) -> Command:
        rng, symbol = self.rng, self.rng.choice([one for one in LOTS if one in MARKS])
        buyer, seller = rng.sample(range(PEOPLE), 2)
        account, order = rng.choice(self.placed[-10:])
        named = {"buy_order": order} if account == f"u{buyer}" else {}
        return c.Trade(
            **told, buyer=f"u{buyer}", seller=f"u{seller}", symbol=symbol,
            lots=rng.randint(1, LOTS[symbol]), price_ticks=max(1, self._ticks(symbol)),
            aggressor=rng.choice((None, *Side)), **named,
        )  # fmt: skip

    def _money(self, told: dict[str, Any]) -> Command:
        rng, name, amount = self.rng, self._person(), self.rng.choice((1, 50)) * DOLLAR
        what = rng.random()
        if what < 0.4:
            return c.Deposit(**told, account=name, asset="USDC", amount=amount)
        if what < 0.7:
            return c.RequestWithdrawal(**told, account=name, asset="USDC", amount=20 * amount,
                                       reference=told["key"])  # fmt: skip
        return c.Transfer(**told, source=name, target="alice", asset="USDC", amount=20 * amount)

    def _rest(self, told: dict[str, Any], what: float) -> Command:
        rng, name = self.rng, self._person()
        if what < 0.85:
            return c.Heartbeat(**told)
        if what < 0.88:
            return c.CancelOrders(**told, account=name, side=rng.choice(list(Side)))
        if what < 0.90:
            return c.RelieveMargin(**told, account=name)
        if what < 0.93:
            pair = rng.sample(range(3), 2)
            return c.ReportBlock(
                **told, account=f"u{pair[0]}", counterparty=f"u{pair[1]}", symbol="RISE", lots=1,
                side=Side.BUY if pair[0] < pair[1] else Side.SELL, price_ticks=600,
                reference=f"{min(pair)}{max(pair)}",
            )  # fmt: skip
        if what < 0.95:
            move = rng.randint(-3, 3)
            marks = tuple(
                MarkPrice(symbol, POINTS[symbol] + move * 10, 0) for symbol in (LIN, CALL, FAR)
            )
            return c.PublishMarket(**told, index=(IndexPrice("BTC", 50_000 * NANO, 0),),
                                   marks=marks)  # fmt: skip
        if what < 0.97:
            return self._arrays(told)
        phase = rng.choice((Phase.AUCTION, Phase.CONTINUOUS, Phase.CONTINUOUS))
        return c.SetPhase(**told, symbol=rng.choice((LIN, CALL)), phase=phase)

    def _arrays(self, told: dict[str, Any]) -> Command:
        """Whoever was safe may be short now, or again safe."""
        index, marks = self.rng.choice((
            (50_000, ()),
            (52_000, ((LIN, 520_000), (FUT, 520_000), (INV, 1_040_000), (FAR, 1_048_000))),
            (47_000, ((LIN, 470_000), (FUT, 470_000), (INV, 940_000), (FAR, 948_000))),
        ))  # fmt: skip
        return arrays("deribit-pm", key=told["key"], more=True, index=index, marks=marks)


def done(
    state: State, commands: list[Command], *, records: list[bytes] | None = None
) -> list[Applied]:
    """A millisecond after another."""
    bodies = [encode_command(one) for one in commands]
    times = [T0 + number for number in range(len(commands))]
    return apply_all(state, commands, times, bodies, records=records)


def without_bounds(state: State, commands: list[Command]) -> list[Applied]:
    """Every margin check is made, by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slack, "after", lambda *_: None)
        patch.setattr(ahead, "known", lambda *_: None)
        patch.setattr(slack, "warm", lambda *_: None)
        return done(state, commands)


# ── the standing, from a list of all orders ──────────────────────────────────────────────────────


def anew(state: State, account: Account) -> Standing:
    """An account's standing as told: its margin, or that with all bids or all offers filled and
    what the fills cost, whichever is worst. From positions and a list of orders alone."""
    seen = view(state, account)
    bare = View(account, seen.positions, seen.balances)
    plain = standing(state, bare)
    orders = [
        Asked(one.instrument, one.lots, one.price_ticks or 0)
        for one in state.orders_of(account.number).values()
    ]
    initial, known = plain.initial_micro, plain.known
    for bids in (True, False):
        mine = [one for one in orders if (one.lots > 0) is bids]
        if mine:
            filled = standing(state, _filled(state, bare, mine))
            cost = max(plain.equity_micro - filled.equity_micro, 0)
            initial = max(initial, filled.initial_micro + cost)
            known = known and filled.known
    return plain._replace(
        initial_micro=initial, known=known, call=known and plain.equity_micro < initial
    )


def _filled(state: State, bare: View, orders: list[Asked]) -> View:
    held = {number: list(one) for number, one in bare.positions.items()}
    costs: dict[int, int] = {}
    lots_of: dict[int, int] = {}
    combined: dict[int, list[Asked]] = {}
    for one in orders:
        if one.instrument >= COMBO_FIRST:
            combined.setdefault(one.instrument, []).append(one)
            continue
        deal = state.contracts[one.instrument].deal
        cost = deal.value(one.lots, one.price_ticks * deal.points_per_tick)
        costs[one.instrument] = costs.get(one.instrument, 0) + cost
        lots_of[one.instrument] = lots_of.get(one.instrument, 0) + one.lots
    owned = dict(bare.balances)
    for number, cost in costs.items():
        _put(state, held, owned, number, lots_of[number], cost)
    for number, mine in combined.items():
        combo = state.combos[number - COMBO_FIRST]
        lots = sum(one.lots for one in mine)
        average = Fraction(sum(one.lots * one.price_ticks for one in mine), lots)
        # Against the account: a bid up, an offer down.
        prices = split(combo, -(-average // 1) if lots > 0 else average // 1)
        assert prices is not None
        for (leg, ratio), ticks in zip(combo.legs, prices, strict=True):
            cost = leg.deal.value(ratio * lots, ticks * leg.deal.points_per_tick)
            _put(state, held, owned, leg.number, ratio * lots, cost)
    kept = {number: (one[0], one[1]) for number, one in held.items() if one[0]}
    return View(bare.account, kept, owned)


def _put(
    state: State, held: dict[int, list[int]], owned: dict[int, int], number: int, lots: int,
    cost: int,
) -> None:  # fmt: skip
    deal = state.contracts[number].deal
    one = held.setdefault(number, [0, 0])
    one[0] += lots
    if deal.up_front:
        premium = div_half_even(cost * deal.numerator, deal.denominator)
        owned[deal.asset] = owned.get(deal.asset, 0) - premium
    else:
        one[1] += cost


# ── they agree ───────────────────────────────────────────────────────────────────────────────────


def agree(commands: list[Command], engine: str = BOOK) -> list[Applied]:
    """The same is decided with bounds and without, and when the record is replayed; bounds hold,
    sums are those of all orders."""
    state, other = crowd(engine), crowd(engine)
    found, expected = done(state, commands), without_bounds(other, commands)
    for one, two in zip(found, expected, strict=True):
        assert one.events == two.events
    assert state_hash(state) == state_hash(other)
    assert list(violations(state)) == []
    check_bounds(state)
    replayed = crowd(engine)
    done(replayed, commands, records=[one.stored for one in found])
    assert state_hash(replayed) == state_hash(state)
    assert replayed.open.sides == restore(image(state)).open.sides == state.open.sides
    for number in range(20, 20 + PEOPLE):
        account = state.account(number)
        assert standing(state, view(state, account)) == anew(state, account)
    return found


@settings(max_examples=15)
@given(rng=st.randoms(use_true_random=False), count=st.integers(1, 40))
def test_bounds_decide_nothing(rng: Random, count: int) -> None:
    agree(Draw(rng, "t").commands(count))


@pytest.mark.parametrize(
    ("engine", "seed"),
    [
        (BOOK, 20), (f"{BOOK}\n{FEES}", 12), (f'{BOOK}\nreducing = "margin"', 12),
        (f'{BOOK}\nrealise = "at_mark"\nreducing = "none"', 21),
    ],
    ids=["plain", "fees", "margin", "none"],
)  # fmt: skip
def test_bounds_decide_nothing_over_a_long_history(engine: str, seed: int) -> None:
    found = agree(Draw(Random(seed), "t").commands(250), engine)
    codes = Counter(one.code for one in found)
    events = [event for one in found for event in one.events]
    ends = Counter(one.why for one in events if isinstance(one, OrderEnded | OrderReduced))
    # Much is done, much is refused, and margin is short at fills too.
    assert codes[0] > 120
    assert codes[Reject.MARGIN_INSUFFICIENT] > 20
    assert sum(isinstance(one, Traded) for one in events) > 20
    assert ends["filled"] > 20
    assert ends["cancelled"] > 9
    assert ends["margin"] > 1
    assert ends["expired"] > 2


def test_bounds_decide_nothing_where_orders_only_rest() -> None:
    found = agree(Draw(Random(3), "t").commands(250), OUTSIDE)
    events = [event for one in found for event in one.events]
    codes = Counter(one.code for one in found)
    assert codes[Reject.MARGIN_INSUFFICIENT] > 20
    assert sum(isinstance(one, OrderRested) for one in events) > 20
    assert sum(isinstance(one, PositionChanged) for one in events) > 20
    # Blocks alone are traded in an engine that matches nothing.
    assert {one.instrument for one in events if isinstance(one, Traded)} == {COMBO_FIRST + 1}


def test_most_orders_need_no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has plenty is looked at once, with all others who order."""
    venue = Venue(crowd())
    for number in range(PEOPLE):
        venue.do(c.Deposit, account=f"u{number}", asset="USDC", amount=10**7 * DOLLAR)
    draw, commands = Draw(Random(5), "t"), list[Command]()
    while len(commands) < 60:
        command = draw.command()
        if isinstance(command, c.PlaceOrder) and command.symbol in MARKS:
            commands.append(command)
    checks: list[int] = []

    def counted(state: State, views: Any) -> Any:
        checks.append(len(views))
        return standings(state, views)

    monkeypatch.setattr(slack, "standings", counted)
    monkeypatch.setattr("solvent.engine.margin_of_orders.standing", _nothing)
    monkeypatch.setattr("solvent.engine.trading.standing", _nothing)
    monkeypatch.setattr(ahead, "standings", _nothing)
    found = done(venue.state, commands)
    assert Reject.MARGIN_INSUFFICIENT not in {one.code for one in found}
    assert checks == [PEOPLE]


def _nothing(*_: Any) -> Any:
    pytest.fail("nothing is to be worked out")


# ── to the unit ──────────────────────────────────────────────────────────────────────────────────


def deribit() -> tuple[Venue, Account]:
    """Alice under Deribit's rules, and a thousand dollars noted that she can spare."""
    venue = new_venue(BOOK, scans=True)
    venue.do(c.AssignRulebook, account="alice", rulebook="deribit-pm")
    venue.state.slack[16] = Spared(1_000 * DOLLAR)
    return venue, venue.account("alice")


def bound(venue: Venue, was: Asked | None = None, now: Asked | None = None) -> int:
    found = slack.after(venue.state, venue.account("alice"), (), was, now)
    assert found is not None
    return found


def test_an_order_lowers_the_bound_by_its_margin_and_its_cost() -> None:
    venue, _ = deribit()
    spare = venue.state.rules["deribit-pm"].spare
    assert spare is not None
    steep, start = spare.steep_micro[0], 1_000 * DOLLAR - 10_000
    assert abs(bound(venue) - start) <= 1
    # A lot a thousandth of a bitcoin: at the mark it costs nothing, ten dollars above it a cent.
    for lots, ticks, cost in ((4, 50_000, 0), (4, 50_010, 40_000), (-4, 49_990, 40_000)):
        assert abs(bound(venue, None, Asked(0, lots, ticks)) - (start - 4 * steep - cost)) <= 2
    # What a fill would bring is not counted on.
    for lots, ticks in ((4, 40_000), (-4, 60_000)):
        assert abs(bound(venue, None, Asked(0, lots, ticks)) - (start - 4 * steep)) <= 2
    venue.order("alice", "b", 4, 50_010)
    assert abs(bound(venue) - (start - 4 * steep - 40_000)) <= 2
    # The worse of bids and offers counts, not both.
    assert abs(bound(venue, None, Asked(0, -3, 50_000)) - (start - 4 * steep - 40_000)) <= 2
    assert abs(bound(venue, None, Asked(0, -9, 50_000)) - (start - 9 * steep)) <= 3
    # Another price in place of what there is; and none at all.
    moved = bound(venue, Asked(0, 4, 50_010), Asked(0, 5, 50_000))
    assert abs(moved - (start - 5 * steep)) <= 2
    assert abs(bound(venue, Asked(0, 4, 50_010), None) - start) <= 2
    # Bought, it is held and bid no more: the bound is where it was, but for the cent of a leg.
    venue.order("bob", "s", -4, 50_010)
    assert abs(bound(venue) - (start - 4 * steep - 40_000 - 10_000)) <= 3
    # Sold again at the mark, all that is left is what it has cost.
    venue.order("bob", "c", 4, 50_000)
    venue.order("alice", "t", -4, 50_000)
    assert abs(bound(venue) - (start - 40_000 - 20_000)) <= 3
    assert venue.state.slack[16].base == 1_000 * DOLLAR


def test_where_nothing_is_bounded_there_is_no_bound() -> None:
    venue, alice = deribit()
    state = venue.state
    for number in (6, 99, COMBO_FIRST):
        if number != COMBO_FIRST:
            state.value_of = lambda *_: 1  # type: ignore[method-assign]
        state.slack[16] = Spared(10**12)
        assert slack.after(state, alice, (), None, Asked(number, 1, 1)) is None
    # Orders that come and go there drop it.
    for moved, kept in (((16, 6, 1, 1, True), False), ((16, 0, 1, 1, False), True),
                        ((17, 6, 1, 1, True), True)):  # fmt: skip
        state.slack = {16: Spared(10**12)}
        state.open.moved.append(moved)
        slack.follow(state)
        assert (16 in state.slack) is kept
        assert state.open.moved == []
    # So does a rulebook that has none.
    alice.rulebook = "tenth"
    state.open.moved.append((16, 0, 1, 1, True))
    slack.follow(state)
    assert state.slack == {}


def test_what_is_traded_where_nothing_is_bounded_drops_the_bound() -> None:
    venue, _ = deribit()
    venue.do(c.ImportBooks, balances=(), positions=(
        OpeningPosition("alice", SPREAD, 5, 30_000), OpeningPosition("bob", SPREAD, -5, 30_000),
    ))  # fmt: skip
    venue.state.slack[16] = Spared(10**12)
    # It only reduces, so nothing is asked of margin.
    venue.trade("bob", "alice", 2, 3_000, symbol=SPREAD)
    assert 16 not in venue.state.slack


def test_what_was_told_after_an_order_holds_when_it_has_come() -> None:
    venue, alice = deribit()
    good = Standing(10**9, 10**8, 2, True, False, False)
    asked = Asked(0, 4, 50_010)
    slack.told_after(venue.state, alice, good, (), None, asked)
    # Not yet here it is counted backwards: its own margin, as that of any other way.
    venue.state.open.put(16, "o", asked)
    slack.follow(venue.state)
    assert abs(bound(venue) - (9 * 10**8 - 10_000)) <= 3
    slack.told_after(venue.state, alice, good, (), None, Asked(6, 1, 1))
    assert 16 not in venue.state.slack
    slack.told_after(venue.state, alice, good._replace(known=False), (), None, asked)
    assert 16 not in venue.state.slack
