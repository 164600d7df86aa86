"""A clearing house's waterfall, its fund, how a default is managed; the command that shows it."""

from __future__ import annotations

import doctest
import json
import os
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from solvent.cli import app
from solvent.errors import BadInput, InvariantBroken, Reject
from solvent.feeds.clearing_house import parse_clearing_house, read_clearing_house
from solvent.liquidation.defaults import (
    Bid,
    Client,
    Part,
    Sale,
    Torn,
    closing_loss,
    contributions,
    cover,
    juniorised,
    over_margin,
    port,
    sell,
    torn_up,
)
from solvent.liquidation.moves import settled
from solvent.liquidation.waterfall import (
    HOUSE,
    ORDER,
    ClearingHouse,
    Default,
    Layer,
    Member,
    Row,
    Waterfall,
    waterfall,
)
from solvent.verify import liquidation as slow
from tests.conftest import ROOT

F = Fraction
RUNS = int(os.environ.get("SOLVENT_DEFAULTS", "300"))
"""Generated defaults a property; 100,000 take some minutes."""

# ── the waterfall ────────────────────────────────────────────────────────────────────────────────

MONEY = st.integers(0, 60)
NAMES = "abcdef"


@st.composite
def houses(draw: st.DrawFn) -> tuple[ClearingHouse, dict[str, int], dict[str, int], dict[str, int]]:
    """A house, losses of its defaulters, gains and claims of all."""
    names = NAMES[: draw(st.integers(1, 6))]
    house = ClearingHouse(
        members=tuple(
            Member(name=name, margin=draw(MONEY), contribution=draw(MONEY)) for name in names
        ),
        skin=draw(MONEY),
        second_skin=draw(MONEY),
        assessment_multiple=draw(st.fractions(0, 2, max_denominator=4)),
    )
    defaulters = draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names)))
    losses = {name: draw(st.integers(0, 300)) for name in defaulters}
    gains, claims = ({name: draw(MONEY) for name in names} for _ in range(2))
    return house, losses, gains, claims


def walked(told: tuple[ClearingHouse, dict[str, int], dict[str, int], dict[str, int]]) -> Waterfall:
    house, losses, gains, claims = told
    defaults = [Default(member=name, loss=loss) for name, loss in losses.items()]
    return waterfall(house, defaults, gains=gains, claims=claims)


@given(houses())
@settings(max_examples=RUNS)
def test_it_is_what_one_unit_at_a_time_comes_to(told: Any) -> None:
    house, losses, gains, claims = told
    found = walked(told)
    expected = slow.unit_by_unit(
        {
            "members": {one.name: (one.margin, one.contribution) for one in house.members},
            "skin": house.skin, "second": house.second_skin,
            "multiple": house.assessment_multiple, "gains": gains, "claims": claims,
        },
        losses,
    )  # fmt: skip
    paid = {(row.layer.value, "" if row.payer == HOUSE else row.payer): row.paid
            for row in found.rows if row.paid}  # fmt: skip
    assert paid == expected
    assert sum(paid.values()) + found.uncovered == sum(losses.values()) == found.loss


@given(houses())
@settings(max_examples=RUNS)
def test_order_conservation_and_floors(told: Any) -> None:
    """No layer pays while an earlier one that may still has money; balances never below 0."""
    house, losses, _, _ = told
    found = walked(told)
    order = [row.layer for row in found.rows]
    assert order == sorted(order, key=ORDER.index)
    own = (Layer.DEFAULTER_MARGIN, Layer.DEFAULTER_FUND)
    spent = True
    for layer in ORDER:
        rows = [row for row in found.rows if row.layer is layer]
        if layer not in own and any(row.paid for row in rows):
            assert spent
        if layer not in own:
            spent = spent and all(row.balance == 0 for row in rows)
    if found.uncovered:
        assert spent
    for name, loss in losses.items():
        mine = [row for row in found.rows if row.payer == name and row.layer in own]
        assert sum(row.paid for row in mine) == min(
            loss, sum(row.paid + row.balance for row in mine)
        )
    left = found.loss
    for row in found.rows:
        left -= row.paid
        assert row.left == left
        assert row.balance >= 0
        assert row.payer not in losses or row.layer in own
    begin = {f"{row.layer}:{row.payer}": row.paid + row.balance for row in found.rows}
    done = settled(begin, found.moves(), dict.fromkeys(begin, 0))
    assert done.balances.get("default", 0) == found.loss - found.uncovered
    assert sum(done.balances.values()) == sum(begin.values())
    assert house.skin >= 0


