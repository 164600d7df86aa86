"""The outsider's books: they agree with the engine, and find whatever is not right."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import cache
from typing import Any

import msgspec
import pytest

from solvent.account.ledger import FEES, GENERAL, LIQUIDITY, VENUE, node
from solvent.account.sharing import shared_out
from solvent.chains import ORIGIN, link
from solvent.engine.combos import split
from solvent.engine.dealing import margin_moves
from solvent.engine.image import image
from solvent.engine.state import State
from solvent.errors import InvariantBroken
from solvent.host import Engine
from solvent.messages import commands as c
from solvent.messages.codec import command_json, decode_command
from solvent.sim import history as sim
from solvent.units import div_down
from solvent.verify.books import Findings, check_books
from tests.histories import FEES as FEE_TEXTS
from tests.histories import HOUSES, History, Row, at_random, every_command, go_through


@cache
def history(house: str) -> History:
    """One history a house, to be read only."""
    return every_command(house)


def events_of(row: Row) -> list[Any]:
    """Events as they are stored, to be tampered with."""
    found: list[Any] = msgspec.msgpack.decode(row[4][1:])
    return found


def with_events(row: Row, events: list[Any]) -> Row:
    """A row with other events."""
    return (*row[:4], b"\x01" + msgspec.msgpack.encode(events), row[5])


def linked(rows: list[Row]) -> list[Row]:
    """Rows with the chain that fits them: whoever tampers with them can do that too."""
    chain, found = ORIGIN, []
    for row in rows:
        chain = link(chain, row[0], row[1], row[3], row[4])
        found.append((*row[:5], chain))
    return found


def replaced(rows: list[Row], place: int, row: Row) -> list[Row]:
    return linked([*rows[:place], row, *rows[place + 1 :]])


def first(rows: list[Row], kind: str, event: str) -> tuple[int, list[Any], int]:
    """Place of the first row of a kind with such an event, its events, and which it is."""
    for place, row in enumerate(rows):
        events = events_of(row)
        if row[2] == kind:
            for number, one in enumerate(events):
                if one[0] == event:
                    return place, events, number
    raise LookupError(kind, event)


def named(found: Findings) -> set[int]:
    """Commands that were found at fault."""
    return {one.sequence for one in found.problems}


# ── they agree ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("house", HOUSES)
def test_agrees_with_the_engine(house: str) -> None:
    h = history(house)
    found = check_books(h.rows, image=image(h.state))
    assert [str(one) for one in found.problems] == []
    assert found.agrees
    assert found.commands == len(h.rows)
    assert found.rejected >= 3
    assert min(found.moves, found.positions, found.balances) > 50


def test_every_command_was_done() -> None:
    done = set()
    for house in HOUSES:
        for row in history(house).rows:
            if events_of(row)[:1] == [] or events_of(row)[0][0] != "rejected":
                done.add(row[2])
    assert done == {kind.__struct_config__.tag for kind in c.COMMANDS}


@pytest.mark.parametrize("house", HOUSES)
@pytest.mark.parametrize("seed", range(2))
def test_agrees_at_random(house: str, seed: int) -> None:
    h = at_random(house, seed=seed, commands=600)
    found = check_books(h.rows, image=image(h.state))
    assert [str(one) for one in found.problems] == []
    assert found.positions > 100


def made_up(seed: int, commands: int) -> History:
    """A history out of a seed, as a journal would keep it."""
    source = sim.History(seed, keep=True)
    told = source.run(commands)
    assert told.violations == []
    h = History.__new__(History)
    h.state, h.rows = State(), []
    for command, h.time_ms in told.history:
        h.apply(command)
    assert h.state.log.chain == told.chain
    return h


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_what_is_made_up(seed: int) -> None:
    h = made_up(seed, 500)
    found = check_books(h.rows, image=image(h.state))
    assert [str(one) for one in found.problems] == []
    assert found.commands > 400


@pytest.mark.soak
def test_agrees_with_much_that_is_made_up() -> None:
    seen = 0
    for seed in range(100, 164):
        h = made_up(seed, 2_000)
        found = check_books(h.rows, image=image(h.state))
        assert [f"seed {seed}: {one}" for one in found.problems] == []
        seen += found.commands
    assert seen > 100_000


def test_agrees_with_a_journal(tmp_path: Any) -> None:
    h = history("debt")
    times = [row[1] for row in h.rows]
    with Engine.create(tmp_path / "venue") as engine:
        engine.submit_all([decode_command(row[3]) for row in h.rows[:100]], times_ms=times[:100])
        engine.snapshot()
        engine.submit_all(
            [command_json(decode_command(row[3])) for row in h.rows[100:]], times_ms=times[100:]
        )
        kept = engine.journal.latest_snapshot()
        assert kept is not None
        rows = list(engine.journal.read())
    assert kept.sequence == 100
    found = check_books(rows, image=kept.image)
    assert found.agrees
    assert found.commands == len(rows)
    assert found.balances > 20


# ── a record that was tampered with ──────────────────────────────────────────────────────────────

MONEY_KINDS = (
    "deposit", "announce_deposit", "confirm_deposit", "cancel_deposit", "request_withdrawal",
    "confirm_withdrawal", "cancel_withdrawal", "transfer", "contribute_fund", "return_fund",
    "trade", "set_margin_mode", "set_leverage", "add_isolated_margin", "remove_isolated_margin",
    "pay_funding", "settle_variation", "settle_expiry", "accrue_interest", "liquidate",
    "take_over", "deleverage", "confiscate", "cover_debt", "socialise_loss", "import_books",
    "place_order", "set_phase", "publish_market", "report_block",
)  # fmt: skip


def one_more(events: list[Any], number: int) -> None:
    events[number][1][0][2] += 1


def to_a_pool(events: list[Any], number: int) -> None:
    source = events[number][1][0][0]
    events[number][1][0][1] = node(LIQUIDITY, GENERAL, source & 0xFF)


def without_the_last(events: list[Any], number: int) -> None:
    events[number][1].pop()


def in_silence(events: list[Any], number: int) -> None:
    del events[number]


def back_again(events: list[Any], number: int) -> None:
    move = events[number][1][0]
    move[0], move[1] = move[1], move[0]


@pytest.mark.parametrize("kind", MONEY_KINDS)
@pytest.mark.parametrize("tamper", [one_more, to_a_pool, without_the_last, in_silence, back_again])
def test_other_money_is_found(kind: str, tamper: Callable[[list[Any], int], None]) -> None:
    rows = history("debt").rows
    place, events, number = first(rows, kind, "posted")
    tamper(events, number)
    found = check_books(replaced(rows, place, with_events(rows[place], events)))
    assert min(named(found)) == place + 1
    assert kind in str(found.problems[0])
    assert "money of owner" in str(found.problems[0])


HOLDING_KINDS = (
    "trade", "settle_variation", "settle_expiry", "take_over", "place_order", "set_phase",
    "publish_market", "report_block",
)  # fmt: skip


@pytest.mark.parametrize("kind", HOLDING_KINDS)
@pytest.mark.parametrize("which", range(1, 7))
def test_another_position_is_found(kind: str, which: int) -> None:
    rows = history("collect").rows
    place, events, number = first(rows, kind, "position_changed")
    events[number][which] += 1
    found = check_books(replaced(rows, place, with_events(rows[place], events)))
    assert min(named(found)) == place + 1


@pytest.mark.parametrize(
    ("kind", "event", "field"),
    [
        ("trade", "fee_paid", 3), ("list_asset", "numbered", 3), ("open_account", "numbered", 3),
        ("accrue_interest", "interest_accrued", 3), ("settle_variation", "variation_settled", 3),
        ("settle_expiry", "expiry_settled", 4), ("pay_funding", "funding_paid", 6),
        ("liquidate", "fee_paid", 3), ("place_order", "fee_paid", 3), ("set_phase", "fee_paid", 3),
        ("list_combo", "numbered", 3), ("report_block", "block_reported", 2),
        ("report_block", "traded", 2), ("report_block", "traded", 3), ("report_block", "traded", 4),
    ],
)  # fmt: skip
def test_another_fact_is_found(kind: str, event: str, field: int) -> None:
    rows = history("debt").rows
    place, events, number = first(rows, kind, event)
    events[number][field] += 1
    found = check_books(replaced(rows, place, with_events(rows[place], events)))
    assert named(found) == {place + 1}


@pytest.mark.parametrize(
    ("kind", "event", "field"),
    [
        *[("place_order", "order_rested", field) for field in (1, 3, 4, 5, 6)],
        ("place_order", "order_reduced", 1), ("place_order", "order_reduced", 3),
        *[("place_order", "traded", field) for field in range(1, 8) if field not in (5, 7)],
        *[("set_phase", "traded", field) for field in (1, 2, 3, 4, 6)],
        *[("publish_market", "traded", field) for field in (1, 2, 3, 4, 6)],
        ("place_order", "order_ended", 1), ("place_order", "order_ended", 3),
        ("place_order", "stop_placed", 1), ("place_order", "stop_placed", 3),
        ("publish_market", "stop_triggered", 1), ("cancel_orders", "stop_cancelled", 1),
        ("amend_order", "order_reduced", 3), ("relieve_margin", "order_reduced", 1),
        ("trade", "order_reduced", 3), ("begin_liquidation", "order_reduced", 1),
    ],
)  # fmt: skip
def test_another_order_is_found(kind: str, event: str, field: int) -> None:
    rows = history("debt").rows
    place, events, number = first(rows, kind, event)
    # Away from zero: what is left of an order never grows.
    events[number][field] += -1 if events[number][field] < 0 else 1
    found = check_books(replaced(rows, place, with_events(rows[place], events)))
    assert min(named(found)) == place + 1


@pytest.mark.parametrize("event", ["order_rested", "order_reduced", "order_ended", "traded"])
def test_an_order_in_silence_is_found(event: str) -> None:
    rows = history("debt").rows
    place, events, number = first(rows, "place_order", event)
    del events[number]
    found = check_books(replaced(rows, place, with_events(rows[place], events)))
    assert min(named(found)) == place + 1


def test_a_block_of_another_is_found() -> None:
    rows = list(history("debt").rows)
    second = [place for place, row in enumerate(rows) if row[2] == "report_block"][1]
    told = msgspec.msgpack.decode(rows[second][3][1:])
    for name, value in (("lots", 41), ("price_ticks", 1), ("account", "carol"), ("side", "buy")):
        other = b"\x01" + msgspec.msgpack.encode({**told, name: value})
        row = (*rows[second][:3], other, *rows[second][4:])
        assert min(named(check_books(replaced(rows, second, row)))) == second + 1


@pytest.mark.parametrize("field", [4, 5])
def test_another_average_is_found(field: int) -> None:
    """Funding that a rulebook's column computes: its averages are of the prices published."""
    rows = history("vega").rows
    computed = [place for place, row in enumerate(rows) if row[2] == "pay_funding"
                and events_of(row)[0][0] == "funding_paid" and events_of(row)[0][4]]  # fmt: skip
    assert len(computed) > 2
    events = events_of(rows[computed[1]])
    events[0][field] = str(Fraction(events[0][field]) + 1)
    found = check_books(replaced(rows, computed[1], with_events(rows[computed[1]], events)))
    assert named(found) == {computed[1] + 1}


