"""Histories made up from seeds: everything that must hold does, after every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from solvent.account.ledger import FIRST_ACCOUNT, GENERAL, node
from solvent.engine.apply import Applied, apply, apply_all
from solvent.engine.image import books_hash, image, restore, state_hash
from solvent.engine.state import State
from solvent.errors import Reject
from solvent.feeds.library import rulebook_source
from solvent.limits import ASSETS_MAX, POINTS_MAX
from solvent.messages import commands as c
from solvent.messages import events as e
from solvent.messages.codec import Sealed, decode_command, encode_command
from solvent.messages.fields import (
    AccountKind,
    Command,
    MarginMode,
    MarkPrice,
    OpeningPosition,
    Side,
    TimeInForce,
)
from solvent.orders.order import BookTerms
from solvent.sim.checker import Checker
from solvent.sim.history import History, Result, Timed, never_met, run
from solvent.sim.worlds import DAY, with_engine

SEEDS = 64
CHUNKS = 8
COMMANDS = 1_000_000
"""Of the soak; the default suite runs the beginnings of the same histories."""
BEGINNING = 1_000
SHORT = 900

NOT_BY_HISTORIES = {
    Reject.COMMAND_MALFORMED: "the codec's: what cannot be read never reaches the engine",
    Reject.COMMAND_TOO_LARGE: "the codec's",
    Reject.SNAPSHOT_INVALID: "the shell's, which alone reads snapshots",
    Reject.CAPACITY_REACHED: "2**8 assets, 2**24 accounts and so on: one is met below",
}
"""Codes that no history meets, and why."""
NOT_SEEN = {
    "repeated": "no place in history: its answers are not counted",
}
"""Events that no history counts, and why."""


def one_by_one(history: list[Timed], state: State | None = None) -> State:
    state = state or State()
    for command, time_ms in history:
        apply(state, Sealed(state.log.sequence + 1, time_ms, command))
    return state


def in_batches(history: list[Timed], size: int, state: State | None = None) -> State:
    state = state or State()
    for at in range(0, len(history), size):
        part = history[at : at + size]
        apply_all(
            state,
            [command for command, _ in part],
            [time_ms for _, time_ms in part],
            [encode_command(command) for command, _ in part],
        )
    return state


def kept(seed: int, commands: int = SHORT) -> Result:
    found = run(seed, commands, keep=True)
    assert found.violations == []
    return found


def same(state: State, found: Result) -> None:
    assert state.log.chain == found.chain
    assert state_hash(state) == found.hash


# ── a million commands ───────────────────────────────────────────────────────────────────────────


def shared(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run of tests see."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sim"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_beginnings_of_all_histories(chunk: int) -> None:
    for seed in range(chunk, SEEDS, CHUNKS):
        found = run(seed, BEGINNING)
        assert found.violations == []
        assert found.commands.total() == BEGINNING


@pytest.mark.soak
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_million_commands(chunk: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """64 seeds; whichever chunk ends last looks whether all together met everything."""
    folder = shared(tmp_path_factory)
    results = [run(seed, COMMANDS // SEEDS) for seed in range(chunk, SEEDS, CHUNKS)]
    assert [(one.seed, *what) for one in results for what in one.violations] == []
    assert all(one.commands.total() == COMMANDS // SEEDS for one in results)
    told = {
        "accepted": dict(sum((one.accepted for one in results), Counter())),
        "rejected": dict(sum((one.rejected for one in results), Counter())),
        "happened": dict(sum((one.happened for one in results), Counter())),
    }
    aside = folder / f"{chunk}.part"
    aside.write_text(json.dumps(told), "utf-8")
    aside.rename(folder / f"{chunk}.json")
    parts = [folder / f"{number}.json" for number in range(CHUNKS)]
    if all(part.exists() for part in parts):
        met = [json.loads(part.read_text("utf-8")) for part in parts]
        kinds, codes, happened = never_met(
            [
                Result(
                    seed=0,
                    accepted=Counter(one["accepted"]),
                    rejected=Counter({int(k): v for k, v in one["rejected"].items()}),
                    happened=Counter(one["happened"]),
                )
                for one in met
            ]
        )
        assert kinds == []
        assert set(codes) <= set(NOT_BY_HISTORIES)
        assert set(happened) <= set(NOT_SEEN)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1_000, 1_064))
def test_longer_histories(seed: int) -> None:
    assert run(seed, 50_000).violations == []


# ── the same history is the same ─────────────────────────────────────────────────────────────────

SCRIPT = """
from solvent.sim.history import run
print(*(run(seed, 400).hash for seed in (3, 5, 7)))
"""


def test_a_seed_is_a_history_whatever_the_hash_seed() -> None:
    told = set()
    for seed in ("0", "1", "4711"):
        ended = subprocess.run(
            [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        told.add(ended.stdout)
    assert len(told) == 1
    assert len(next(iter(told)).split()) == 3


@pytest.mark.parametrize("seed", range(10))
def test_replay_and_other_batches_are_the_same(seed: int) -> None:
    found = kept(seed)
    stored = [(decode_command(encode_command(one)), at) for one, at in found.history]
    assert [one for one, _ in stored] == [one for one, _ in found.history]
    same(one_by_one(stored), found)
    for size in (7, len(stored)):
        same(in_batches(stored, size), found)
    same(in_batches(found.history, 64), found)


@pytest.mark.parametrize("seed", range(12, 17))
def test_a_snapshot_and_the_tail_are_the_same(seed: int) -> None:
    """Also where the state is put away and taken up again on the way, over and over."""
    found = kept(seed, 600)
    history = found.history
    for place in range(0, len(history), 160):
        state = restore(image(one_by_one(history[:place])))
        same(in_batches(history[place:], 50, state), found)
    state = State()
    for place in range(0, len(history), 61):
        state = restore(image(in_batches(history[place : place + 61], 61, state)))
    same(state, found)


@pytest.mark.parametrize("seed", range(20, 26))
def test_what_is_not_remembered_decides_nothing(seed: int) -> None:
    """Bounds of what accounts can spare make trades cheap, and nothing else."""
    found = kept(seed)
    state = State()
    for command, time_ms in found.history:
        state.slack.clear()
        state.asked.clear()
        apply(state, Sealed(state.log.sequence + 1, time_ms, command))
    same(state, found)


# ── the checker finds what it is for ─────────────────────────────────────────────────────────────


def lived(seed: int = 3) -> History:
    history = History(seed, batch=1)
    assert history.run(SHORT).violations == []
    return history


def test_the_checker_misses_no_unit_of_money() -> None:
    history = lived()
    which = next(w for w, amount in history.state.ledger.balances.items() if amount)
    history.state.ledger.balances[which] += 1
    assert any("balances" in one for one in history.checker.compare())


def test_the_checker_misses_no_lot() -> None:
    history = lived()
    contract = next(one for one in history.state.contracts if one.holders)
    next(iter(contract.holders.values())).lots += 1
    assert any("positions" in one for one in history.checker.compare())


def ordered() -> History:
    """A history in which orders rest, stops wait and a block has been reported."""
    for history in (History(seed, batch=1) for seed in range(64)):
        desk = history.state.desk
        assert history.run(400).violations == []
        if desk.orders and desk.stops and history.state.blocks:
            return history
    raise LookupError("one of many histories has orders")


def test_the_checker_misses_no_order() -> None:
    history = ordered()
    state, compare = history.state, history.checker.compare
    account, mine = next(iter(state.desk.orders.items()))
    name, order = next(iter(mine.items()))
    for field, more in (("lots", 1), ("price_ticks", 1), ("shown", 1), ("filled", 1)):
        before = getattr(order, field)
        setattr(order, field, before + more)
        assert any(f"order {name!r} as told" in one for one in compare()), field
        setattr(order, field, before)
    sums = state.open.sides[account]
    number = next(iter(sums))
    kept = sums[number]
    sums[number] = kept._replace(bid_value=kept.bid_value + 1)
    assert any("sums of orders" in one for one in compare())
    sums[number] = kept
    asked = state.open.asked[account, name]
    state.open.asked[account, name] = asked._replace(price_ticks=asked.price_ticks - 1)
    assert any("among its sums" in one for one in compare())
    state.open.asked[account, name] = asked
    assert compare() == []
    several: tuple[dict[Any, Any], ...] = (state.desk.stops, state.blocks, state.desk.orders)
    for books in several:
        key, gone = books.popitem()
        assert compare() != []
        books[key] = gone
    assert compare() == []


def placed(history: History, **terms: Any) -> tuple[c.PlaceOrder, int]:
    """An order that nobody has heard of, and its account's number."""
    told: dict[str, Any] = {
        "account": history.world.accounts[0], "order": "new", "side": Side.BUY, "lots": 10,
        "symbol": history.state.contracts[0].listing.symbol, "price_ticks": 7, **terms,
    }  # fmt: skip
    return c.PlaceOrder(key="n", actor="t", **told), FIRST_ACCOUNT


