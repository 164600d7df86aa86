"""SPAN: the rule by hand, its tables of spreads, .spn files, and a peer on random portfolios."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import solvent as sv
from solvent.conform.levels import number, rulebook, sheet
from solvent.conform.run import conform
from solvent.errors import BadInput, RulebookError
from solvent.feeds.spn import SpanFile, read_spn
from solvent.feeds.synthetic_market import generate_market
from solvent.levels_answer import LevelsMargin
from solvent.margining.levels.form import resolve
from solvent.margining.levels.matching import match_groups
from solvent.margining.levels.rows import Sheet, Unset
from solvent.margining.levels.spreads import Leg, Spread, fitted, match
from solvent.margining.levels.text import LegText, LevelsText, SpreadText
from tests.conftest import ROOT, need_shared

THIRDS = (0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3)


def losses(reach: float, *, extreme: float = 0.7, vega: float = 0.0) -> list[float]:
    """16 losses of one long: `reach` at the full range, `vega` more when volatility falls."""
    scan = [-n * reach / 3 + (vega if i % 2 else -vega) for i, n in enumerate(THIRDS)]
    return [*scan, -extreme * reach, extreme * reach]


def ra(values: list[float], delta: float) -> str:
    cells = "".join(f"<a>{value!r}</a>" for value in values)
    return f"<ra><r>1</r>{cells}<d>{delta!r}</d></ra>"


def future(expiry: str, values: list[float], *, delta: float = 1.0, more: str = "") -> str:
    return f"<fut><pe>{expiry}</pe><p>100</p><d>1</d>{more}{ra(values, delta)}</fut>"


def spread(place: int, rate: float, *legs: tuple[str, str, str, float], method: str = "F") -> str:
    """Legs are tag with key, commodity, side, ratio; a `pLeg:202609` names a month."""
    told = ""
    for what, code, side, ratio in legs:
        tag, _, key = what.partition(":")
        inner = {"pLeg": f"<pe>{key}</pe>", "tLeg": f"<tn>{key}</tn>"}[tag]
        told += f"<{tag}><cc>{code}</cc>{inner}<rs>{side}</rs><i>{ratio!r}</i></{tag}>"
    return (
        f"<dSpread><spread>{place}</spread><chargeMeth>{method}</chargeMeth>"
        f"<rate><r>1</r><val>{rate!r}</val></rate>{told}</dSpread>"
    )


def spn(tmp: Path, definitions: str, portfolios: str) -> Path:
    path = tmp / "made.spn"
    path.write_text(
        "<?xml version='1.0'?><spanFile><fileFormat>4.00</fileFormat><pointInTime>"
        f"<date>20260601</date><clearingOrg><ec>TEST</ec>{definitions}"
        f"<exchange><exch>X</exch>{portfolios}</exchange></clearingOrg></pointInTime></spanFile>",
        "utf-8",
    )
    return path


def asked(file: SpanFile, sizes: Mapping[str, float], **more: Any) -> Sheet:
    return file.sheet(sizes, **more)


def at(asked_: Sheet, column: str, commodity: str = "") -> float:
    if not commodity:
        return float(number(asked_.value("pool", column)))
    place = [row["underlying"] for row in asked_.rows("commodity")].index(commodity)
    return float(number(asked_.value("commodity", column, place)))


# ── ordered tables of spreads ────────────────────────────────────────────────────────────────────


def leg(row: int | tuple[int, ...], sign: int, ratio: int = 1) -> Leg:
    rows = row if isinstance(row, tuple) else (row,)
    return Leg(rows=rows, sign=sign, ratio=Fraction(ratio), rate=Fraction(1))


def whole(numbers: Iterable[Fraction]) -> list[int]:
    found = list(numbers)
    assert all(x.denominator == 1 for x in found)
    return [int(x) for x in found]


def between(a: Leg, b: Leg, rate: int) -> Spread:
    return Spread(legs=(a, b), rate=Fraction(rate))


def test_spreads_form_in_order_and_use_up() -> None:
    """10 near, −7 middle, −6 far: 7 of the first spread, then the 3 that are left of the second."""
    amounts = [Fraction(10), Fraction(-7), Fraction(-6)]
    first, second = between(leg(0, 1), leg(1, -1), 150), between(leg(0, 1), leg(2, -1), 200)
    made = match(amounts, [first, second])
    assert whole([made.charge, made.count]) == [7 * 150 + 3 * 200, 10]
    assert whole(made.left) == [0, 0, -3]
    made = match(amounts, [second, first])
    assert made.charge == 6 * 200 + 4 * 150
    assert whole(made.left) == [0, -3, 0]


def test_spreads_either_way_round_and_by_ratio() -> None:
    """A butterfly 1 : −2 : 1 held the other way round: −4, +6, −9 makes 3."""
    butterfly = Spread(legs=(leg(0, 1), leg(1, -1, 2), leg(2, 1)), rate=Fraction(10))
    made = match([Fraction(-4), Fraction(6), Fraction(-9)], [butterfly])
    assert made.charge == 30
    assert (whole(made.used), whole(made.left)) == ([3, 6, 3], [-1, 0, -6])
    assert match([Fraction(-4), Fraction(-6), Fraction(-9)], [butterfly]).count == 0


def test_a_leg_of_several_rows_offers_one_sign() -> None:
    """Months of one tier against each other: +5 and +3 against −6."""
    tier = (0, 1, 2)
    made = match(
        [Fraction(5), Fraction(-6), Fraction(3)], [between(leg(tier, 1), leg(tier, -1), 7)]
    )
    assert made.charge == 42
    assert whole(made.left) == [0, 0, 2]


@given(
    st.lists(st.integers(-20, 20), min_size=4, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3)), max_size=6),
)
def test_spreads_never_take_more_than_is_there(
    amounts: list[int], pairs: list[tuple[int, int, int]]
) -> None:
    spreads = [between(leg(a, 1, r), leg(b, -1), 1) for a, b, r in pairs if a != b]
    made = match([Fraction(x) for x in amounts], spreads)
    for was, used, left in zip(amounts, made.used, made.left, strict=True):
        assert used >= 0
        assert abs(left) + used == abs(was)
        assert left * was >= 0
    turned = match([Fraction(-x) for x in amounts], spreads)
    assert (turned.count, turned.used) == (made.count, made.used)


def test_all_groups_at_once_as_one_by_one() -> None:
    """The book way of random tables, tiers and ratios among them, against the exact way."""
    rng = random.Random(7)
    months = ["1", "2", "3", "4"]
    for _ in range(60):
        texts = []
        for _ in range(rng.randint(1, 6)):
            near, far = rng.sample(months, 2)
            one: str | list[str] = [near, far] if rng.random() < 0.3 else near
            legs = [
                LegText(side="A", ratio=rng.choice([1.0, 2.0]), keys={"expiry": one}),
                LegText(side="B", ratio=rng.choice([1.0, 0.5]), keys={"expiry": far},
                        rate=rng.choice([None, 3.0])),
            ]  # fmt: skip
            texts.append(SpreadText(rate=float(rng.randint(1, 9)), legs=legs))
        rows = [(g, m) for g in range(5) for m in rng.sample(months, rng.randint(1, 4))]
        amounts = [float(rng.randint(-9, 9)) for _ in rows]
        made = match_groups(
            texts,
            groups=np.array([g for g, _ in rows]),
            count=6,
            amounts=np.array(
                [math.nan if g == 4 else x for (g, _), x in zip(rows, amounts, strict=True)]
            ),
            codes={"expiry": np.array([months.index(m) for _, m in rows])},
            names={"expiry": months},
        )
        assert np.isnan([made["charge"][4], made["count"][4]]).all()
        assert made["charge"][5] == 0
        for group in range(4):
            inside = [n for n, (g, _) in enumerate(rows) if g == group]
            exact = match(
                [Fraction(amounts[n]) for n in inside],
                fitted(texts, [{"expiry": rows[n][1]} for n in inside]),
            )
            assert made["charge"][group] == pytest.approx(float(exact.charge))
            assert made["count"][group] == pytest.approx(float(exact.count))
            for field in ("used", "rated", "left"):
                assert made[field][inside] == pytest.approx(
                    [float(x) for x in getattr(exact, field)]
                )


def test_spreads_that_cannot_be() -> None:
    text: dict[str, Any] = {
        "schema": 2, "name": "x", "title": "", "venue": "", "sources": ["here"],
        "family": "scenario",
        "levels": {"month": ["pool", "expiry"]},
        "spreads": {"one": {"rows": "month", "within": "pool", "amount": "net"}},
        "at": {"month": {"net": "position.sum(size)"},
               "pool": {"equity": "0", "initial": "one.charge", "maintenance": "one.charge"}},
        "answer": {"level": "pool"},
    }  # fmt: skip
    form = resolve(LevelsText.model_validate(text), source="x")
    held = [{"instrument": "a", "expiry": "1", "size": 2}, {"instrument": "b", "expiry": "2",
                                                           "size": -5}]  # fmt: skip
    legs = [{"side": "A", "keys": {"expiry": "1"}}, {"side": "B", "keys": {"expiry": ["2", "3"]}}]
    told = [SpreadText.model_validate({"rate": 4, "legs": legs})]
    assert Sheet(form, {"position": held}, spreads={"one": told}).value("pool", "initial") == 8
    with pytest.raises(Unset, match="spreads one"):
        Sheet(form, {"position": held}).value("pool", "initial")
    for wrong, message in (("one.used", "is of 'month'"), ("one.cost", "not 'cost'")):
        text["at"]["pool"]["initial"] = wrong
        with pytest.raises(RulebookError, match=message):
            resolve(LevelsText.model_validate(text), source="x")
    text["at"]["pool"]["initial"] = "0"
    text["at"]["month"]["net"] = "one.left"
    with pytest.raises(RulebookError, match="stands on itself"):
        resolve(LevelsText.model_validate(text), source="x")
    with pytest.raises(ValueError, match="side A and on side B"):
        SpreadText.model_validate({"rate": 1, "legs": [legs[0], legs[0]]})


# ── the rule by hand ─────────────────────────────────────────────────────────────────────────────


def two_commodities(
    tmp: Path, *, credit: float = 0.5, minimum: float = 0.0, price: float = 2.5
) -> SpanFile:
    """A: range 900, months 1 and 2, calendar 40, delta scale 2. B: range 600. Spread 1 A : 3 B."""
    definitions = (
        "<ccDef><cc>A</cc><currency>USD</currency>"
        f"<somTiers><tier><rate><r>1</r><val>{minimum!r}</val></rate></tier></somTiers>"
        "<intraTiers><tier><tn>1</tn><sPe>202609</sPe><ePe>202609</ePe></tier>"
        "<tier><tn>2</tn><sPe>202612</sPe><ePe>202703</ePe></tier></intraTiers>"
        + spread(1, 40.0, ("tLeg:1", "A", "A", 1.0), ("tLeg:2", "A", "B", 1.0))
        + "</ccDef><ccDef><cc>B</cc></ccDef><interSpreads>"
        + spread(1, credit, ("tLeg:0", "A", "A", 1.0), ("tLeg:0", "B", "B", 3.0), method="W")
        + "</interSpreads>"
    )
    scale = "<sc>2</sc>"
    futures = [future(e, losses(900.0), more=scale) for e in ("202609", "202612", "202703")]
    option = (
        f"<series><pe>202609</pe><opt><o>C</o><k>110</k><p>{price!r}</p>"
        f"{ra(losses(300.0, vega=20.0), 0.4)}</opt></series>"
    )
    portfolios = (
        f"<futPf><pfId>1</pfId><pfCode>A</pfCode><cvf>10</cvf>{''.join(futures)}</futPf>"
        f"<oopPf><pfId>2</pfId><pfCode>A</pfCode><cvf>10</cvf>{option}</oopPf>"
        f"<futPf><pfId>3</pfId><pfCode>B</pfCode>{future('202609', losses(600.0))}</futPf>"
    )
    return read_spn(spn(tmp, definitions, portfolios))


def test_walk_with_tiers_scale_and_credit(tmp_path: Path) -> None:
    """+5 September, −1 December, −1 March of A; −12 of B.

    Scan of A: net 3, 3 × 900 = 2700. Tier deltas 5 × 2 and −2 × 2: 4 spreads of 40. Price risk
    2700 over delta 6 is 450 a unit; B 7200 over 12 is 600. Spreads between: min(6 / 1, 12 / 3) = 4.
    Credits 4 × 450 × 0.5 = 900 and 12 × 600 × 0.5 = 3600.
    """
    file = two_commodities(tmp_path)
    got = asked(file, {"A-202609": 5, "A-202612": -1, "A-202703": -1, "B-202609": -12})
    assert at(got, "scanning_risk", "A") == pytest.approx(2700)
    assert at(got, "calendar_charge", "A") == pytest.approx(160)
    assert at(got, "weighted_price_risk", "A") == pytest.approx(450)
    assert at(got, "product_spreads") == pytest.approx(4)
    assert at(got, "product_credit", "A") == pytest.approx(900)
    assert at(got, "product_credit", "B") == pytest.approx(3600)
    assert at(got, "initial") == pytest.approx(2700 + 160 - 900 + 7200 - 3600)


def test_same_side_earns_no_credit(tmp_path: Path) -> None:
    file = two_commodities(tmp_path)
    got = asked(file, {"A-202609": -5, "B-202609": -12})
    assert at(got, "product_credit") == 0.0
    assert at(got, "initial") == pytest.approx(5 * 900 + 7200)


def test_short_option(tmp_path: Path) -> None:
    """A short call loses 300 and 20 for volatility at the full rise: 320 each; worth 25 each.

    Its pair loses 280, so price risk is 300 (no time risk: +20 and −20 without a move). With a
    minimum of 500 a unit the scan does not matter; what the option is worth comes on top.
    """
    file = two_commodities(tmp_path)
    got = asked(file, {"A-202609-110-C": -2})
    assert at(got, "scanning_risk", "A") == pytest.approx(640)
    assert at(got, "active_scenario", "A") == 11
    assert at(got, "price_risk", "A") == pytest.approx(600)
    assert at(got, "net_option_value", "A") == pytest.approx(-50)
    assert at(got, "initial") == pytest.approx(690)
    file = two_commodities(tmp_path, minimum=500.0)
    assert at(asked(file, {"A-202609-110-C": -2}), "initial") == pytest.approx(1050)


def test_a_long_option_never_lends_unless_the_account_is_one(tmp_path: Path) -> None:
    """A long call loses 320, falls most with prices and volatility, and is worth 400: 80 to spare.

    Those 80 do not pay for B, but where the account is taken as one they do.
    """
    file = two_commodities(tmp_path, price=40.0)
    sizes = {"A-202609-110-C": 100.0, "B-202609": 1}
    assert at(asked(file, sizes), "net_option_value") == pytest.approx(40_000)
    assert at(asked(file, sizes), "requirement", "A") == 0
    assert at(asked(file, sizes), "initial") == pytest.approx(600)
    together = asked(file, sizes, parameters={"whole_account": 1})
    assert at(together, "account_risk") == pytest.approx(32_600)
    assert at(together, "initial") == 0


def test_the_extreme_move_is_the_houses_own() -> None:
    """A future of range 1000 loses 700 at 2 ranges × 35 %, 960 at 3 × 32 %: never the worst."""
    points = rulebook("span").text.scenarios["scan"].points or []
    assert len(points) == 16
    assert [point.vol for point in points] == ["up", "down"] * 7 + ["same"] * 2


# ── files ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("definitions", "portfolios", "message"),
    [
        ("", "", "contracts with risk arrays"),
        ("", "<futPf><pfCode>A</pfCode>" + future("1", [0.0] * 15) + "</futPf>", "16 values"),
        ("", "<futPf><pfCode>A</pfCode>" + future("1", [0.0] * 16).replace("100", "many")
         + "</futPf>", "a number in <fut>"),
        ("", "<oopPf><pfCode>A</pfCode><series><pe>1</pe><opt><o>X</o><k>1</k><p>1</p>"
         + ra([0.0] * 16, 1.0) + "</opt></series></oopPf>", "C or P"),
        ("<ccDef><cc>A</cc>" + spread(1, 1.0, ("pLeg:1", "A", "A", 1.0)) + "</ccDef>",
         "<futPf><pfCode>A</pfCode>" + future("1", [0.0] * 16) + "</futPf>", "legs on side"),
    ],
)  # fmt: skip
def test_bad_files_are_named(
    tmp_path: Path, definitions: str, portfolios: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        read_spn(spn(tmp_path, definitions, portfolios))


def test_a_document_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.spn"
    path.write_text('<!DOCTYPE x [<!ENTITY a "aa">]><spanFile>&a;</spanFile>', "utf-8")
    with pytest.raises(BadInput, match="document type"):
        read_spn(path)
    path.write_text("<spanFile><futPf>", "utf-8")
    with pytest.raises(BadInput, match="an XML file"):
        read_spn(path)


def test_an_unknown_contract_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="A-209901"):
        two_commodities(tmp_path).sheet({"A-209901": 1})


# ── a peer ───────────────────────────────────────────────────────────────────────────────────────

CODES = ("NIFTY", "BANKNIFTY", "GOLD")
EXPIRIES = ("20260630", "20260728", "20260825", "20260929")
STRIKES = (90.0, 95.0, 100.0, 105.5)


def random_file(tmp: Path, rng: random.Random) -> Path:
    """Three commodities, four months, options on two; calendars of uneven ratios; one minimum."""
    definitions, portfolios = "", ""
    for n, code in enumerate(CODES):
        pairs = [(a, b) for i, a in enumerate(EXPIRIES) for b in EXPIRIES[i + 1 :]]
        rng.shuffle(pairs)
        calendars = "".join(
            spread(place, round(rng.uniform(1, 50), 2), (f"pLeg:{a}", code, "A", 1.0),
                   (f"pLeg:{b}", code, "B", rng.choice([1.0, 1.0, 2.0, 0.5])))
            for place, (a, b) in enumerate(pairs, 1)
        )  # fmt: skip
        minimum = f"<somTiers><tier><rate><val>{25.0 * n}</val></rate></tier></somTiers>"
        definitions += f"<ccDef><cc>{code}</cc>{minimum}{calendars}</ccDef>"
        reach = rng.uniform(100, 900)
        futures = "".join(
            future(e, [round(x, 2) for x in losses(reach * rng.uniform(0.95, 1.05))])
            for e in EXPIRIES
        )
        series = ""
        for expiry in EXPIRIES[:2]:
            options = "".join(
                f"<opt><o>{right}</o><k>{strike}</k><p>{round(rng.uniform(0.05, 30), 2)}</p>"
                + ra([round(x * (1 if right == "C" else -1) * rng.uniform(0.2, 0.8), 2)
                      for x in losses(reach, vega=rng.uniform(0, 40))], round(rng.uniform(0, 1), 4)
                     * (1 if right == "C" else -1))
                + "</opt>"
                for strike in STRIKES for right in "CP"
            )  # fmt: skip
            series += f"<series><pe>{expiry}</pe>{options}</series>"
        portfolios += f"<futPf><pfCode>{code}</pfCode><cvf>{n + 1}</cvf>{futures}</futPf>"
        portfolios += f"<oopPf><pfCode>{code}</pfCode><cvf>{n + 1}</cvf>{series}</oopPf>"
    return spn(tmp, definitions, portfolios)


def test_marginism_on_random_portfolios(tmp_path: Path) -> None:
    """1,000 portfolios to the peer's float64: every part of every commodity."""
    marginism = pytest.importorskip("marginism", reason="marginism (group peers) is not installed")
    rng = random.Random(26)
    path = random_file(tmp_path, rng)
    file, peer = read_spn(path), marginism.SpanCalculator.from_file(str(path))
    symbols = sorted(file.contracts)
    charged = minimums = floored = 0
    for _ in range(1_000):
        sizes = {
            symbol: float(rng.choice([-1, 1]) * rng.randint(1, 200))
            for symbol in rng.sample(symbols, rng.randint(1, 8))
        }
        theirs = peer.calculate([_position(marginism, file, s, x) for s, x in sizes.items()])
        assert not theirs.unmatched
        ours = asked(file, sizes)
        for code, part in theirs.by_commodity.items():
            for column, their in (
                ("scanning_risk", part.scan_risk),
                ("active_scenario", part.worst_scenario),
                ("calendar_charge", part.calendar_spread_charge),
                ("short_option_minimum", part.short_option_minimum),
                ("net_option_value", part.net_option_value),
                ("requirement", part.span_risk),
            ):
                if column == "active_scenario" and _tied(part.scenario_losses):
                    continue  # Float64 sums break a tie of exact ones.
                assert at(ours, column, code) == pytest.approx(their, rel=1e-9, abs=1e-7)
            charged += part.calendar_spread_charge > 0
            minimums += part.short_option_minimum > part.scan_risk + part.calendar_spread_charge
            floored += part.span_risk == 0
        assert at(ours, "initial") == pytest.approx(theirs.span_margin, rel=1e-9, abs=1e-7)
    assert min(charged, minimums, floored) > 20, "portfolios that reach every branch"