@given(houses(), st.integers(1, 200))
@settings(max_examples=RUNS)
def test_a_larger_loss_spares_nobody_who_paid(told: Any, more: int) -> None:
    """By layer; within one, largest remainders may move a unit between members."""
    house, losses, gains, claims = told
    if not losses:
        return
    name = next(iter(losses))
    before = walked(told).by_layer()
    after = walked((house, {**losses, name: losses[name] + more}, gains, claims)).by_layer()
    assert all(after[layer] >= before[layer] for layer in ORDER)


def test_clients_pay_for_themselves_alone() -> None:
    member = Member(name="a", margin=100, contribution=10, clients={"x": 50, "y": 50})
    house = ClearingHouse(members=(member,), skin=5)
    found = waterfall(house, [Default(member="a", loss=20, clients={"x": 70, "z": 4})])
    assert found.rows[:4] == (
        Row(Layer.DEFAULTER_MARGIN, "a/x", 50, 0, 44),
        Row(Layer.DEFAULTER_MARGIN, "a/z", 0, 0, 44),
        Row(Layer.DEFAULTER_MARGIN, "a", 44, 56, 0),
        Row(Layer.DEFAULTER_FUND, "a", 0, 10, 0),
    )
    # the house account loses more than it has: y's 50 and what is left of x's stay theirs
    found = waterfall(house, [Default(member="a", loss=200, clients={"x": 20})])
    assert [row.paid for row in found.rows[:3]] == [20, 100, 10]
    assert found.rows[0].balance == 30
    assert found.uncovered == 220 - 20 - 100 - 10 - 5


def test_a_defaulters_money_pays_for_its_own_loss_alone() -> None:
    house = ClearingHouse(members=(Member(name="a", margin=100, contribution=50),
                                   Member(name="b", margin=1, contribution=1)))  # fmt: skip
    found = waterfall(house, [Default(member="a", loss=10), Default(member="b", loss=40)])
    assert found.by_layer()[Layer.DEFAULTER_MARGIN] == 11
    assert found.by_layer()[Layer.DEFAULTER_FUND] == 1
    assert found.uncovered == 38


def test_juniors_lose_their_contributions_first() -> None:
    members = tuple(Member(name=name, margin=0, contribution=10) for name in "abcd")
    house = ClearingHouse(members=members)
    found = waterfall(house, [Default(member="a", loss=35)], juniors=[["d"], ["b"]])
    paid = {row.payer: row.paid for row in found.rows if row.layer is Layer.MEMBERS_FUND}
    assert paid == {"d": 10, "b": 10, "c": 5}
    # a defaulter among the juniors pays its own loss only
    found = waterfall(house, [Default(member="a", loss=35)], juniors=[["a", "d"]])
    paid = {row.payer: row.paid for row in found.rows if row.layer is Layer.MEMBERS_FUND}
    assert paid == {"d": 10, "b": 8, "c": 7}


def test_the_order_is_data() -> None:
    members = (
        Member(name="a", margin=0, contribution=0),
        Member(name="b", margin=0, contribution=9),
    )
    order = (Layer.DEFAULTER_MARGIN, Layer.MEMBERS_FUND, Layer.SKIN)
    house = ClearingHouse(members=members, skin=9, order=order)
    found = waterfall(house, [Default(member="a", loss=12)])
    assert found.by_layer() == {
        Layer.DEFAULTER_MARGIN: 0, Layer.MEMBERS_FUND: 9, Layer.SKIN: 3
    }  # fmt: skip
    half = replace(house, order=(Layer.GAINS,), gains_share=F(1, 2))
    assert waterfall(half, [Default(member="a", loss=12)], gains={"b": 9}).uncovered == 8


def test_what_cannot_be() -> None:
    one = Member(name="a", margin=0, contribution=0)
    with pytest.raises(InvariantBroken, match="stands once"):
        ClearingHouse(members=(one, one))
    with pytest.raises(InvariantBroken, match="stands once"):
        ClearingHouse(members=(one,), order=(Layer.SKIN, Layer.SKIN))
    with pytest.raises(InvariantBroken, match="is a member"):
        waterfall(ClearingHouse(members=(one,)), [Default(member="z", loss=1)])
    with pytest.raises(InvariantBroken, match="defaults once"):
        waterfall(ClearingHouse(members=(one,)), [Default(member="a", loss=1)] * 2)
    with pytest.raises(InvariantBroken, match="not negative"):
        Default(member="a", loss=-1)
    with pytest.raises(InvariantBroken, match="not negative"):
        Member(name="a", margin=0, contribution=0, clients={"x": -1})