FILL: list[e.Event] = [
    e.PositionChanged(FIRST_ACCOUNT, 0, 10**6 + 4, 0, 0, 0),
    e.PositionChanged(FIRST_ACCOUNT + 1, 0, -(10**6) - 4, 0, 0, 0),
]


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ([], "to trade, to rest or to be over"),
        ([e.OrderRested(FIRST_ACCOUNT, "new", 0, 11, 7, 11)], "found (0, 11, 7)"),
        ([e.OrderRested(FIRST_ACCOUNT, "new", 0, 10, 8, 10)], "found (0, 10, 8)"),
        ([e.OrderRested(FIRST_ACCOUNT, "new", 0, 10, 7, -10)], "to be shown"),
        ([e.OrderRested(FIRST_ACCOUNT, "new", 0, 10, 7, 0)], "to be shown"),
        ([e.OrderRested(FIRST_ACCOUNT, "odd", 0, 10, 7, 10)], "expected one that came in"),
        ([e.OrderEnded(FIRST_ACCOUNT, "new", 9, "margin")], "expected 10 left"),
        ([e.OrderEnded(FIRST_ACCOUNT, "new", 10, "filled")], "expected 10 left"),
        ([e.StopPlaced(FIRST_ACCOUNT, "new", 1)], "expected one that came in"),
        ([e.StopTriggered(FIRST_ACCOUNT, "new")], "expected one that waits"),
        ([e.OrderReduced(FIRST_ACCOUNT, "new", 0, 0, "cancelled")], "expected one that rests"),
        ([e.Traded(0, 7, 4, FIRST_ACCOUNT, "new", FIRST_ACCOUNT, "new", "")], "two accounts"),
        ([e.Traded(0, 7, 4, FIRST_ACCOUNT, "new", FIRST_ACCOUNT + 1, "odd", "buy")], "to change"),
        ([e.Traded(0, 8, 4, FIRST_ACCOUNT, "new", FIRST_ACCOUNT + 1, "odd", "buy")], "price of"),
        ([e.Traded(0, 7, 11, FIRST_ACCOUNT, "new", FIRST_ACCOUNT + 1, "odd", "buy")], "at most"),
        ([e.Traded(0, 7, 4, FIRST_ACCOUNT, "new", FIRST_ACCOUNT + 1, "odd", "buy")], "an order"),
        ([e.OrderRested(FIRST_ACCOUNT, "new", 0, 10, 7, 10), FILL[0]], "no change but by fills"),
        ([e.BlockReported("b", FIRST_ACCOUNT, "done")], "expected one of None"),
    ],
)  # fmt: skip
def test_the_checker_follows_every_order(events: list[e.Event], wrong: str) -> None:
    history = lived(2)
    command, _ = placed(history)
    found = history.checker.see(command, [*events, e.FeePaid(FIRST_ACCOUNT, "taker", 0)])
    assert any(wrong in one for one in found), found