def _position(marginism: Any, file: SpanFile, symbol: str, size: float) -> Any:
    one = file.contracts[symbol]
    kind = {"call": "CE", "put": "PE", "": "FUT"}[one.right]
    return marginism.Position(
        one.commodity, kind, quantity=size, expiry=one.expiry, strike=one.strike
    )


def _tied(found: list[float]) -> bool:
    most, second = sorted(found)[:-3:-1]
    return most - second < 1e-6


# ── properties ───────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(-50, 50), min_size=4, max_size=4), st.integers(2, 5))
def test_properties(tmp_path_factory: pytest.TempPathFactory, held: list[int], times: int) -> None:
    file = two_commodities(tmp_path_factory.mktemp("span"))
    symbols = ["A-202609", "A-202612", "A-202609-110-C", "B-202609"]
    sizes = {s: float(x) for s, x in zip(symbols, held, strict=True) if x}
    one = asked(file, sizes)
    assert at(one, "initial") >= 0
    assert at(asked(file, dict(reversed(sizes.items()))), "initial") == at(one, "initial")
    more = asked(file, {s: times * x for s, x in sizes.items()})
    assert at(more, "initial") == pytest.approx(times * at(one, "initial"))
    assert at(more, "calendar_charge") >= 0


# ── TIMS ─────────────────────────────────────────────────────────────────────────────────────────