# ── managing a default ───────────────────────────────────────────────────────────────────────────


def test_porting() -> None:
    clients = [
        Client("w", 100, 60, ("b", "c")), Client("x", 100, 60, ("b", "c")),
        Client("y", 100, 60, ("b",)), Client("z", 59, 60), Client("v", 5, 0),
    ]  # fmt: skip
    found = port(clients, {"b": 100, "c": 70})
    assert found.taken == {"w": "b", "x": "c", "v": "b"}
    assert found.stay == {"y": "no member has room", "z": "margin is short"}
    assert port(clients[:1], {}).stay == {"w": "no member has room"}


def test_just_enough_is_enough() -> None:
    exact = [Client("x", 60, 60), Client("y", 40, 40)]
    assert port(exact, {"b": 100}).taken == {"x": "b", "y": "b"}
    assert port(exact, {"b": 99}).taken == {"x": "b"}
    assert sell([Part("p", -5)], [Bid("b", "p", -5)]) == (Sale("p", "b", -5),)
    assert sell([Part("p", -5)], [Bid("b", "p", -6)]) == (Sale("p", None, 0),)
    even = [Bid("b", "p", -5), Bid("c", "p", -5), Bid("d", "p", -6)]
    assert juniorised(["b", "c", "d"], [Part("p", -9)], even, F(0)) == ((), ("d",))
    assert juniorised(["b", "d"], [Part("p", -9)], even, F(1, 5)) == ((), ())


def test_sizes_that_cannot_be() -> None:
    for losses, members in (({}, 1), ({"s": {"a": 1}}, 0), ({"s": {"a": -1}}, 1)):
        with pytest.raises(InvariantBroken):
            cover(losses, members)
    for required, least in ((-1, 0), (0, -1)):
        with pytest.raises(InvariantBroken):
            contributions(required, {"a": 1}, least=least)
    with pytest.raises(InvariantBroken):
        juniorised(["a"], [Part("p", 0)], [], F(-1))
    with pytest.raises(InvariantBroken):
        sell([Part("p", 0), Part("p", 0)], [])
    one = Member(name="a", margin=0, contribution=0)
    for change in ({"skin": -1}, {"second_skin": -1}, {"assessment_multiple": F(-1)},
                   {"gains_share": F(2)}, {"gains_share": F(-1)}):  # fmt: skip
        with pytest.raises(InvariantBroken):
            ClearingHouse(members=(one,), **change)
    for margin, contribution in ((-1, 0), (0, -1)):
        with pytest.raises(InvariantBroken):
            replace(one, margin=margin, contribution=contribution)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.lists(st.sampled_from("bcd"))),
                max_size=9),
       st.dictionaries(st.sampled_from("bcd"), st.integers(0, 150)))  # fmt: skip
def test_nobody_takes_more_than_it_will(
    told: list[tuple[int, int, list[str]]], capacity: dict[str, int]
) -> None:
    clients = [Client(str(n), *row[:2], tuple(row[2])) for n, row in enumerate(told)]
    found = port(clients, capacity)
    assert found.taken.keys() | found.stay.keys() == {client.name for client in clients}
    for member, room in capacity.items():
        assert sum(client.requirement for client in clients
                   if found.taken.get(client.name) == member) <= room  # fmt: skip
    assert all(client.equity >= client.requirement for client in clients
               if client.name in found.taken)  # fmt: skip