def test_a_reduce_only_order_that_does_not_reduce_is_found() -> None:
    history = lived(2)
    command, account = placed(history, reduce_only=True)
    contract = history.state.contracts[0]
    held = 0 if account not in contract.holders else contract.holders[account].lots
    events = [
        e.PositionChanged(account, 0, held + 4, 0, 0, 0),
        e.Traded(0, 7, 4, account, "new", account + 1, "odd", "buy"),
    ]
    found = history.checker.see(command, events)
    assert any("expected order 'new' to reduce" in one for one in found) is (held + 4 > 0)
    assert held + 4 > 0


def posted(*moves: e.Move) -> tuple[e.Event, ...]:
    return (e.Posted(moves),)


def test_the_checker_follows_events_alone() -> None:
    history = lived()
    beat = c.Heartbeat(key="x", actor="y")
    first = node(FIRST_ACCOUNT, GENERAL, 0)
    pool = node(5, GENERAL, 0)
    see = history.checker.see
    assert see(beat, posted((first, pool, 0)))
    assert see(beat, posted((first, node(5, GENERAL, 1), 1)))
    assert see(beat, posted((pool, first, 10**18)))
    assert history.checker.touched()
    assert see(beat, (e.PositionChanged(FIRST_ACCOUNT, 0, 7, 7, 7, 0),))
    assert see(beat, (e.OrderReduced(FIRST_ACCOUNT, "none", 0, 0, "cancelled"),))
    assert see(beat, (e.PendingChanged("none", "confirmed"),))


