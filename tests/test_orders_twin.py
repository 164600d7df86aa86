"""The order desk and its plain twin, asked the same: the same events, refusals and books."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from solvent.errors import Refused, Reject
from solvent.messages.fields import SelfTrade, Side, StopAt, Trigger
from solvent.orders.desk import Desk
from solvent.orders.order import BookTerms, Order, Why
from solvent.sim.order_play import REFUSALS, SwarmGate, play, recorded, replayed
from solvent.sim.order_swarm import Operation, OrderSwarm
from solvent.verify.orders import PlainDesk
from solvent.verify.orders_terms import ORDERS_MAX, PlainOrder, PlainStop, PlainTerms, Row

OPERATIONS = 1_000_000
SEEDS = 400
CHUNKS = 20
LOOKED_AT_EVERY = 23
"""Operations between two looks at all that can be seen."""
FIELDS = [name for name in PlainOrder.__slots__ if name not in ("stop", "shown")]
EVENTS = {
    "order_rested", "order_reduced", "order_ended", "stop_placed", "stop_triggered",
    "stop_cancelled", "traded", "uncrossed", "protection_tripped",
}  # fmt: skip
WHY_AT = {"order_reduced": 5, "order_ended": 4, "stop_cancelled": 3}
TO_BE_MET = {
    *(f"code {one.name}" for one in REFUSALS),
    *(f"event {one}" for one in EVENTS),
    *(f"why {one}" for one in Why),
    *(f"self-trade {one}" for one in SelfTrade),
    *(f"stop {one} {way}" for one in Trigger for way in ("rises", "falls")),
    *(f"phase {one}" for one in (
        "continuous auction", "auction continuous", "auction halted", "halted auction",
        "continuous halted", "halted continuous",
    )),
    *(f"done {one}" for one in (
        "place", "accept", "amend", "cancel", "take_off", "cancel_where", "expire", "set_phase",
        "observe", "settle_stops", "set_protection", "reset_protection", "open_book",
        "close_book",
    )),
    *(f"where {one}" for one in ("account", "instruments", "side", "group", "session")),
    *(f"order {one}" for one in (
        "limit", "market", "gtc", "gtd", "ioc", "fok", "post_only", "reduce_only", "display",
        "stop", "stop-market", "group", "session",
    )),
}  # fmt: skip


class PlainSwarmGate:
    """The same gate in the twin's words."""

    def __init__(self, gate: SwarmGate) -> None:
        self.gate = gate
        self.held = gate.held
        self.delta_nano = gate.delta_nano

    def admit(self, order: Any) -> bool:
        return self.gate.admit(order)

    def fill(
        self, buy: Any, sell: Any, *, lots: int, price_ticks: int, aggressor: str | None,
        events: list[Row],
    ) -> str:  # fmt: skip
        told: list[Any] = []
        side = None if aggressor is None else Side(aggressor)
        found = self.gate.fill(
            buy, sell, lots=lots, price_ticks=price_ticks, aggressor=side, events=told
        )
        events.extend(to_builtins(told))
        return found.name.lower()


def plain_order(*, stop: StopAt | None = None, **told: Any) -> PlainOrder:
    at = PlainStop(stop.trigger, stop.price, stop.rises) if stop is not None else None
    return PlainOrder(stop=at, **told)


def plain_terms(**told: Any) -> PlainTerms:
    return PlainTerms(**told)


def fields(order: Any) -> list[Any]:
    """All that an order is, but what it shows, which is told where it rests."""
    stop = order.stop
    at = None if stop is None else (stop.trigger, stop.price, stop.rises)
    return [*(getattr(order, name) for name in FIELDS), at]


