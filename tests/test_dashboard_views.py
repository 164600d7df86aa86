"""What the pages show, without a browser: copies are the engine's own figures, moved markets are
repriced, and what people typed is never markup."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.dashboard import charts, markup, theme
from solvent.dashboard.access import OpenSessions
from solvent.dashboard.ask_again import ask
from solvent.dashboard.crowd import Judged, Part, joined, judged, owners, part_of, touched
from solvent.dashboard.gaps import (
    GAPS,
    Ladder,
    Room,
    Shift,
    deltas,
    everywhere,
    rung,
    shifted,
)
from solvent.dashboard.holding import AccountNow, account_now, edges_of, explained, holding_of
from solvent.dashboard.hub import last_market
from solvent.dashboard.journal_view import kinds, rows_of
from solvent.dashboard.rulebook_view import compare
from solvent.dashboard.stress_view import stress
from solvent.dashboard.surface_view import surface_view
from solvent.dashboard.venue_view import STATES, HeatMaps, Point, spread, stands_of, urgent_of
from solvent.engine.standing import standings, view
from solvent.engine.state import State
from solvent.host import Engine
from solvent.journal import Journal
from solvent.market import Snapshot
from solvent.market.wire import decode_snapshot
from solvent.messages import events as e
from solvent.messages.commands import Deposit, PlaceOrder
from solvent.messages.fields import Side
from solvent.service.callers import Unauthorised
from solvent.sim.live import TRADER, LiveVenue
from solvent.solvency.classes import State as Class
from solvent.solvency.venue import verdict
from solvent.whatif import Desk

RULEBOOK = "deribit-pm"
ACCOUNTS = 150


class Home:
    """A generated venue, and copies of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def state(self) -> State:
        return self.engine.state

    @property
    def numbers(self) -> list[int]:
        return list(range(FIRST_ACCOUNT, len(self.state.accounts)))

    def part(self, numbers: list[int] | None = None) -> Part:
        found = part_of(self.state, RULEBOOK, self.numbers if numbers is None else numbers)
        assert found is not None
        return found

    def judged(self) -> Judged:
        return judged(self.part(), self.plan)

    @property
    def plan(self) -> Any:
        return self.state.rules[RULEBOOK].plan

    def market(self) -> Snapshot:
        known = {one.listing.symbol: one.instrument for one in self.state.contracts}
        return decode_snapshot(last_market(self.engine), known)

    def room(self) -> Room:
        return Room(self.part(), self.state.rules[RULEBOOK].rulebook)

    def account(self, name: str) -> AccountNow:
        return account_now(self.state, self.state.account(self.state.account_numbers[name]))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    place = tmp_path_factory.mktemp("dashboard") / "venue"
    with Engine.create(place) as engine:
        live = LiveVenue(accounts=ACCOUNTS, seed=5, steps=24)
        live.open(engine)
        for _ in range(8):
            market = live.market(engine.now_ms)
            rulebooks = {name: one.rulebook for name, one in engine.state.rules.items()}
            engine.submit_all(live.publication(market, rulebooks))
            live.business(engine, count=6)
        yield Home(engine)


# ── everybody, copied ────────────────────────────────────────────────────────────────────────────


def test_figures_are_the_engines_own(home: Home) -> None:
    """Equity and maintenance of everybody to the unit; states as the engine's watch has them, and
    initial margin too where there are no orders."""
    found = home.judged()
    state = home.state
    accounts = [state.account(number) for number in home.numbers]
    own = standings(state, [view(state, one) for one in accounts])
    assert len(found.part.numbers) == len(own) > ACCOUNTS
    for place, one in enumerate(own):
        assert found.found.equity_micro[place] == one.equity_micro
        assert found.found.maintenance_micro[place] == one.maintenance_micro
        assert bool(found.found.known[place]) == one.known
        if not found.part.ordered[place]:
            assert found.found.initial_micro[place] == one.initial_micro
            seen = verdict(one, as_of_ms=0)
            assert (found.state[place], found.close[place]) == (seen.state, seen.close)
    assert len(set(found.state.tolist())) >= 2


@settings(max_examples=12)
@given(data=st.data())
def test_parts_are_joined_as_if_read_at_once(home: Home, data: st.DataObject) -> None:
    """In whatever pieces accounts are copied, and copied again, the whole is the same."""
    numbers = home.numbers
    first = data.draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True))
    again = data.draw(st.lists(st.sampled_from(first), unique=True))
    rest = sorted({*numbers} - {*first})
    whole = joined(None, home.part(first), without=())
    whole = joined(whole, home.part(again) if again else None, without=again)
    whole = joined(whole, home.part(rest) if rest else None, without=rest)
    assert whole is not None
    _same(whole, home.part())