def test_money_for_what_was_refused_is_found() -> None:
    rows = history("debt").rows
    place, events, number = first(rows, "transfer", "rejected")
    assert number == 0
    events.append(["posted", [[node(16, 0, 0), node(17, 0, 0), 5]]])
    found = check_books(replaced(rows, place, with_events(rows[place], events)))
    assert named(found) == {place + 1}


def test_what_columns_move_stays_within_an_account() -> None:
    """Under Vega's rules moves within an account's contract are taken on trust, and no others."""
    rows = history("vega").rows
    place, events, number = first(rows, "trade", "posted")
    inside = [move for move in events[number][1] if move[0] >> 30 == move[1] >> 30]
    assert inside
    inside[0][1] = node(FEES, GENERAL, inside[0][1] & 0xFF)
    found = check_books(replaced(rows, place, with_events(rows[place], events)))
    assert min(named(found)) == place + 1


def test_columns_overdraw_nothing() -> None:
    rows = history("vega").rows
    place, events, number = first(rows, "trade", "posted")
    inside = [move for move in events[number][1] if move[0] >> 30 == move[1] >> 30]
    inside[0][2] += 10**15
    found = check_books(replaced(rows, place, with_events(rows[place], events)))
    assert min(named(found)) == place + 1


def _flipped(row: Row) -> Row:
    return (*row[:5], bytes([row[5][0] ^ 1]) + row[5][1:])