class Pair:
    """Both desks, and what they have met.

    After each operation `differs` says in what they are not the same, None if they are.
    """

    def __init__(self, swarm: OrderSwarm, plain: type[PlainDesk] = PlainDesk) -> None:
        self.swarm = swarm
        self.fast_gate = SwarmGate(swarm)
        self.gate = SwarmGate(swarm)
        self.plain_gate = PlainSwarmGate(self.gate)
        self.fast = Desk()
        self.plain = plain(swarm.orders_max)
        self.met: Counter[str] = Counter()
        self.stops: dict[tuple[int, str], str] = {}
        self.count = 0

    def do(self, operation: Operation) -> str | None:
        """Carry it out on both; in what they differ."""
        what, _, told = operation
        if what == "take_off" and not self._can_go(**told):
            return None
        phase = str(self.plain.phase(told["instrument"])) if self._moves(operation) else ""
        events: list[Any] = []
        rows: list[Row] = []
        try:
            found = play(
                self.fast, operation, order=Order, terms=BookTerms, gate=self.fast_gate,
                events=events,
            )  # fmt: skip
        except Exception as error:
            return f"the desk fails: {error!r}"
        expected = play(
            self.plain, operation, order=plain_order, terms=plain_terms, gate=self.plain_gate,
            events=rows,
        )  # fmt: skip
        if isinstance(expected, PlainOrder) and hasattr(found, "rank"):
            found, expected = fields(found), fields(expected)
        told_rows = to_builtins(events)
        if found != expected:
            return f"answer {found!r}, the twin's {expected!r}"
        if told_rows != rows:
            return f"events\n  {told_rows}\nthe twin's\n  {rows}"
        if self.fast.rank != self.plain.rank or self.fast_gate.asked != self.gate.asked:
            return f"rank {self.fast.rank}, the twin's {self.plain.rank}, or how the gate was asked"
        self.swarm.see(rows)
        self._meet(operation, expected, rows, phase)
        self.count += 1
        return self.looks() if self.count % LOOKED_AT_EVERY == 0 else None

    def _can_go(self, account: int, name: str, lots: int, **_: Any) -> bool:
        """Whoever takes lots off knows that it rests and has as many; or it is not there at all."""
        for one in self.plain.resting + self.plain.waiting:
            if (one.account, one.name) == (account, name):
                return one.stop is None and abs(one.lots) >= lots
        return True

    def _moves(self, operation: Operation) -> bool:
        what, _, told = operation
        return what == "set_phase" and told["instrument"] in self.plain.books

    def _meet(self, operation: Operation, answer: Any, rows: list[Row], phase: str) -> None:
        what, _, told = operation
        if isinstance(answer, Reject):
            self.met[f"code {answer.name}"] += 1
            return
        self.met[f"done {what}"] += 1
        if phase:
            self.met[f"phase {phase} {told['phase']}"] += 1
        order = told["order"] if what == "place" else {}
        if order:
            self._meet_order(order)
        for row in rows:
            self.met[f"event {row[0]}"] += 1
            why = row[WHY_AT[row[0]]] if row[0] in WHY_AT else ""
            if why:
                self.met[f"why {why}"] += 1
            if why == "self_trade" and row[1] == order.get("account"):
                self.met[f"self-trade {order['self_trade']}"] += 1
            if row[0] == "stop_triggered":
                self.met[self.stops[row[1], row[2]]] += 1
        if what == "cancel_where" and answer:
            self.met.update(f"where {one}" for one in told if one != "why")

    def _meet_order(self, order: dict[str, Any]) -> None:
        kind = "market" if order["price_ticks"] is None else "limit"
        self.met.update([f"order {kind}", f"order {order['time_in_force']}"])
        self.met.update(f"order {one}" for one, told in order.items() if told is not False)
        stop = order.get("stop")
        if stop is not None:
            way = "rises" if stop.rises else "falls"
            self.stops[order["account"], order["name"]] = f"stop {stop.trigger} {way}"
            self.met[f"order stop-{kind}"] += 1

    def looks(self) -> str | None:
        """Compare all that can be seen of both desks."""
        fast, plain, swarm = self.fast, self.plain, self.swarm
        for name in ("orders", "stops"):
            for at in ("rank", "shown"):
                found, expected = listed(getattr(fast, name), at), listed(getattr(plain, name), at)
                if found != expected:
                    return f"{name}\n  {found}\nthe twin's\n  {expected}"
        left = {(one.account, one.name): one.lots for one in plain.resting}
        if left != swarm.resting:
            return f"events alone tell of {swarm.resting}, there are {left}"
        if set(fast.groups) != set(plain.groups):
            return f"groups {sorted(fast.groups)}, the twin's {sorted(plain.groups)}"
        lots = 1 + int(swarm.rng.random() * 3 * swarm.size)
        for instrument in [*plain.books, *swarm.closed[-1:]]:
            for name, told in (
                ("phase", ()), ("last", ()), ("best", ()), ("uncrossing", ()), ("depth", ()),
                ("depth", (2,)), ("impact", (Side.BUY, lots)), ("impact", (Side.SELL, lots)),
            ):  # fmt: skip
                one = seen(fast, name, instrument, *told)
                other = seen(plain, name, instrument, *told)
                if one != other:
                    return f"{name} of {instrument} {told}: {one}, the twin's {other}"
        return None


def seen(desk: Any, name: str, *told: Any) -> Any:
    """What can be seen, or the code of the refusal to look at a closed book."""
    try:
        return getattr(desk, name)(*told)
    except Refused as refused:
        return refused.code


def listed(orders: dict[int, dict[str, Any]], also: str) -> dict[int, list[Any]]:
    """Orders by account, each account's in the order in which they came."""
    return {
        account: [(name, getattr(one, also), *fields(one)) for name, one in theirs.items()]
        for account, theirs in orders.items()
    }