def _same(one: Part, other: Part) -> None:
    assert one.numbers.tolist() == other.numbers.tolist()
    assert list(one.told.book.accounts) == list(other.told.book.accounts)
    for name in ("first", "instrument", "lots", "entry_lots", "entry_value"):
        assert np.array_equal(getattr(one.told.book, name), getattr(other.told.book, name))
    left, right = judged(one, _PLAN[0]), judged(other, _PLAN[0])
    assert np.array_equal(left.found.equity_micro, right.found.equity_micro)
    assert np.array_equal(left.state, right.state)


_PLAN: list[Any] = []


@pytest.fixture(autouse=True)
def _plan(home: Home) -> None:
    _PLAN[:] = [home.plan]


def test_who_leaves_is_gone(home: Home) -> None:
    numbers = home.numbers
    found = joined(home.part(), None, without=numbers[:3])
    assert found is not None
    assert found.numbers.tolist() == numbers[3:]
    assert joined(found, None, without=[]) is found
    other = replace(home.part(numbers[:2]), symbols=("X",))
    assert joined(found, other, without=numbers[:2]) is other


def test_touched_accounts() -> None:
    assert touched([e.Traded(1, 2, 3, 20, "a", 21, "b", "buy")]) == {20, 21}
    assert touched([e.Posted(((17 << 30, 18 << 30, 5),))]) == {17, 18}
    assert touched([e.Numbered("asset", "X", 30), e.Numbered("account", "y", 31)]) == {31}
    assert touched([e.Imported(1, 1)]) is None


def test_owners_leave_out_pools_and_nobody(home: Home) -> None:
    found = owners(home.state, [0, 1, *home.numbers, 10**6])
    assert found == {RULEBOOK: home.numbers}


# ── gaps ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_rung_at_no_gap_is_now(home: Home) -> None:
    now, made = home.judged(), rung([home.room()], home.market(), 0.0)
    assert made.fallen == int(now.found.liquidate.sum())
    assert made.unknown == int((~now.found.known).sum())
    assert made.notional_dollars == pytest.approx(float(now.notional @ now.found.liquidate))


def test_the_ladder_is_made_in_turn(home: Home) -> None:
    ladder, room, market = Ladder((-0.3, 0.0, 0.2)), [home.room()], home.market()
    for count in (1, 2, 3, 3):
        assert ladder.step(room, market, budget_s=0.0) == 1
        assert len(ladder.told()) == count
    assert [one.gap for one in ladder.told()] == [-0.3, 0.0, 0.2]
    assert ladder.told()[0].fallen > ladder.told()[1].fallen
    assert list(ladder.rungs) == [0.0, 0.2, -0.3], "the oldest was made new"
    assert set(GAPS) == {-gap for gap in GAPS}


def test_shifts_reprice(home: Home) -> None:
    """No shift is the same market; a higher volatility makes options dearer and futures not."""
    market, room = home.market(), home.room()
    same = room.at(shifted(market, Shift(spot=everywhere(market, 1.0))))
    now = room.at(market)
    assert np.array_equal(same.found.equity_micro, now.found.equity_micro)
    dear = room.at(shifted(market, Shift(spot=everywhere(market, 1.0), vol=1.5))).plan.arrays
    option = dear.universe.is_option & now.plan.arrays.usable
    change = dear.units["value"] - now.plan.arrays.units["value"]
    assert (change[option] > -1e-9).all()
    assert change[option].max() > 0
    assert not change[~option].any()


def test_solvency_delta_has_the_sign_of_what_is_held(home: Home) -> None:
    found = deltas(home.room(), home.judged(), home.market(), buffer_micro=10**12)
    assert set(found) == {"BTC", "ETH"}
    for one in found.values():
        assert one.buffer == 10**12
        assert (one.accounts == 0) == (one.delta == 0 and one.down == 0)


@given(
    st.lists(st.floats(0, 1e9), min_size=4, max_size=4), st.floats(100, 1e5), st.floats(0.9, 1.1)
)
def test_spread_keeps_what_falls(amounts: list[float], price: float, scale: float) -> None:
    """All that falls between the outermost rungs is on the map once, where the map reaches."""
    gaps, total = (-0.4, -0.2, 0.0, 0.3), np.cumsum(amounts)
    told = [total[2], total[1], 0.0, total[3]]
    ladder = [
        replace(_rung(gap), notional_dollars=float(amount))
        for gap, amount in zip(gaps, told, strict=True)
    ]
    edges = tuple(np.linspace(0.5 * price * scale, 1.5 * price, 21))
    found = spread(ladder, price, edges)
    assert sum(found) == pytest.approx(float(total[2] + total[3]), rel=1e-6, abs=1e-3)