def test_an_auction_of_a_portfolio() -> None:
    parts = [Part("options", -100), Part("futures", 5), Part("dust", -1)]
    bids = [
        Bid("b", "options", -90), Bid("c", "options", -60), Bid("d", "options", -60),
        Bid("b", "futures", 4), Bid("c", "futures", 4),
    ]  # fmt: skip
    sales = sell(parts, bids)
    assert sales == (Sale("options", "c", -60), Sale("futures", None, 0), Sale("dust", None, 0))
    assert closing_loss(owed=30, hedging=2, sales=sales) == 92
    assert closing_loss(owed=30, hedging=2, sales=[Sale("p", "b", 50)]) == 0
    # b's bid for options is half as poor again; d did not bid for futures; nobody did for dust
    assert juniorised(["b", "c", "d"], parts[:2], bids, F(1, 5)) == (("d",), ("b",))
    assert juniorised(["b", "c", "d"], parts[:2], bids, F(1, 2)) == (("d",), ())
    assert juniorised(["b", "c"], parts, bids, F(1)) == (("b", "c"), ())
    with pytest.raises(InvariantBroken, match="for a part"):
        sell(parts, [Bid("b", "coins", 1)])


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8), st.integers(-30, 30))
def test_tearing_up_ends_what_is_unsold(positions: list[int], unsold: int) -> None:
    held = [(str(n), lots) for n, lots in enumerate(positions)]
    there = sum(-lots for _, lots in held if lots * unsold < 0) * (1 if unsold > 0 else -1)
    if there < abs(unsold):
        with pytest.raises(InvariantBroken, match="balance"):
            torn_up({"F": unsold}, {"F": held})
        return
    found = torn_up({"F": unsold}, {"F": held})
    assert sum(row.lots for row in found) == abs(unsold)
    by_name = dict(held)
    for row in found:
        assert by_name[row.member] * unsold < 0
        assert 0 < row.lots <= abs(by_name[row.member])


def test_tearing_up_nothing() -> None:
    assert torn_up({}, {}) == ()
    assert torn_up({"F": 2}, {"F": [("b", -2)]}) == (Torn("F", "b", 2),)


# ── how much there must be ───────────────────────────────────────────────────────────────────────

LOSSES = st.dictionaries(
    st.sampled_from("stu"), st.dictionaries(st.sampled_from(NAMES), MONEY, min_size=1), min_size=1
)


@given(LOSSES, st.integers(1, 3))
def test_cover_is_the_worst_of_all_pairs(losses: dict[str, dict[str, int]], members: int) -> None:
    found = cover(losses, members)
    assert found.required == slow.worst_defaults(losses, members)
    assert found.by_scenario[found.worst] == found.required
    assert cover(losses, members + 1).required >= found.required


@given(st.integers(0, 10**9), st.lists(st.integers(1, 10**6), min_size=1, max_size=9),
       st.integers(0, 1_000))  # fmt: skip
def test_contributions_add_up(required: int, margins: list[int], least: int) -> None:
    found = contributions(required, {str(n): one for n, one in enumerate(margins)}, least=least)
    assert sum(found.values()) == max(required, least * len(margins))
    assert min(found.values()) >= least


@given(houses())
@settings(max_examples=RUNS)
def test_a_fund_of_cover_two_outlasts_two_defaults(told: Any) -> None:
    """Where the defaulters' own contributions are used as well, none of it is left uncovered."""
    house, losses, _, _ = told
    some = dict(list(losses.items())[:2])
    over = {one.name: over_margin(some.get(one.name, 0), one.margin) for one in house.members}
    required = cover({"s": over}, 2).required
    parts = contributions(required, {one.name: one.margin + 1 for one in house.members})
    sized = replace(house, members=tuple(
        replace(one, contribution=parts[one.name]) for one in house.members))  # fmt: skip
    found = waterfall(sized, [Default(member=name, loss=loss) for name, loss in some.items()])
    own = [max(0, parts[name] - over[name]) for name in some]
    # what a defaulter has beyond its own loss is not another's to use
    assert found.uncovered <= sum(own)
    assert found.uncovered == 0 or len(some) == 2


# ── the file and the command ─────────────────────────────────────────────────────────────────────

EXAMPLE = ROOT / "examples" / "clearing_house.toml"
SMALL = """
[house]
name = "H"
skin = 5
[[member]]
name = "a"
margin = 60
contribution = 10
[[member]]
name = "b"
margin = 30
contribution = 40
[[scenario]]
name = "crash"
losses = { a = 72.5 }
"""


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["waterfall", *map(str, arguments)])


def test_the_example() -> None:
    told = read_clearing_house(EXAMPLE)
    assert [stress.name for stress in told.stresses] == ["rally", "crash", "gap"]
    crash = told.stresses[1]
    # alder's client loses 8 more than it has, its house account 2 less
    assert crash.over_margin["alder"] == 6_000_000_000_000
    assert crash.over_margin["elm"] == 9_000_000_500_000
    assert crash.defaulters == ("birch", "cedar")
    found = run(EXAMPLE, "--json")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert document["scenario"] == "crash"
    assert [one["members"] for one in document["cover"]] == [1, 2]
    assert document["cover"][1]["is_covered"] is True
    assert document["default_fund_micro"] == 62 * 10**12
    paid = sum(row["paid_micro"] for row in document["rows"])
    assert paid + document["uncovered_micro"] == document["loss_micro"]
    assert sum(one["paid_micro"] for one in document["layers"]) == paid