LIMITED = [
    module for name, module in sys.modules.items()
    if name.startswith("solvent.orders") and hasattr(module, "ORDERS_MAX")
]  # fmt: skip


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds change how many orders an account may have; afterwards it is as it was."""
    for module in LIMITED:
        monkeypatch.setattr(module, "ORDERS_MAX", ORDERS_MAX)


def begun(seed: int, plain: type[PlainDesk] = PlainDesk) -> Pair:
    swarm = OrderSwarm(seed)
    for module in LIMITED:
        vars(module)["ORDERS_MAX"] = swarm.orders_max
    return Pair(swarm, plain)


def lived(
    seed: int, count: int, plain: type[PlainDesk] = PlainDesk
) -> tuple[Pair, list[Operation], str | None]:
    """A seed's operations on both desks, up to the first difference."""
    pair = begun(seed, plain)
    done: list[Operation] = []
    while pair.count < count:
        done.append(pair.swarm.draw())
        differs = pair.do(done[-1])
        if differs is not None:
            return pair, done, differs
    return pair, done, pair.looks()


def again(seed: int, operations: list[Operation], plain: type[PlainDesk]) -> str | None:
    """The first difference that some of a seed's operations come to."""
    pair = begun(seed, plain)
    for one in operations:
        differs = pair.do(one)
        if differs is not None:
            return differs
    return pair.looks()


def shortest(
    seed: int, operations: list[Operation], plain: type[PlainDesk] = PlainDesk
) -> list[Operation]:
    """As few of some operations as still come to a difference."""
    size = len(operations) // 2
    while size:
        at = 0
        while at < len(operations):
            fewer = operations[:at] + operations[at + size :]
            if again(seed, fewer, plain) is not None:
                operations = fewer
            else:
                at += size
        size //= 2
    return operations


def story(seed: int, operations: list[Operation], plain: type[PlainDesk] = PlainDesk) -> str:
    """What to look at where the desks differ."""
    short = shortest(seed, operations, plain)
    lines = [f"seed {seed}:", *map(str, short), str(again(seed, short, plain))]
    return "\n".join(lines)


# ── a million operations ─────────────────────────────────────────────────────────────────────────


def shared(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run of tests see."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "orders"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_million_operations(chunk: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whichever chunk ends last looks whether all together met everything."""
    folder = shared(tmp_path_factory)
    met: Counter[str] = Counter()
    for seed in range(chunk, SEEDS, CHUNKS):
        pair, done, differs = lived(seed, OPERATIONS // SEEDS)
        assert differs is None, story(seed, done)
        met += pair.met
    aside = folder / f"{chunk}.part"
    aside.write_text(json.dumps(met), "utf-8")
    aside.rename(folder / f"{chunk}.json")
    parts = [folder / f"{number}.json" for number in range(CHUNKS)]
    if all(part.exists() for part in parts):
        found = {name for part in parts for name in json.loads(part.read_text("utf-8"))}
        assert sorted(TO_BE_MET - found) == []


# ── the swarm finds what it is for ───────────────────────────────────────────────────────────────


class KeepsItsPlace(PlainDesk):
    """The next part of an iceberg does not go to the back."""

    def _reduce(self, order: PlainOrder, lots: int, why: str, events: list[Row]) -> None:
        rank, before = order.rank, self.rank
        super()._reduce(order, lots, why, events)
        order.rank, self.rank = rank, before


class OverlooksStops(PlainDesk):
    """Every other stop is never triggered."""

    def settle_stops(self, *, time_ms: int, gate: Any, events: list[Row]) -> None:
        held = self.waiting
        self.waiting = [one for one in held if one.rank % 2]
        super().settle_stops(time_ms=time_ms, gate=gate, events=events)
        self.waiting = [one for one in held if one.rank % 2 == 0 or one in self.waiting]


class ForgivesStops(PlainDesk):
    """A group that has tripped keeps its stops."""

    def cancel_where(self, *, why: str, events: list[Row], **told: Any) -> int:
        held = self.waiting
        if why == "protection":
            self.waiting = []
        count = super().cancel_where(why=why, events=events, **told)
        if why == "protection":
            self.waiting = held
        return count


class AnyNumber(PlainDesk):
    """A reduce-only order does not ask how much there is to reduce."""

    def _room(self, order: PlainOrder, gate: Any) -> int:
        return abs(order.lots) if super()._room(order, gate) else 0


class LatestFirst(PlainDesk):
    """What expires goes by rank alone."""

    def expire(self, *, time_ms: int, events: list[Row]) -> None:
        gone = [one for one in self.resting + self.waiting if one.over(time_ms)]
        for one in sorted(gone, key=lambda one: one.rank):
            self._remove(one, "expired", events)


@pytest.mark.parametrize(
    "plain", [KeepsItsPlace, OverlooksStops, ForgivesStops, AnyNumber, LatestFirst]
)
def test_the_swarm_finds_a_rule_that_is_not_kept(plain: type[PlainDesk]) -> None:
    for seed in range(SEEDS):
        _, done, differs = lived(seed, 500, plain)
        if differs is not None:
            short = shortest(seed, done, plain)
            assert len(short) < 20
            assert "Operation" in story(seed, short, plain)
            return
    pytest.fail("nothing was found")


def test_what_was_recorded_comes_to_the_same_again() -> None:
    for seed in range(5):
        operations = recorded(seed, 500)
        assert operations == recorded(seed, 500)
        assert replayed(seed, operations) == replayed(seed, operations)