def _rung(gap: float) -> Any:
    from solvent.dashboard.gaps import Rung

    return Rung(gap=gap, fallen=0, unknown=0, notional_dollars=0.0, shortfall_micro=0, as_of_ms=0)


def test_heat_maps_keep_their_prices() -> None:
    maps = HeatMaps(most=2)
    assert maps.told() is None
    for at in (1, 2, 3):
        maps.add(at, "BTC", 100.0 * at, [_rung(-0.1), _rung(0.0)])
    told = maps.told()
    assert told is not None
    assert [column[0] for column in told.columns] == [2, 3]
    assert told.edges[0] == pytest.approx(50.0), "of the first price that was seen"


# ── one account ──────────────────────────────────────────────────────────────────────────────────


def test_a_page_asks_of_what_the_engine_has(home: Home) -> None:
    """`Desk` on the copy says what the engine says, to a cent."""
    market, rules = home.market(), home.state.rules[RULEBOOK].rulebook
    for name in (TRADER, "dealer03"):
        now = home.account(name)
        found = Desk(holding_of(now, market), market, rules).now()
        assert found.known
        assert found.equity == pytest.approx(now.standing.equity_micro / 1e6, abs=0.02)
        assert found.maintenance == pytest.approx(now.standing.maintenance_micro / 1e6, abs=0.02)


def test_at_its_edge_an_account_is_liquidated(home: Home) -> None:
    now, market = home.account(TRADER), home.market()
    rules = home.state.rules[RULEBOOK].rulebook
    found = {one.underlying: one for one in edges_of(now, market, rules)}
    edge = found["BTC"]
    assert edge.below is not None
    assert (edge.above, edge.already) == (None, False)
    assert edge.nearest() == pytest.approx(edge.below / edge.price - 1.0)
    desk = Desk(holding_of(now, market), market, rules)
    before = desk.at({"BTC": edge.below * 1.001 / edge.price})
    after = desk.at({"BTC": edge.below * 0.999 / edge.price})
    assert (before.liquidate, after.liquidate) == (False, True)


def test_an_account_is_explained(home: Home) -> None:
    """Sets add up to its margin, heat maps have one binding cell each, greeks are its lots'."""
    now = home.account("dealer01")
    why = explained(now, home.plan)
    total = sum(one.initial for one in why.sets)
    assert total == pytest.approx(now.standing.initial_micro / 1e6, rel=1e-6)
    assert why.heats
    for one in why.heats:
        cells = [cell for row in one.pnl for cell in row if cell is not None]
        if one.binding is not None:
            row, column = one.binding
            assert one.pnl[row][column] == min(cells)
    trader = explained(home.account(TRADER), home.plan)
    size = next(one.size for one in home.account(TRADER).positions if one.underlying == "BTC")
    assert trader.greeks["BTC"]["delta"] == pytest.approx(size, rel=1e-6)
    assert trader.worths[0].counted == pytest.approx(trader.worths[0].amount)


def test_what_if(home: Home) -> None:
    """No change changes nothing; a trade at the mark keeps equity; a fall costs what is held."""
    now, market = home.account(TRADER), home.market()
    rules = home.state.rules[RULEBOOK].rulebook
    option = next(
        one for row, one in enumerate(market.universe.symbols)
        if market.universe.is_option[row] and market.mark[row] > 50.0
    )  # fmt: skip
    still = ask(now, market, rules, add={}, spot=0.0, vol=1.0)
    assert still.before == still.after
    for add in ({"BTC_USDC-PERPETUAL": 0.5}, {option: 1.0}, {option: -1.0}):
        found = ask(now, market, rules, add=add, spot=0.0, vol=1.0)
        assert found.before is not None
        assert found.after is not None
        assert found.after.equity == pytest.approx(found.before.equity, abs=0.01)
        assert found.after.initial != found.before.initial
    fall = ask(now, market, rules, add={"BTC_USDC-PERPETUAL": 0.5}, spot=-0.1, vol=1.0)
    assert fall.before is not None
    assert fall.after is not None
    held = {one.symbol: one.size for one in now.positions} | {}
    held["BTC_USDC-PERPETUAL"] += 0.5
    marks = dict(zip(market.universe.symbols, market.mark.tolist(), strict=True))
    lost = sum(0.1 * size * marks[name] for name, size in held.items())
    assert fall.before.equity - fall.after.equity == pytest.approx(lost, rel=1e-6)
    wrong = ask(now, market, rules, add={"NO-SUCH": 1.0}, spot=0.0, vol=1.0)
    assert wrong.before is None
    assert "NO-SUCH" in wrong.reason