def test_a_failing_engine_is_a_violation() -> None:
    history = History(3, batch=1)
    history.run(200)
    history.state.ledger.balances[node(3, GENERAL, 0)] = -1
    found = history.run(2_000)
    assert found.violations
    assert found.violations[0][0] >= 200


# ── bugs that histories found ────────────────────────────────────────────────────────────────────


def venue(seed: int = 2) -> tuple[State, History]:
    history = History(seed, batch=1)
    history.run(120)
    return history.state, history


def do(state: State, command: Command, later_ms: int = 0) -> Applied:
    return apply(state, Sealed(state.log.sequence + 1, state.log.time_ms + later_ms, command))


def test_capacities() -> None:
    state = State()
    for number in range(ASSETS_MAX):
        told = c.ListAsset(key=str(number), actor="a", asset=f"A{number}", decimals=6)
        assert do(state, told).code == 0
    last = c.ListAsset(key="one more", actor="a", asset="B", decimals=6)
    assert do(state, last).code == Reject.CAPACITY_REACHED


def takes_all(state: State, symbol: str) -> bool:
    """Whether a book matches orders at any price, of any lots."""
    contract = state.contracts[state.contract_numbers[symbol]]
    expiry_ms, points = contract.deal.expiry_ms, contract.deal.points_per_tick
    plain = BookTerms(points_per_tick=points, expiry_ms=expiry_ms)
    return state.desk.books[contract.number].terms == plain


def margined(
    rulebook: str = "deribit-pm", symbol: str = "BTC_USDC-WEEK"
) -> tuple[State, Callable[[int], c.Trade]]:
    """A venue without rebates, with a book that takes any order, and two accounts under a rulebook,
    and trades of theirs."""
    state = next(
        history.state
        for history in map(History, range(128))
        if rulebook in history.world.texts
        and not history.run(60).violations
        and rulebook in history.state.rules
        and all(fee.rate >= 0 for fee in history.state.house.fees)
        and takes_all(history.state, symbol)
    )
    told: dict[str, Any] = {"rulebook": rulebook, "kind": AccountKind.USER, "actor": "t"}
    assert state.rules[rulebook].arrays is not None
    dollars = 100_000 * 10 ** state.assets[state.asset_numbers["USDC"]][1]
    for name in ("a", "b"):
        assert do(state, c.OpenAccount(account=name, key=f"o{name}", **told)).code == 0
        paid = c.Deposit(account=name, asset="USDC", amount=dollars, key=f"d{name}", actor="t")
        assert do(state, paid).code == 0
    contract = state.contracts[state.contract_numbers[symbol]]
    ticks = (contract.mark_points or 0) // contract.deal.points_per_tick
    numbers = iter(range(10_000))

    def trade(lots: int) -> c.Trade:
        return c.Trade(
            buyer="a", seller="b", symbol=symbol, lots=lots, price_ticks=ticks,
            aggressor=Side.BUY, key=f"t{next(numbers)}", actor="t",
        )  # fmt: skip

    return state, trade