def test_damaged_rows_are_named() -> None:
    rows = history("debt").rows
    for damaged, expected in (
        ([*rows[:50], _flipped(rows[50]), *rows[51:]], {51, 52}),
        ([*rows[:50], *rows[51:]], {52}),
        ([*rows[:50], rows[49], *rows[50:]], {50}),
        ([*rows[:50], (*rows[50][:2], "heartbeat", *rows[50][3:]), *rows[51:]], {51}),
        ([*rows[:50], (*rows[50][:3], b"\x02" + rows[50][3][1:], *rows[50][4:])], {51}),
        ([*rows[:50], (*rows[50][:3], b"", *rows[50][4:])], {51}),
        ([*rows[:50], (*rows[50][:4], rows[50][4][:-1], rows[50][5])], {51}),
        ([*rows[:50], (rows[50][0], rows[0][1] - 1, *rows[50][2:])], {51}),
    ):
        found = check_books(damaged)
        assert not found.agrees
        assert min(named(found)) == min(expected)
        assert expected <= named(found)


def test_another_image_is_found() -> None:
    h = history("debt")
    form, parts = msgspec.msgpack.decode(image(h.state))
    nodes, amounts = msgspec.msgpack.decode(parts["ledger"])
    first_amount = int.from_bytes(amounts[:8], "little", signed=True) + 1
    amounts = first_amount.to_bytes(8, "little", signed=True) + amounts[8:]
    parts["ledger"] = msgspec.msgpack.encode((nodes, amounts))
    found = check_books(h.rows, image=msgspec.msgpack.encode((form, parts)))
    assert [one.what.split(" of ")[0] for one in found.problems] == ["balance"]
    rank, books, orders, *others = msgspec.msgpack.decode(parts["desk"])
    parts["desk"] = msgspec.msgpack.encode((rank, books, orders[1:], *others))
    found = check_books(h.rows, image=msgspec.msgpack.encode((form, parts)))
    assert {one.what.split(" ")[0] for one in found.problems} == {"balance", "order"}
    assert not check_books(h.rows, image=b"no image").agrees
    late = check_books(h.rows[:-1], image=image(h.state))
    assert "place in history" in str(late.problems[0])