# ── the other pages ──────────────────────────────────────────────────────────────────────────────


def test_stress_counts_everybody_once(home: Home) -> None:
    room, market = [home.room()], home.market()
    found = stress(room, market, spot=-0.3, vol=1.4, underlying=None, fund_micro=10)
    everybody = len(home.numbers)
    assert sum(sum(row) for row in found.moved) == everybody
    assert sum(one.accounts for one in found.after.values()) == everybody
    now = home.judged()
    assert found.before == stands_of([now])
    new = sum(found.moved[int(was)][int(Class.LIQUIDATE)] for was in STATES)
    assert new == found.fallen > found.before[Class.LIQUIDATE].accounts
    missing = [one.maintenance_micro - one.equity_micro for one in found.worst]
    assert missing == sorted(missing, reverse=True)
    one = stress(room, market, spot=-0.3, vol=1.0, underlying="ETH", fund_micro=0)
    assert dict(one.spot) == {"ETH": 0.7}


def test_urgent_ones_are_the_worst(home: Home) -> None:
    found = home.judged()
    told = urgent_of([found], most=20)
    states = [int(one.state) for one in told]
    assert states == sorted(states, reverse=True)
    assert all(one.state is not Class.HEALTHY for one in told)


def test_rulebooks_side_by_side(home: Home) -> None:
    room, market = home.room(), home.market()
    same = compare(room, market, RULEBOOK, RULEBOOK)
    assert same.rows == ()
    assert (same.only_left, same.only_right) == (0, 0)
    assert same.left.stands == same.right.stands == stands_of([home.judged()])
    other = compare(room, market, RULEBOOK, "paradex-pm")
    assert other.rows
    assert other.right.reason or other.right.total.initial_micro != other.left.total.initial_micro


def test_the_surface_fits_its_quotes(home: Home) -> None:
    found = surface_view(home.market())
    assert set(found.books) == {"BTC/USDC", "ETH/USDC"}
    for curve in found.books["BTC/USDC"]:
        assert curve.fitted or curve.reason
        assert len(curve.residual) == (len(curve.quoted) if curve.fitted else 0)
        assert curve.median is None or curve.median < 0.01


def test_the_journal_is_read_backwards(home: Home) -> None:
    names = {one.number: one.name for one in home.state.accounts if one is not None}
    odd = "<script>alert(1)</script>"
    home.engine.submit(Deposit(key="odd", actor=odd, account="no one", asset="USDC", amount=1))
    with Journal.open(home.engine.journal.url, read_only=True) as journal:
        newest = rows_of(journal, names, most=5)
        assert [one.sequence for one in newest.rows] == sorted(
            (one.sequence for one in newest.rows), reverse=True
        )
        assert newest.rows[0].sequence == journal.head.sequence
        older = rows_of(journal, names, most=5, before=newest.oldest)
        assert older.rows[0].sequence == newest.oldest - 1
        mine = rows_of(journal, names, account=TRADER)
        assert {one.kind for one in mine.rows} >= {"open_account", "deposit", "trade"}
        assert mine.whole
        refused = rows_of(journal, names, refused=True, most=3)
        assert refused.rows
        assert all(one.refused for one in refused.rows)
        assert refused.rows[0].actor == odd
        only = rows_of(journal, names, kind="publish_market", most=2)
        assert {one.kind for one in only.rows} == {"publish_market"}
    assert "place_order" in kinds()
    from solvent.dashboard.pages.account_statement import found_html

    assert "<script>" not in found_html(refused)


# ── how it looks ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(dark: bool) -> None:
    """Every text on every ground that it stands on, and every heat cell: WCAG AA."""
    colours = theme.palette(dark=dark)
    for text, ground in theme.PAIRS:
        found = theme.contrast(getattr(colours, text), getattr(colours, ground))
        assert found >= 4.5, (text, ground, found)
    for share in np.linspace(0.0, 0.8, 17):
        for tint in (colours.gain, colours.loss):
            ground = theme.mixed(colours.surface, tint, float(share))
            assert theme.contrast(theme.readable(ground), ground) >= 4.5
    assert theme.contrast(theme.LIGHT.liquidate, "#ffffff") >= 4.5, "a notice of a fault"


def test_states_have_signs_and_words() -> None:
    assert len(set(theme.SIGNS.values())) == len(STATES)
    for one in STATES:
        assert one.name.lower() in markup.state(one)
        assert theme.SIGNS[one] in markup.state(one)