def test_tims_worst_of_ten_points_or_the_minimum() -> None:
    """Short 3 calls, long 3 puts of 100 units: −18.5 × 300 at the top; hedged, the minimum holds.

    Six contracts cost 6 × 37.50 = 225 at least.
    """
    assert len(rulebook("tims").text.scenarios["points"].moves) == 10  # type: ignore[arg-type]
    call = [-0.5, -0.4, -0.3, -0.2, -0.1, 1, 3, 5, 7, 9.5]
    put = [9, 7, 5, 3, 1, -0.1, -0.2, -0.3, -0.4, -0.5]
    scenarios = {"points": {"pnl": {"call": call, "put": put, "same": call}}}
    facts = {"underlying": "XYZ", "contract_size": 1, "is_option": 1, "inverse": 0,
             "settlement_price": 1}  # fmt: skip

    def requirement(**sizes: int) -> list[float]:
        held = [{"instrument": name, "size": size, **facts} for name, size in sizes.items()]
        got = sheet("tims", position=held, scenarios=scenarios)
        return [float(number(got.value("pool", name))) for name in ("loss", "minimum", "initial")]

    assert requirement(call=-300, put=300) == [300 * (9.5 + 0.5), 225, 3_000]
    assert requirement(call=-300, same=300) == [0, 225, 225]