def same_in_a_batch(state: State, commands: list[Command]) -> list[int]:
    """Apply commands one by one and, to a copy, at once; the codes of the answers."""
    again = restore(image(state))
    codes = [do(state, one).code for one in commands]
    in_batches([(one, again.log.time_ms) for one in commands], len(commands), again)
    assert again.log.chain == state.log.chain
    assert state_hash(again) == state_hash(state)
    return codes


LARGE = 3 * 10**7


def test_what_was_worked_out_ahead_falls_with_what_it_rests_on() -> None:
    """A trade that was done by what its account can spare hid that one before it was refused."""
    state, trade = margined()
    commands: list[Command] = [
        one for number in range(20) for one in (trade(LARGE + number), trade(1))
    ]
    codes = same_in_a_batch(state, commands)
    assert codes == [Reject.MARGIN_INSUFFICIENT, 0] * 20


def test_a_command_told_twice_in_a_batch_has_one_answer() -> None:
    """The same object at two places had one margin check for both."""
    state, trade = margined()
    twice = trade(LARGE)
    commands: list[Command] = [trade(LARGE) for _ in range(10)]
    codes = same_in_a_batch(state, [*commands, twice, twice, trade(1)])
    assert codes == [Reject.MARGIN_INSUFFICIENT] * 12 + [0]


def most(state: State, trade: Callable[[int], c.Trade]) -> int:
    """The most lots that can be traded."""
    least, too_many = 1, LARGE
    while too_many - least > 1:
        lots = (least + too_many) // 2
        if do(restore(image(state)), trade(lots)).code:
            too_many = lots
        else:
            least = lots
    return least


