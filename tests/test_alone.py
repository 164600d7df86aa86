"""One account in plain numbers: what the arrays say of it, to the bit, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent import api
from solvent.expressions import ARRAYS, parse, prepared
from solvent.feeds.library import shipped_rulebook
from solvent.feeds.synthetic_market import generate_market
from solvent.lab.cascades.rules import text_of
from solvent.lab.cascades.settings import Rules
from solvent.margining.alone import NUMBERS, POSITIONS_MAX, Alone, Held
from solvent.margining.assess import Assessed, assess
from solvent.margining.levels.book import Balances
from solvent.margining.plan import Plan
from solvent.margining.rulebook import read_rulebook
from solvent.market import Snapshot
from solvent.risk import Book
from tests.past import past
from tests.test_expressions import NAMES, PLAIN

GRID = text_of(Rules(offset=0.35), coins=("BTC", "ETH"))
ROUNDED = GRID.replace(
    'initial     = "needed"',
    'initial     = "max(needed, far + other)"\n'
    'round_initial     = { decimals = 2, mode = "up" }\n'
    'round_maintenance = { decimals = 1, mode = "half_even" }',
).replace(
    "[requirement]",
    """[scans.joint.map]
toward_zero = "150 / numeraire"
losses      = "1.25"
gains       = "0.5"
gains_cap   = "2_000 / numeraire"

[inputs.far]
about   = "what is asked besides"
default = 12.5

[sums.delta]
node  = "group"
long  = "delta * 0.75"
short = "delta"

[charges.other]
node   = "group"
into   = "whole"
amount = "where(abs(delta) < 3, abs(delta) * 100, abs(delta) * 150 - 150)"
slope  = "150"