# ── published cases ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stem", ["full_synthetic", "mcmillan_risk_arrays", "scenarios"])
def test_conforms(stem: str) -> None:
    found = conform([need_shared("vectors", "tradfi", f"span_{stem}.json")])
    assert found.passed > 0
    assert (found.failed, found.unknown) == (0, 0), found.files[0].misses


# ── on a market without a file ───────────────────────────────────────────────────────────────────


def test_priced_arrays_of_ones_own_ranges(tmp_path: Path) -> None:
    """A copy with ranges and spreads for coins: a future loses its range; both ways agree."""
    market = generate_market(seed=5, expiries=3, strikes=4)
    universe = market.universe
    months = [str(one) for one in np.unique(universe.expiry_ms) if one > 0]
    calendar = (
        f'{{ rate = 111, legs = [{{ side = "A", keys = {{ expiry = "{months[0]}" }} }}, '
        f'{{ side = "B", keys = {{ expiry = {months[1:]!r} }} }}] }}'
    )
    product = (
        '{ rate = 0.5, legs = [{ side = "A", keys = { underlying = "BTC" } }, '
        '{ side = "B", keys = { underlying = "ETH" }, ratio = 10 }] }'
    )
    text = (ROOT / "src" / "solvent" / "rulebooks" / "span.toml").read_text("utf-8")
    text = text.replace('keys      = ["NIFTY"]', 'keys      = ["BTC", "ETH"]')
    text = text.replace("minimum_share = 0.03", "minimum_share = 0.001")
    for name, spreads in (("calendar", calendar), ("products", product)):
        head = f'[[spreads.{name}.lists]]\neffective = 2026-06-01\nsource = "a test"\n'
        lists = f"{head}spreads = [{spreads}]\n\n[spreads.{name}]"
        text = text.replace(f"[spreads.{name}]", lists)
    path = tmp_path / "own.toml"
    path.write_text(text, "utf-8")
    rng = random.Random(3)
    futures = [s for s, option in zip(universe.symbols, universe.is_option, strict=True)
               if not option and "USDC" in s]  # fmt: skip
    calls = [s for s in universe.symbols if s.startswith("BTC-") and s.endswith("-C")]
    rows = [{"account": "one", "instrument": "BTC_USDC-PERPETUAL", "size": -1}]
    rows += [
        {"account": f"a{n}", "instrument": symbol, "size": rng.choice([-3, -2, 1, 2, 4])}
        for n in range(12)
        for symbol in [*rng.sample(futures, 4), rng.choice(calls)]
    ]
    answer = sv.margin(rows, market, rulebook=str(path))
    assert isinstance(answer, LevelsMargin)
    index = float(market.index[universe.underlyings.index("BTC")])
    table = answer.to_polars()
    assert table["initial_margin"][0] == pytest.approx(0.071 * index, rel=0.02)
    for name in ("calendar_charge", "product_credit", "short_option_minimum"):
        assert (table[name] > 0).sum() > 1, name
        for account, fast in zip(table["account"], table[name], strict=True):
            assert fast == pytest.approx(at(answer.sheet(account), name), rel=1e-7, abs=1e-6)