def test_orders_that_expire_in_a_batch_are_gone_for_all_after() -> None:
    """A margin check that was worked out ahead still counted them."""
    state, trade = margined("binance-usdm", "BTC_USDC-PERPETUAL")
    lots = most(state, trade)
    order = c.PlaceOrder(
        account="a", order="o", symbol="BTC_USDC-PERPETUAL", side=Side.BUY, lots=lots // 2,
        price_ticks=trade(1).price_ticks, time_in_force=TimeInForce.GTD,
        expire_ms=state.log.time_ms + 1, key="o", actor="t",
    )  # fmt: skip
    assert do(state, order).code == 0
    # It still rests when the batch begins, as nothing has told the books of the time.
    state.log.time_ms += 1
    commands: list[Command] = [trade(1), c.Heartbeat(key="h", actor="t"), trade(lots * 9 // 10)]
    assert same_in_a_batch(state, commands) == [0, 0, 0]


def test_orders_that_meet_in_a_batch_are_fills_for_all_after() -> None:
    state, trade = margined("binance-usdm", "BTC_USDC-PERPETUAL")
    lots = most(state, trade)
    told: dict[str, Any] = {
        "symbol": "BTC_USDC-PERPETUAL", "price_ticks": trade(1).price_ticks, "lots": lots * 8 // 10,
        "actor": "t",
    }  # fmt: skip
    made = c.PlaceOrder(account="a", order="m", side=Side.SELL, key="m", **told)
    assert do(state, made).code == 0
    taken = c.PlaceOrder(account="b", order="t", side=Side.BUY, key="t", **told)
    commands: list[Command] = [trade(1), taken, trade(lots * 12 // 10)]
    assert same_in_a_batch(state, commands) == [0, 0, 0]


def test_who_isolates_stays_with_rules_that_can() -> None:
    """An isolated position under a rulebook of scans made every margin check fail."""
    found = 0
    for seed in range(12):
        state, _ = venue(seed)
        for rulebook in set(state.rules) - {"deribit-pm", "vega", "credit-lines"}:
            told = {"actor": "t", "account": f"{rulebook}-fan"}
            do(
                state,
                c.OpenAccount(key=f"o{rulebook}", kind=AccountKind.USER, rulebook=rulebook, **told),
            )
            mode = c.SetMarginMode(
                key=f"m{rulebook}", symbol=state.contracts[0].listing.symbol,
                mode=MarginMode.ISOLATED, leverage="5", **told,
            )  # fmt: skip
            assert do(state, mode).code == 0
            moved = c.AssignRulebook(key=f"a{rulebook}", rulebook="deribit-pm", **told)
            assert do(state, moved).code == Reject.MODE_UNSUPPORTED
            found += 1
    assert found > 4


def settled(**engine: object) -> State:
    """A venue with one contract of whole units and three accounts, two of which hold it."""
    state = State()
    house: dict[str, object] = {"realise": "on_close", "losses": "debt", **engine}
    fee = {"component": "between", "rate": 0.01, "receiver": "maker"}
    for number, told in enumerate(
        [
            c.ListAsset(asset="USDC", decimals=8, key="", actor="t"),
            c.AdoptRulebook(
                name="bitmex", toml=with_engine(rulebook_source("bitmex"), house, [fee]),
                day=DAY, venue=True, key="", actor="t",
            ),
            c.ListInstrument(
                symbol="P", kind="perpetual", base="BTC", quote="USDC", settlement="USDC",
                lot_size="1", contract_size="1", tick_size="1", points_per_tick=1,
                inverse=False, key="", actor="t",
            ),
            *[
                c.OpenAccount(account=one, kind=AccountKind.USER, rulebook="bitmex", key="",
                              actor="t")
                for one in ("long", "short", "other")
            ],
            c.ImportBooks(
                balances=(), key="", actor="t",
                positions=(OpeningPosition("long", "P", 10**9, 1),
                           OpeningPosition("short", "P", -(10**9), 1)),
            ),
        ]
    ):  # fmt: skip
        assert do(state, structs.replace(told, key=str(number))).code == 0
    return state


def test_payments_beyond_money_are_refused_before_anything_moves() -> None:
    """They were paid, and then could not be written down."""
    state = settled()
    marks = (MarkPrice("P", POINTS_MAX, 0),)
    assert do(state, c.PublishMarket(index=(), marks=marks, key="m", actor="t")).code == 0
    books = books_hash(state)
    for command in (
        c.SettleVariation(symbol="P", key="v", actor="t"),
        c.PayFunding(symbol="P", until_ms=1, rate="1", key="f", actor="t"),
        c.Trade(buyer="short", seller="long", symbol="P", lots=10**9, price_ticks=10**9,
                aggressor=None, key="t", actor="t"),
    ):  # fmt: skip
        later = 1 if isinstance(command, c.PayFunding) else 0
        assert do(state, command, later).code == Reject.AMOUNT_TOO_LARGE
        assert books_hash(state) == books


def test_an_image_holds_debts_of_any_size() -> None:
    state = settled()
    state.ledger.move(node(FIRST_ACCOUNT, GENERAL, 0), node(0, GENERAL, 0), 2**70)
    again = restore(image(state))
    assert again.ledger.balance(node(FIRST_ACCOUNT, GENERAL, 0)) == -(2**70)
    assert state_hash(again) == state_hash(state)


@pytest.mark.parametrize(("there", "code"), [(1_019, Reject.FUND_INSUFFICIENT), (1_020, 0)])
def test_the_fund_has_what_it_pays_before_it_is_paid(there: int, code: int) -> None:
    """What it was to receive as maker was counted before it came."""
    state = settled()
    told: dict[str, Any] = {"symbol": "P", "lots": 1_000, "aggressor": Side.BUY, "actor": "t"}
    funds = c.Deposit(account="insurance", asset="USDC", amount=there * 10**8, key="d", actor="t")
    opened = c.Trade(buyer="insurance", seller="long", price_ticks=2, key="a", **told)
    closed = c.Trade(buyer="short", seller="insurance", price_ticks=1, key="b", **told)
    assert [do(state, one).code for one in (funds, opened, closed)] == [0, 0, code]


def test_spoiled_commands_can_be_stored() -> None:
    for command, _ in kept(7).history:
        assert structs.asdict(decode_command(encode_command(command))) == structs.asdict(command)


def test_the_checker_is_quick_to_start() -> None:
    assert Checker(State()).compare() == []