[requirement]""",
)


@cache
def market() -> Snapshot:
    return generate_market(seed=11, expiries=3, strikes=5)


@cache
def plan(name: str) -> Plan:
    texts = {"grid": GRID, "rounded": ROUNDED}
    if name in texts:
        found = api.prepare(market(), read_rulebook(texts[name], source=name))
    else:
        found = api.prepare(market(), shipped_rulebook(name))
    assert isinstance(found, Plan)
    return found


PLANS = ("deribit-pm", "deribit-sm", "grid", "rounded")


def by_arrays(of: Plan, held: list[Held], owned: list[tuple[str, float]]) -> Assessed:
    rows = sorted(held)
    book = Book(
        accounts=["a"], first=np.array([0, len(rows)]),
        instrument=np.array([one.row for one in rows], dtype=np.int32),
        lots=np.array([one.lots for one in rows], dtype=np.float64),
        entry_lots=np.array([one.lots for one in rows], dtype=np.float64),
        entry_value=np.array([one.entry_value for one in rows], dtype=np.float64),
    )  # fmt: skip
    balances = Balances(
        account=np.zeros(len(owned), np.int64), asset=[asset for asset, _ in owned],
        amount=np.array([amount for _, amount in owned], dtype=np.float64),
        price=np.full(len(owned), np.nan),
    )  # fmt: skip
    return assess(of, book, balances=balances)


def alone(of: Plan, held: list[Held], owned: list[tuple[str, float]]) -> Any:
    found = Alone.of(of)
    assert found is not None
    return found.stands(held, owned)


def positions(of: Plan, most: int) -> st.SearchStrategy[list[Held]]:
    """A few instruments, each once; lots of all sizes, costs that need not fit them."""
    amounts = st.integers(-(10**6), 10**6)
    costs = st.integers(-(10**12), 10**12)
    one = st.tuples(st.integers(0, len(of.arrays.universe) - 1), amounts.filter(bool), costs)
    return st.lists(one, max_size=most, unique_by=lambda each: each[0]).map(
        lambda told: [Held(row, float(lots), float(cost)) for row, lots, cost in told]
    )


OWNED = st.lists(
    st.tuples(
        st.sampled_from(["USDC", "BTC", "ETH", "USD", "SHELL"]),
        st.one_of(st.integers(0, 10**6).map(lambda n: n / 64), st.floats(-1e5, 1e7)),
    ),
    max_size=4, unique_by=lambda each: each[0],
)  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_answered_is_what_arrays_answer(name: str, data: st.DataObject) -> None:
    of = plan(name)
    held, owned = data.draw(positions(of, 9)), data.draw(OWNED)
    found, arrays = alone(of, held, owned), by_arrays(of, held, owned)
    if found is None:
        return
    assert arrays.known.tolist() == [True]
    assert found.equity_micro == arrays.equity_micro[0]
    assert found.initial_micro == arrays.initial_micro[0]
    assert found.maintenance_micro == arrays.maintenance_micro[0]
    assert arrays.call[0] == (found.equity_micro < found.initial_micro)
    assert arrays.liquidate[0] == (found.equity_micro < found.maintenance_micro)


@pytest.mark.parametrize("name", PLANS)
def test_usual_accounts_are_answered(name: str) -> None:
    """The comparison above is of something: margins above 0, in several sets."""
    of, asked = plan(name), 0
    rng = np.random.default_rng(3)
    marginable = np.flatnonzero(of.marginable)
    for count in range(1, POSITIONS_MAX + 1):
        rows = rng.choice(marginable, min(count, len(marginable)), replace=False).tolist()
        held = [Held(row, float(lots), 0.0)
                for row, lots in zip(rows, rng.integers(-50, 50, len(rows)).tolist(), strict=True)
                if lots]  # fmt: skip
        owned = [("USDC", 1_000.25), ("BTC", 0.5)]
        found, arrays = alone(of, held, owned), by_arrays(of, held, owned)
        assert found is not None
        columns = arrays.equity_micro, arrays.initial_micro, arrays.maintenance_micro
        assert found == tuple(int(column[0]) for column in columns)
        asked += found.initial_micro > found.maintenance_micro > 0
    assert asked >= POSITIONS_MAX - 2


def test_nothing_is_said_of_what_is_not_plain() -> None:
    of = plan("deribit-pm")
    row = int(np.flatnonzero(of.marginable)[0])
    one = Held(row, 3.0, 0.0)
    assert alone(of, [one], []) is not None
    many = np.flatnonzero(of.marginable)[: POSITIONS_MAX + 1].tolist()
    assert len(many) == POSITIONS_MAX + 1
    assert alone(of, [Held(each, 1.0, 0.0) for each in many], []) is None
    assert alone(of, [one], [("SHELL", 5.0)]) is not None
    assert alone(of, [one], [("SHELL", -5.0)]) is None
    for amount in (1e13, -1e13, np.inf, -np.inf, np.nan):
        assert alone(of, [one], [("USDC", amount)]) is None
    for lots in (1e15, np.inf, np.nan):
        assert alone(of, [Held(row, lots, 0.0)], []) is None
    assert alone(of, [Held(row, 1.0, 1e17)], []) is None
    reasons = tuple("no" if each == row else "" for each in range(len(of.refusal)))
    refused = replace(of, refusal=reasons)
    assert alone(refused, [one], []) is None


def test_plans_that_it_does_not_speak_of() -> None:
    assert Alone.of(None) is None
    assert Alone.of(api.prepare(market(), "deribit-xpm")) is None
    tail = api.prepare(market(), "solvent-core", history=past(market()))
    assert isinstance(tail, Plan)
    assert Alone.of(tail) is None
    text = read_rulebook(ROUNDED.replace("default = 12.5", "default = -12.5"), source="told")
    assert Alone.of(api.prepare(market(), text)) is None


@given(
    text=PLAIN,
    values=st.fixed_dictionaries(dict.fromkeys(NAMES, st.floats(-1e6, 1e6))),
)
@settings(max_examples=300, deadline=None)
def test_plain_numbers_are_as_arrays(text: str, values: Mapping[str, float]) -> None:
    expression = parse(text)
    with np.errstate(all="ignore"):
        arrays = float(expression({name: np.float64(one) for name, one in values.items()}))
    try:
        numbers = float(expression(values, NUMBERS))
    except (ZeroDivisionError, OverflowError, ValueError):
        return
    assert numbers == arrays or (np.isnan(numbers) and np.isnan(arrays))
    assert repr(prepared(expression, NUMBERS)(values)) == repr(expression(values, NUMBERS))
    with np.errstate(all="ignore"):
        told = {name: np.float64(one) for name, one in values.items()}
        assert repr(prepared(expression, ARRAYS)(told)) == repr(expression(told))
