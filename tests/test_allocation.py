"""A book over venues, collateral over venues, trades between accounts: least, and within limits."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvent as sv
from solvent import api
from solvent.cli import allocate as allocate_cli
from solvent.lab.capital.allocation import allocate, places_of
from solvent.lab.capital.compression import Facing, compress, net_of
from solvent.lab.capital.delivery import Asset, Route, Terms, deliver
from solvent.lab.capital.placing import Place
from solvent.units import MICRO
from tests import rulebook_histories

PLACES = (
    Place(name="pm", rulebook="deribit-pm"),
    Place(name="tims", rulebook="tims"),
    Place(name="apart", rulebook="deribit-sm", mode="isolated"),
)


def book() -> list[dict[str, Any]]:
    """Four positions that stand at two venues."""
    universe = rulebook_histories.market().universe
    calls = [
        symbol for n, symbol in enumerate(universe.symbols)
        if universe.is_call[n] and universe.inverse[n] and symbol.startswith("BTC")
    ]  # fmt: skip
    return [
        {"account": "pm", "instrument": calls[0], "size": -3.0},
        {"account": "tims", "instrument": calls[1], "size": 2.0},
        {"account": "pm", "instrument": "BTC-PERPETUAL", "size": 100_000.0},
        {"account": "tims", "instrument": "ETH-PERPETUAL", "size": -30_000.0},
    ]


def required(rows: list[dict[str, Any]], place: Place) -> int:
    """What a venue asks for, by the plain call."""
    if not rows:
        return 0
    apart = place.mode == "isolated"
    told = [{**row, "account": str(n) if apart else "a"} for n, row in enumerate(rows)]
    return int(
        sum(api.margin(told, rulebook_histories.plan(str(place.rulebook))).initial_micro.tolist())
    )


def brute_force(rows: list[dict[str, Any]]) -> int:
    """The least of every whole placing: each set of positions at each venue, by the plain call."""
    subsets = list(product((False, True), repeat=len(rows)))
    needed = []
    for place in PLACES:
        plan = rulebook_histories.plan(str(place.rulebook))
        told = [
            {**row, "account": f"{n} {k}" if place.mode == "isolated" else str(n)}
            for n, subset in enumerate(subsets)
            for k, (row, inside) in enumerate(zip(rows, subset, strict=True)) if inside
        ]  # fmt: skip
        answer, total = api.margin(told, plan), dict.fromkeys(range(len(subsets)), 0)
        for name, micro in zip(answer.book.accounts, answer.initial_micro.tolist(), strict=True):
            total[int(name.split()[0])] += int(micro)
        needed.append({subset: total[n] for n, subset in enumerate(subsets)})
    return min(
        sum(needed[v][tuple(at == v for at in chosen)] for v in range(len(PLACES)))
        for chosen in product(range(len(PLACES)), repeat=len(rows))
    )


def test_whole_placings_are_no_better_anywhere() -> None:
    """Brute force over every whole placing, by the plain call; parts may only be better."""
    rows, market = book(), rulebook_histories.market()
    found = allocate(rows, market, PLACES)
    least = brute_force(rows)
    assert found.total <= least
    assert "every whole placing" in found.how
    assert found.total_before == sum(
        required([row for row in rows if row["account"] == place.name], place) for place in PLACES
    )
    for v, place in enumerate(PLACES):
        stands = [
            {"instrument": one.instrument, "size": one.size_after}
            for one in found.placed if one.place == place.name and one.after
        ]  # fmt: skip
        assert required(stands, PLACES[v]) == found.after[place.name], "the claim is exact"
    sizes = {row["instrument"]: row["size"] for row in rows}
    for instrument, size in sizes.items():
        placed = sum(one.size_after for one in found.placed if one.instrument == instrument)
        assert placed == pytest.approx(size)
    steps = allocate(rows, market, PLACES, enumerate_max=0)
    assert steps.how == "steps"
    assert steps.total <= (found.total_before or 0)


def test_limits_are_kept_and_named() -> None:
    rows, market = book(), rulebook_histories.market()
    free = allocate(rows, market, PLACES)
    nothing = allocate(rows, market, PLACES[:2], moved_max=0.0)
    assert nothing.moved == 0.0
    assert nothing.total == nothing.total_before
    some = allocate(rows, market, PLACES[:2], moved_max=free.moved / 2, enumerate_max=0)
    assert some.moved <= free.moved / 2
    assert some.total <= nothing.total
    fixed = allocate(rows, market, PLACES[:2], fixed=["BTC-*"])
    assert all(one.before == one.after for one in fixed.placed if one.instrument[:3] == "BTC")
    dear = allocate(rows, market, PLACES[:2], move_bps=10_000.0)
    assert dear.moved == 0.0
    tight = [Place(name="pm", rulebook="deribit-pm", margin_max=1.0)]
    with pytest.raises(sv.BadInput, match=r"places\.pm\.margin_max"):
        allocate([{**row, "account": "pm"} for row in rows], market, tight)
    capped = free.after["tims"] / MICRO / 2
    kept = allocate(
        rows, market, [PLACES[0], Place(name="tims", rulebook="tims", margin_max=capped), PLACES[2]]
    )
    assert kept.after["tims"] <= capped * MICRO
    with pytest.raises(sv.BadInput, match="a venue that lists it"):
        allocate(rows, market, [Place(name="x", rulebook="tims", lists=("ETH-*",))])
    for places, words in (
        ([], "a venue or more"),
        ([PLACES[0], PLACES[0]], "a name of its own"),
        ([Place(name="x", rulebook="tims", mode="odd")], "cross or isolated"),  # type: ignore[arg-type]
    ):
        with pytest.raises(sv.BadInput, match=words):
            allocate(rows, market, places)
    with pytest.raises(sv.BadInput, match="keys"):
        places_of([{"name": "x", "rulebook": "tims", "colour": "red"}])


def test_what_stands_nowhere_is_placed() -> None:
    rows = [{**row, "account": "new"} for row in book()]
    found = allocate(rows, rulebook_histories.market(), PLACES[:2])
    assert found.before is None
    assert found.moved == 0.0
    assert found.total == allocate(book(), rulebook_histories.market(), PLACES[:2]).total
    assert len(found.plot().data) == 1
    assert found.places()["after"].sum() == pytest.approx(found.total / MICRO)


def test_what_is_not_known_is_no_amount() -> None:
    """Paradex margins no inverse contract: what stands there has no requirement until it moves."""
    held = {"instrument": "BTC-PERPETUAL", "size": 100_000.0}
    places = [PLACES[0], Place(name="odd", rulebook="paradex-pm")]
    market = rulebook_histories.market()
    for steps in (0, 4_096):
        found = allocate([{**held, "account": "odd"}], market, places, enumerate_max=steps)
        assert found.before is None
        assert found.total_before is None
        assert found.after == {"pm": required([held], PLACES[0]), "odd": 0}
        assert found.places()["before"].to_list() == [None, None]
    for mode in ("cross", "isolated"):
        odd = Place(name="odd", rulebook="paradex-pm", mode=mode)
        with pytest.raises(sv.BadInput, match=r"places\.odd.*not known"):
            allocate([{**held, "account": "odd"}], market, [PLACES[0], odd], fixed=["BTC-*"])


# ── collateral ───────────────────────────────────────────────────────────────────────────────────


def test_cheapest_collateral_by_hand() -> None:
    """Bitcoin earns nothing anywhere: it goes first, up to its cap; dollars cover the rest."""
    found = deliver(
        {"a": 1_000.0, "b": 500.0},
        [Asset(asset="BTC", amount=0.02, price=50_000.0),
         Asset(asset="USDC", amount=2_000.0, price=1.0, yield_a_year=0.04, at="b")],
        [Terms(venue="a", asset="BTC", haircut=0.1, cap=800.0), Terms(venue="a", asset="USDC"),
         Terms(venue="b", asset="BTC", haircut=0.2), Terms(venue="b", asset="USDC")],
        [Route(source="", target="a"), Route(source="", target="b"),
         Route(source="b", target="a", cost_bps=10.0)],
        days=365.0,
    )  # fmt: skip
    posted = {(one.venue, one.asset): one.amount for one in found.postings}
    # At a: 800 of bitcoin count 720, 280 dollars the rest. At b: 200 of bitcoin count 160.
    assert posted == pytest.approx(
        {("a", "BTC"): 0.016, ("a", "USDC"): 280.0, ("b", "BTC"): 0.004, ("b", "USDC"): 340.0},
        rel=1e-5,
    )
    assert found.cost_a_year == pytest.approx(0.04 * 620.0, rel=1e-5)
    assert found.moving == pytest.approx(0.28, rel=1e-5)
    assert found.table().height == 4


def test_a_cap_is_kept_by_the_dearest_of_one_asset() -> None:
    """Bitcoin told twice, once at a dollar: the other rounds up sixty thousand times more."""
    assets = [Asset(asset="BTC", amount=1.0, price=1.0),
              Asset(asset="BTC", amount=1.0, price=61_007.0, at="b")]  # fmt: skip
    routes = [Route(source="", target="a"), Route(source="b", target="a")]
    delivered = 0
    for step in range(120):
        required = {"a": 1_000.0 - 3e-6 * step}
        try:
            found = deliver(required, assets, [Terms(venue="a", asset="BTC", cap=1_000.0)], routes)
        except sv.BadInput as fault:
            assert "short" in str(fault)  # noqa: PT017
            continue
        delivered += 1
        assert sum(one.counted for one in found.postings) >= required["a"] - 2e-6
        assert sum(one.worth for one in found.postings) <= 1_000.0
    assert delivered >= 20


def test_every_route_is_used() -> None:
    """A cheap route for 300 dollars and a dear one for the rest: both, the cheap one first."""
    found = deliver(
        {"a": 1_000.0}, [Asset(asset="USDC", amount=2_000.0, price=1.0)],
        [Terms(venue="a", asset="USDC", cap=1_001.0)],
        [Route(source="", target="a", asset="USDC", cost_bps=20.0),
         Route(source="", target="a", cost_bps=5.0, most=300.0)],
    )  # fmt: skip
    assert sorted(one.worth for one in found.postings) == pytest.approx([300.0, 700.0], abs=1e-4)
    assert found.moving == pytest.approx(300.0 * 5e-4 + 700.0 * 20e-4, abs=1e-4)
    assert sum(one.counted for one in found.postings) >= 1_000.0


def test_files_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    venue = {"name": "x", "rulebook": "tims"}
    for wrong, words in (
        ({"lists": "BTC-*"}, r"x\.lists.*a list of patterns"),
        ({"lists": [1]}, r"x\.lists.*a list of patterns"),
        ({"margin_max": "1000"}, r"x\.margin_max.*a number"),
        ({"margin_max": True}, r"x\.margin_max.*a number"),
        ({"rulebook": 3}, "a text"),
    ):
        with pytest.raises(sv.BadInput, match=words):
            places_of([{**venue, **wrong}])
    own = {"asset": "USDC", "amount": 1.0, "price": 1.0}
    for change, words in (({"amount": "1"}, "a number"), ({"asset": 3}, "a text")):
        with pytest.raises(sv.BadInput, match=words):
            deliver({"a": 1.0}, [{**own, **change}], [{"venue": "a", "asset": "USDC"}])
    with pytest.raises(sv.BadInput, match="a file that can be read"):
        allocate_cli.collateral(tmp_path / "none.toml")
    path = tmp_path / "odd.toml"
    path.write_text("assets = 3\n[required]\na = 1.0\n", "utf-8")
    with pytest.raises(sv.BadInput, match="assets"):
        allocate_cli.collateral(path)


def test_uncovered_requirements_name_the_venue() -> None:
    assets = [Asset(asset="USDC", amount=100.0, price=1.0)]
    terms = [Terms(venue="a", asset="USDC", haircut=0.05)]
    routes = [Route(source="", target="a")]
    with pytest.raises(sv.BadInput, match=r"required\.a.*95\.00 dollars after haircuts, 4\.00"):
        deliver({"a": 99.0}, assets, terms, routes)
    with pytest.raises(sv.BadInput, match=r"required\.a"):
        deliver({"a": 1.0}, assets, terms)  # no route leads there
    capped = [Terms(venue="a", asset="USDC", share_max=0.5)]
    with pytest.raises(sv.BadInput, match=r"required\.a"):
        deliver({"a": 1.0}, assets, capped, routes)
    for told, words in (
        (({}, assets, terms), "a requirement and an asset"),
        (({"a": -1.0}, assets, terms), "0 or more"),
        (({"a": float("nan")}, assets, terms), "0 or more"),
        (({"b": 1.0}, assets, terms), "an asset that b takes"),
        (({"a": 1.0}, assets, terms * 2), "terms once"),
        (({"a": 1.0}, [{"asset": "USDC"}], terms), "keys"),
    ):
        with pytest.raises(sv.BadInput, match=words):
            deliver(*told)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_every_delivery_covers_exactly_within_what_there_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["BTC", "ETH", "USDC"][: int(rng.integers(1, 4))]
    assets = [
        Asset(asset=name, amount=float(rng.integers(1, 50)), price=float(rng.uniform(1, 5_000)),
              yield_a_year=float(rng.uniform(0, 0.1)))
        for name in names
    ]  # fmt: skip
    terms = [
        Terms(venue=venue, asset=name, haircut=float(rng.uniform(0, 0.4)),
              cap=float(rng.uniform(100, 1e5)))
        for venue in "ab" for name in names
    ]  # fmt: skip
    required = {venue: float(rng.uniform(1, 2_000)) for venue in "ab"}
    try:
        found = deliver(required, assets, terms, [Route(source="", target=one) for one in "ab"])
    except sv.BadInput as fault:
        assert "short" in str(fault)  # noqa: PT017
        return
    for venue, amount in required.items():
        counted = sum(one.counted for one in found.postings if one.venue == venue)
        assert counted >= amount - 2e-6
    for own in assets:
        assert sum(one.amount for one in found.postings if one.asset == own.asset) <= own.amount
    for one in terms:
        worth = sum(x.worth for x in found.postings if (x.venue, x.asset) == (one.venue, one.asset))
        assert worth <= (one.cap or 0.0)


# ── compression ──────────────────────────────────────────────────────────────────────────────────

NETWORKS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde"), st.sampled_from("XY"),
              st.integers(1, 50)).filter(lambda one: one[0] != one[1]),
    min_size=1, max_size=14,
)  # fmt: skip


@settings(max_examples=40)
@given(NETWORKS)
def test_compression_keeps_every_net(told: list[tuple[str, str, str, int]]) -> None:
    trades = [Facing(instrument, long, short, lots) for long, short, instrument, lots in told]
    kept, free = compress(trades), compress(trades, way="free")
    for found in (kept, free):
        assert net_of(found.after, like=found.before) == net_of(found.before)
        for name, lots in found.gross(after=True).items():
            assert lots <= found.gross(after=False)[name]
    old = {(one.instrument, one.long, one.short): one.lots for one in kept.before}
    for one in kept.after:
        assert one.lots <= old[one.instrument, one.long, one.short]
    for name in free.gross(after=False):
        least = sum(lots for (_, of), lots in net_of(trades).items() if of == name and lots > 0)
        assert free.gross(after=True).get(name, 0) == least
        assert least <= kept.gross(after=True).get(name, 0)


def test_compression_is_the_least_that_keeps_old_pairs() -> None:
    """Brute force over every smaller network of two rings that share an edge."""
    trades = [Facing("X", "a", "b", 4), Facing("X", "b", "c", 3), Facing("X", "c", "a", 2),
              Facing("X", "b", "d", 2), Facing("X", "d", "a", 1)]  # fmt: skip
    net = net_of(trades)
    least = min(
        sum(lots)
        for lots in product(*(range(one.lots + 1) for one in trades))
        if net_of(
            [Facing(one.instrument, one.long, one.short, n)
             for one, n in zip(trades, lots, strict=True)]
        ) == net
    )  # fmt: skip
    assert compress(trades).gross(after=True)["X"] == least


def test_rows_that_are_no_trades() -> None:
    good = {"long": "a", "short": "b", "instrument": "X", "lots": 3}
    assert compress([good, {**good, "long": "b", "short": "a"}]).gross(after=True) == {}
    assert compress([good]).accounts().height == 2
    for change, words in (
        ({"lots": 1.5}, "whole lots"), ({"lots": -1}, "whole lots"), ({"short": "a"}, "face"),
        ({"long": ""}, "a name"),
    ):  # fmt: skip
        with pytest.raises(sv.BadInput, match=words):
            compress([{**good, **change}])
    with pytest.raises(sv.BadInput, match="way"):
        compress([good], way="odd")  # type: ignore[arg-type]