# ── an engine that reckons otherwise ─────────────────────────────────────────────────────────────


def _wrong_way(contract: Any, rate: Fraction) -> Fraction:
    return Fraction(-rate * contract.mark_points * contract.deal.point)


def _premium_of_one(contract: Any, *_: int) -> int:
    return int(contract.deal.money(1_000))


def _buyers(*_: Any, **__: Any) -> tuple[int, ...]:
    return (0,)


def _one_more(state: Any, one: Any) -> int:
    return margin_moves(state, one) + bool(one.apart)


def _nothing(*_: Any) -> int:
    return 0


def _told_or_one(*told: Any) -> Fraction:
    return Fraction(told[2] or 1, 10**9)


def _a_tick_more(combo: Any, price_ticks: int) -> Any:
    return [ticks + 1 for ticks in split(combo, price_ticks) or ()]


class _Floored:
    """Rounds up where it should round down, and the other way."""

    ceil, floor = math.floor, math.ceil


def _no_slot(_: int) -> int:
    return GENERAL


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


_BY_LESS = {"against_account": _up, "half_even": div_down, "toward_zero": div_down}
_ONE_POOL = {"venue": VENUE, "insurance": VENUE, "liquidity": VENUE}
MUTANTS: dict[str, tuple[str, str, Any]] = {
    "fees rounded down": ("debt", "engine.fees.div_up", div_down),
    "gains rounded up": ("debt", "engine.dealing._ROUND", _BY_LESS),
    "gains not half-even": ("collect", "engine.dealing._ROUND", _BY_LESS),
    "average cost rounded down": ("debt", "account.position.div_half_even", div_down),
    "coin rounded down": ("debt", "account.deal.div_half_even", div_down),
    "premium of one lot": ("debt", "engine.dealing.premium_of", _premium_of_one),
    "interest rounded down": ("debt", "engine.settlement.div_up", div_down),
    "isolated margin rounded down": ("debt", "engine.dealing.div_up", div_down),
    "margin of a mode rounded down": ("debt", "engine.accounts.div_up", div_down),
    "liquidation fee rounded down": ("debt", "engine.closing_out.div_up", div_down),
    "funding the other way": ("collect", "engine.settlement._told", _wrong_way),
    "fees from the wrong side": ("debt", "engine.fees._payers", _buyers),
    "isolated margin and one more": ("debt", "engine.dealing.margin_moves", _one_more),
    "margin stays": ("vega", "engine.settlement.give_margin_back", _nothing),
    "roundings stay": ("debt", "engine.dealing.sweep", _nothing),
    "another pool is paid": ("debt", "engine.closing_out.INSURANCE", VENUE),
    "another pool gets the fee": ("debt", "engine.auctions.INSURANCE", VENUE),
    "a share at less than its price": ("debt", "engine.auctions.math", _Floored),
    "a market's fund is the shared one": ("debt", "engine.distress.margin_slot", _no_slot),
    "fees to the venue": ("debt", "engine.fees._RECEIVERS", _ONE_POOL),
    "another settlement price": ("debt", "engine.settlement._settlement_price", _told_or_one),
    "legs at other prices": ("debt", "engine.combos.split", _a_tick_more),
}  # fmt: skip