def test_a_loss_beyond_all_layers_exits_with_one() -> None:
    found = run(EXAMPLE, "--scenario", "gap")
    assert found.exit_code == 1
    assert "nobody" in found.stdout
    assert "15,000,000.00" in found.stdout
    document = json.loads(run(EXAMPLE, "--scenario", "gap", "--json").stdout)
    assert document["uncovered_micro"] == 15 * 10**12
    juniors = [row["payer"] for row in document["rows"] if row["layer"] == "members_fund"]
    assert juniors == ["elm", "dogwood"]


def test_tables_show_every_layer(tmp_path: Path) -> None:
    file = tmp_path / "house.toml"
    file.write_text(SMALL, "utf-8")
    found = run(file)
    assert found.exit_code == 0
    for words in ("cover-2", "defaulters' margin", "house, first part", "12.50", "a default"):
        assert words in found.stdout
    quiet = SMALL.replace("72.5", "60")
    file.write_text(quiet, "utf-8")
    assert "nobody default, 0.00 lost" in run(file).stdout


@pytest.mark.parametrize(
    ("before", "after", "field", "expected"),
    [
        ("margin = 60", "margin = -60", "member.0.margin", "greater than or equal to 0"),
        ("margin = 60", "margin = 0.0000001", "member.0.margin", "6 decimal"),
        ("margin = 60", "margin = nan", "member.0.margin", "finite"),
        ("margin = 60", "margin = 1e30", "member.0.margin", "less than or equal"),
        ("margin = 60", "", "member.0.margin", "required"),
        ("margin = 60", "margin = 60\nrank = 1", "member.0.rank", "not permitted"),
        ('name = "b"', 'name = "a"', None, "members have names of their own"),
        ("{ a = 72.5 }", "{ z = 72.5 }", None, "nobody is called ['z']"),
        ("losses =", "gains =", "", ""),
        ('name = "crash"', 'name = "crash"\nsizes_fund = false', None, "sizes the fund"),
        ('name = "crash"', 'name = "crash"\ndefaulters = ["a", "a"]', None, "stands twice"),
        ("skin = 5", 'skin = 5\norder = ["skin", "skin"]', "house", "stands once"),
        ("skin = 5", 'skin = 5\norder = ["pot"]', "house.order.0", "defaulter_margin"),
    ],
)
def test_files_that_cannot_be(before: str, after: str, field: str | None, expected: str) -> None:
    text = SMALL.replace(before, after, 1)
    assert text != SMALL
    if not expected:
        assert parse_clearing_house(text, source="mine.toml").stresses[0].defaulters == ()
        return
    with pytest.raises(BadInput) as bad:
        parse_clearing_house(text, source="mine.toml")
    problem = bad.value.problems[0]
    assert problem.field == field
    assert expected in problem.expected
    assert problem.source == "mine.toml"
    if field is not None:
        assert problem.line is not None


def test_bad_files_are_one_line_and_name_themselves(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"missing\.toml: expected a readable TOML file"):
        read_clearing_house(tmp_path / "missing.toml")
    with pytest.raises(BadInput, match="expected TOML") as bad:
        parse_clearing_house("[house", source="mine.toml")
    assert bad.value.problems[0].code is Reject.SOURCE_UNREADABLE
    found = run(EXAMPLE, "--scenario", "calm")
    assert isinstance(found.exception, BadInput)
    assert "one of rally, crash, gap" in str(found.exception)


def test_the_page_is_true() -> None:
    """Its file is one, its Python runs, and its table names every layer in order."""
    page = (ROOT / "docs" / "clearing_house.md").read_text("utf-8")
    toml = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)[0]
    told = parse_clearing_house(toml, source="docs")
    assert told.house.order == ORDER
    assert told.stresses[0].over_margin == {"alder": 6 * 10**12}
    (python,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    test = doctest.DocTestParser().get_doctest(python, {}, "clearing_house.md", None, 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE) == [str(one) for one in ORDER]