def test_names_are_never_markup() -> None:
    assert "<b>" not in markup.account_link("<b>")
    assert "<i>" not in markup.table("<i>", ("a",), [])


def test_the_margin_bar_says_what_it_draws() -> None:
    told = markup.margin_bar(100.0, 80.0, 60.0, theme.LIGHT, known=True)
    assert 'role="img"' in told
    assert "maintenance margin 60.00" in told
    assert theme.LIGHT.healthy in told
    assert theme.LIGHT.liquidate in markup.margin_bar(50.0, 80.0, 60.0, theme.LIGHT, known=True)
    assert "not known" in markup.margin_bar(0.0, 0.0, 0.0, theme.LIGHT, known=False)


def test_charts_are_plain_data(home: Home) -> None:
    """Options are JSON: nothing of numpy, nothing that is no number."""
    import json

    point = Point(
        time_ms=1, prices={"BTC": 2.0}, vols={"BTC": 0.5}, counts=(1, 2, 3, 4, 0),
        equity_micro=1, initial_micro=1, maintenance_micro=1, fund_micro=1, liquidated=0,
        at_risk_dollars=0.0,
    )  # fmt: skip
    history = [point, replace(point, time_ms=2, prices={"BTC": 1.0})]
    surface = surface_view(home.market()).books["ETH/USDC"]
    maps = HeatMaps()
    maps.add(1, "BTC", 100.0, [replace(_rung(-0.3), notional_dollars=9.0), _rung(0.0)])
    heat = maps.told()
    assert heat is not None
    for one in (
        charts.price_chart(history, theme.LIGHT), charts.states_chart(history, theme.DARK),
        charts.money_chart(history, theme.LIGHT), charts.fund_chart(history, theme.LIGHT),
        charts.staircase_chart([_rung(-0.1), _rung(0.1)], theme.LIGHT),
        charts.heat_chart(heat, theme.DARK), charts.smile_chart(surface, theme.LIGHT),
        charts.residual_chart(surface, theme.LIGHT), charts.latency_chart([1.0], theme.LIGHT),
    ):  # fmt: skip
        json.dumps(one, allow_nan=False)
        assert one["aria"]["enabled"]
    moves = charts.price_chart(history, theme.LIGHT)["series"][0]["data"]
    assert moves == [[1, 0.0], [2, -50.0]]
    shown = [one["name"] for one in charts.states_chart(history, theme.LIGHT)["series"]]
    assert shown == ["warning", "call", "liquidate"], "nobody is unknown"


# ── who looks ────────────────────────────────────────────────────────────────────────────────────


class Connection:
    """What a session reads of a request."""

    def __init__(self, *, host: str = "127.0.0.1:8080", cookies: dict[str, str] | None = None):
        self.headers = {"host": host}
        self.cookies = cookies or {}


def test_open_sessions() -> None:
    sessions: Any = OpenSessions()

    async def run() -> None:
        assert (await sessions.caller(Connection())).name == "operator"
        cookies = await sessions.enter(Connection(), {"name": " ann smith "})
        assert (await sessions.caller(Connection(cookies=cookies))).name == "ann smith"
        for wrong in ("", "<b>", "x" * 65):
            with pytest.raises(Unauthorised, match="a name of"):
                await sessions.enter(Connection(), {"name": wrong})
        with pytest.raises(Unauthorised, match="loopback"):
            await sessions.caller(Connection(host="example.com"))
        with pytest.raises(Unauthorised, match="a name of"):
            await sessions.caller(Connection(cookies={"solvent_name": "%3Cb%3E"}))

    asyncio.run(run())


def test_an_order_leaves_its_margin_to_the_account(home: Home, tmp_path: Path) -> None:
    """Totals leave orders out and say so; the account's own standing counts them."""
    del tmp_path
    state = home.state
    symbol = "BTC_USDC-PERPETUAL"
    contract = state.contracts[state.contract_numbers[symbol]]
    ticks = (contract.mark_points or 0) // contract.deal.points_per_tick // 2
    answer = home.engine.submit(
        PlaceOrder(
            key="resting", actor="dealer05", account="dealer05", order="o", symbol=symbol,
            side=Side.BUY, lots=50_000, price_ticks=ticks,
        )
    )  # fmt: skip
    assert answer.accepted, answer.events
    number = state.account_numbers["dealer05"]
    part = home.part([number])
    assert part.ordered.tolist() == [True]
    now = home.account("dealer05")
    assert now.orders
    found = judged(part, home.plan).found
    assert int(found.maintenance_micro[0]) == now.standing.maintenance_micro
    assert int(found.initial_micro[0]) <= now.standing.initial_micro