def _everywhere(where: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put something in a module's place, and wherever else a function of it was imported to."""
    module, name = f"solvent.{where}".rsplit(".", 1)
    right = getattr(sys.modules[module], name)
    monkeypatch.setattr(sys.modules[module], name, wrong)
    if getattr(right, "__module__", "") == module:
        for other in [one for at, one in sys.modules.items() if at.startswith("solvent.engine.")]:
            if getattr(other, name, None) is right:
                monkeypatch.setattr(other, name, wrong)


@pytest.mark.parametrize("name", MUTANTS)
def test_another_reckoning_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house, where, wrong = MUTANTS[name]
    _everywhere(where, wrong, monkeypatch)
    h = History(house)
    # An engine that reckons otherwise may not come to the end.
    with suppress(AssertionError, InvariantBroken):
        go_through(h)
    found = check_books(h.rows)
    assert not found.agrees
    assert min(named(found)) > 20


def _the_first_gets_the_rest(claims: Any, available: int) -> list[int]:
    paid = shared_out(claims, available)
    return [paid[-1] + paid[0] - claims[0] * available // sum(claims), *paid[1:-1],
            claims[-1] * available // sum(claims)] if available < sum(claims) else paid  # fmt: skip


@pytest.mark.parametrize("wrong", [None, _the_first_gets_the_rest])
def test_another_sharing_is_found(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losers who cannot pay: winners share what there is, and the last has what is left over."""
    if wrong is not None:
        monkeypatch.setattr("solvent.engine.settlement.shared_out", wrong)
    h = History("collect", fees=())
    h.open("weak", usdc=0)
    h.must(c.Deposit, account="weak", asset="USDC", amount=3_600_000_000)
    for name, lots in (("alice", 1_000), ("bob", 1_307), ("carol", 693)):
        assert h.trade("weak", name, "BTC_USDC-PERPETUAL", lots).code == 0
    h.publish(btc=0.5)
    settled = h.must(c.SettleVariation, symbol="BTC_USDC-PERPETUAL")
    assert settled.events[-2].uncollected > 10**9  # type: ignore[attr-defined]
    assert check_books(h.rows).agrees is (wrong is None)


@pytest.mark.parametrize("change", ["rate", "payer", "receiver", "of", "auction"])
def test_another_rulebook_is_found(change: str) -> None:
    """The record of one rulebook under another: what was charged is not what it says."""
    rows = list(history("debt").rows)
    place = next(place for place, row in enumerate(rows) if row[2] == "adopt_rulebook")
    command = msgspec.msgpack.decode(rows[place][3][1:])
    other = {
        "rate": ("rate = 0.0005", "rate = 0.00051"), "payer": ('"both"', '"taker"'),
        "receiver": ('receiver = "insurance"', 'receiver = "venue"'),
        "of": ('of = "notional"\npremium_cap = 0.125', 'of = "value"'),
        "auction": ('auction = "split"', 'auction = "skipped"'),
    }[change]  # fmt: skip
    assert other[0] in command["toml"]
    command["toml"] = command["toml"].replace(*other)
    told = b"\x01" + msgspec.msgpack.encode(command)
    rows[place] = (*rows[place][:3], told, *rows[place][4:])
    found = check_books(linked(rows))
    kinds = {one.kind for one in found.problems}
    assert kinds <= {"trade", "place_order", "set_phase", "publish_market", "report_block",
                     "liquidate_in_book"}  # fmt: skip
    assert "trade" in kinds
    assert len(named(found)) >= (1 if change == "auction" else 10)
    assert FEE_TEXTS[0]["rate"] == 0.0005
