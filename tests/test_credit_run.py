"""Counterparties through a crash on an engine: files, runs, reports, the command line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import solvent as sv
from solvent.cli import main
from solvent.credit_run.api import exposures, markets_of, run_credit
from solvent.credit_run.demo import demo_text
from solvent.credit_run.desk import Desk, decimal, dollars, run
from solvent.credit_run.exposures import at_the_money
from solvent.credit_run.markets import (
    STEP_MS,
    between,
    crash_markets,
    made_up_markets,
    read_history,
    restated,
    symbols_of,
)
from solvent.credit_run.report import document
from solvent.engine.audit import violations
from solvent.errors import BadInput
from solvent.feeds.credit import CreditFile, parse_credit, read_credit
from solvent.host import Engine
from solvent.market import Snapshot
from solvent.units import DAY_MS, TimeMs
from tests.conftest import ROOT, need_shared

EXAMPLE = ROOT / "examples" / "credit.toml"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def crash() -> list[Snapshot]:
    return made_up_markets()


@pytest.fixture(scope="session")
def told(crash: list[Snapshot]) -> CreditFile:
    text = demo_text(crash[0], symbols_of(crash), counterparties=16, seed=4)
    return parse_credit(text, source="made up")


@pytest.fixture(scope="session")
def venue_url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("credit") / "venue"


@pytest.fixture(scope="session")
def found(crash: list[Snapshot], told: CreditFile, venue_url: Path) -> dict[str, Any]:
    """Sixteen counterparties through the made-up crash; the journal is kept."""
    return run_credit(told, markets=crash, keep=venue_url)


# ── a run ────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_adds_up(found: dict[str, Any]) -> None:
    assert found["audit"]["violations"] == []
    assert found["audit"]["refused"] == 0
    assert set(found["audit"]["ledger_sums"].values()) == {0}
    assert len(found["steps"]) == 11
    assert found["steps"][0]["called"] == 0
    assert set(found["steps"][0]["states"]) <= {"within", "warning"}
    totals, rows = found["totals"], found["counterparties"]
    assert totals["calls"] >= 3
    assert totals["called"] > 0
    assert totals["paid"] == pytest.approx(sum(step["paid"] for step in found["steps"]))
    assert totals["lost"] == pytest.approx(sum(step["lost"] for step in found["steps"]))
    assert totals["limit_breaches"] == sum(len(step["breaches"]) for step in found["steps"])
    for row in rows:
        assert len(row["states"]) == 11
        assert 0.0 <= row["utilisation_peak"] <= 1.0
        if row["closed_at"]:
            assert row["line"] == 0.0
            assert row["drawn"] == 0.0
            assert row["cut"]
            assert row["states"][-1] == row["state"] == "closed"
        assert row["paid"] <= 3.1 * 10**8
    for step in found["steps"]:
        assert step["drawn"] <= step["line"] + 1e-6
        assert step["unknown"] == []


def test_costs_grow_with_wrong_way_risk(found: dict[str, Any]) -> None:
    assert len(found["totals"]["cost"]) == 3
    for cost in found["totals"]["cost"].values():
        assert 0.0 < cost["cva"] < cost["cva_wrong_way"]
        assert 0.0 < cost["epe"] < cost["peak_exposure"]
    opening = next(iter(found["counterparties"][0]["exposure"].values()))
    assert opening["days"][0] == 0.0
    assert len(opening["days"]) == len(opening["expected"]) == len(opening["potential"])


def test_cuts_by_schedule_ask_for_less_at_once(found: dict[str, Any]) -> None:
    assert found["totals"]["downgraded"] >= 1
    for step in found["steps"]:
        assert step["required"] <= step["required_abrupt"] + 1.0
    rise = found["procyclicality"]
    gentle, hard = (rise[name]["largest_rise_in_a_day"] for name in ("scheduled", "abrupt"))
    assert gentle <= hard


def test_the_journal_replays(found: dict[str, Any], venue_url: Path) -> None:
    """Opened anew from its journal the engine has the same books; and replayed from nothing."""
    with Engine.open(venue_url) as engine:
        assert engine.hash() == found["audit"]["state_hash"]
        assert list(violations(engine.state)) == []
        assert engine.state.log.sequence == found["audit"]["commands"]
    again = sv.replay(venue_url)
    assert again.state_hash == found["audit"]["state_hash"]


def test_the_same_seed_gives_the_same_run(
    found: dict[str, Any], told: CreditFile, crash: list[Snapshot], tmp_path: Path
) -> None:
    with Engine.create(tmp_path / "venue") as engine:
        desk = run(engine, told, crash[:4], exposure_at=(0,))
        again = document(desk)
    assert again["steps"] == found["steps"][:4]
    first = [next(iter(row["exposure"].values())) for row in again["counterparties"]]
    assert first == [next(iter(row["exposure"].values())) for row in found["counterparties"]]


def test_fifty_counterparties_through_the_crash_of_february_2026() -> None:
    """The run that the lender's report shows, on Deribit's chains at six-hour steps."""
    data = need_shared("data", "deribit_chains").parent
    found = run_credit(data=data)
    assert found["totals"]["counterparties"] == 50
    times = [step["time"] for step in found["steps"]]
    assert len(times) == 12
    assert (times[0][:13], times[-1][:13]) == ("2026-02-04T04", "2026-02-06T21")
    # The step that has no chain comes from the surface's history.
    assert "2026-02-05T15:51:32+00:00" in times
    low = min(found["steps"], key=lambda step: step["index"]["BTC"])
    assert low["time"][:13] == "2026-02-05T21"
    assert found["audit"]["violations"] == []
    totals = found["totals"]
    assert totals["calls"] > 30
    assert len(totals["closed"]) >= 5
    assert totals["limit_breaches"] > 0
    assert low["states"]["closed"] > found["steps"][0]["states"].get("closed", 0)
    costs = list(totals["cost"].values())
    assert costs[1]["cva_wrong_way"] > costs[0]["cva_wrong_way"] > costs[0]["cva"] > 0
    rise = found["procyclicality"]
    gentle, hard = (rise[name]["largest_rise_in_a_day"] for name in ("scheduled", "abrupt"))
    assert gentle < hard / 2


def test_a_counterparty_that_pays_nothing_is_cut_after_its_cure(
    crash: list[Snapshot], tmp_path: Path
) -> None:
    """Called at six hours, due at eighteen, cured until thirty; then all of it is closed out."""
    toml = SMALL.replace("line        = 2_000_000", "line        = 860_000")
    file = parse_credit(toml, source="small")
    with Engine.create(tmp_path / "venue") as engine:
        desk = Desk(engine, file, crash[0])
        states = [str(desk.lent["fund"].stand.state)]
        for step in range(1, 7):
            desk.step(_lower(crash[0], 0.99, step))
            states.append(str(desk.lent["fund"].stand.state))
        assert states == ["warning", "call", "call", "cure", "cure", "closed", "closed"]
        lent = desk.lent["fund"]
        assert (lent.calls, lent.paid_micro, lent.closed_by) == (1, 0, "cure period over")
        account = desk.venue.account("f1")
        assert not account.positions
        assert account.inputs is not None
        assert (account.inputs["line"], account.inputs["closed_out"]) == ("0.000000", "1")


def _lower(chain: Snapshot, price: float, step: int) -> Snapshot:
    """All prices at a share of what they were, so many times six hours later."""
    unmoved = chain.forward * 0 + 1
    return restated(
        chain, index=chain.index * price, growth=unmoved * price, vol=unmoved,
        as_of_ms=TimeMs(chain.as_of_ms + step * STEP_MS),
    )  # fmt: skip


SMALL = """
[member]
money = { USDC = 50_000_000, BTC = 100 }
fund  = { USDC = 5_000_000, BTC = 100 }
[policy]
appetite = 1_000_000
cap = 50_000_000
[terms]
due_hours = 12
cure_hours = 12
[exposure]
paths = 10
days = [1.0]
[[counterparty]]
name        = "fund"
rating      = "A"
correlation = 0.0
net_assets  = 50_000_000
line        = 2_000_000
[[agreement]]
name = "one"
counterparty = "fund"
accounts = ["f1"]
[[account]]
name = "f1"
money = { USDC = 1_081_000 }
positions = { "BTC-PERPETUAL" = 10_000_000 }
"""


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def test_the_example_reads_and_runs(crash: list[Snapshot]) -> None:
    file = read_credit(EXAMPLE)
    register = file.register
    assert list(register.counterparties) == ["fund-a", "miner", "family-office", "arb-desk"]
    assert register.line("family-office") == 2_000_000 * 10**6
    assert register.line("fund-a") == 20_000_000 * 10**6
    assert register.agreement_of("fund-a").accounts == ("fund-a-long", "fund-a-short")
    assert not register.agreement_of("family-office").netting
    found = run_credit(EXAMPLE, markets=crash)
    assert found["audit"]["violations"] == []
    assert found["totals"]["counterparties"] == 4


def test_two_accounts_of_an_agreement_share_one_line(crash: list[Snapshot], tmp_path: Path) -> None:
    with Engine.create(tmp_path / "venue") as engine:
        desk = Desk(engine, read_credit(EXAMPLE), crash[0])
        parts = []
        for name in ("fund-a-long", "fund-a-short"):
            inputs = desk.venue.account(name).inputs
            assert inputs is not None
            parts.append(float(inputs["line"]))
        assert sum(parts) == pytest.approx(20_000_000.0)
        assert parts[0] > parts[1] > 0.0


BAD = {
    "rating": ('rating      = "A"', 'rating      = "A+"', "a rating is one of AAA, AA, A"),
    "no pd": ('rating      = "A"\n', "", "a `rating`, or `pd` of its own"),
    "both": ('rating      = "A"', 'rating = "A"\npd = {1 = 0.1}', "and not both"),
    "empty pd": ('rating      = "A"', "pd = {}", "one horizon or more, found none"),
    "falling pd": ('rating      = "A"', "pd = {1 = 0.1, 2 = 0.05}", "never falls with years"),
    "pd by name": ('rating      = "A"', "pd = {soon = 0.1}", "`pd` is by years"),
    "pd above 1": ('rating      = "A"', "pd = {1 = 1.1}", "less than or equal to 1"),
    "negative line": ("line        = 2_000_000", "line = -1", "greater than or equal to 0"),
    "unknown key": ("line        = 2_000_000", "credit = 1", "Extra inputs are not permitted"),
    "two sets": ('accounts = ["f1"]', 'accounts = ["f1", "f1"]', "in one netting set only"),
    "nobody": ('counterparty = "fund"', 'counterparty = "zoe"', "a counterparty that is told"),
    "stranger": ('name = "f1"\nmoney', 'name = "f2"\nmoney', "an account of one agreement"),
    "thresholds": ("due_hours = 12", "thresholds = {X = 1}", "thresholds are by rating"),
    "downgrade": ("[[agreement]]", ('[[downgrade]]\ncounterparty = "zoe"\nat = 2026-02-05\n'
                  'rating = "B"\n[[agreement]]'), "one that is told, found 'zoe'"),
    "its own name": ("[member]", '[member]\nname = "f1"', "a name that no account has"),
    "no toml": ("[member]", "[member", "expected TOML"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_file_is_named(name: str) -> None:
    was, now, expected = BAD[name]
    assert was in SMALL
    with pytest.raises(BadInput) as caught:
        parse_credit(SMALL.replace(was, now, 1), source="bad.toml")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("bad.toml")


BAD_BOOK = {
    "symbol": ('"BTC-PERPETUAL" = 10_000_000', '"BTC-NEVER" = 1', "an instrument of the market"),
    "lots": ("= 10_000_000 }", "= 5.5 }", "a multiple of 10"),
    "asset": ("USDC = 1_081_000", "DOGE = 5", "one of "),
    "underlying": ('accounts = ["f1"]', 'accounts = ["f1"]\nunderlyings = ["ETH"]',
                   r"underlyings under one (ETH), found BTC"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BOOK)
def test_what_the_market_cannot_hold_is_named(
    name: str, crash: list[Snapshot], tmp_path: Path
) -> None:
    """And nothing is half done: there is no journal."""
    was, now, expected = BAD_BOOK[name]
    assert was in SMALL
    with pytest.raises(BadInput, match=re.escape(expected)):
        run_credit(
            parse_credit(SMALL.replace(was, now, 1), source="bad"), markets=crash[:1],
            keep=tmp_path / "venue",
        )  # fmt: skip
    assert not (tmp_path / "venue").exists()


def test_files_that_are_not_there() -> None:
    with pytest.raises(BadInput, match="a readable TOML file"):
        read_credit("nowhere.toml")
    with pytest.raises(BadInput, match="expected chains between"):
        crash_markets("nowhere", first="20260204T000000Z", last="20260207T000000Z")
    markets, note = markets_of("nowhere")
    assert len(markets) == 11
    assert "made up" in note


# ── markets ──────────────────────────────────────────────────────────────────────────────────────


def test_a_restated_market_is_the_same_where_nothing_moves(crash: list[Snapshot]) -> None:
    chain = crash[0]
    still = restated(chain, index=chain.index, growth=chain.forward * 0 + 1,
                     vol=chain.forward * 0 + 1, as_of_ms=chain.as_of_ms)  # fmt: skip
    assert (still.forward == chain.forward).all()
    liquid = chain.universe.is_option & (chain.mark > 0.01)
    assert still.mark[liquid] / chain.mark[liquid] == pytest.approx(1.0, rel=0.02)
    after = TimeMs(chain.as_of_ms + 40 * DAY_MS)
    later = restated(chain, index=chain.index, growth=chain.forward * 0 + 0.9,
                     vol=chain.forward * 0 + 1, as_of_ms=after)  # fmt: skip
    assert later.forward == pytest.approx(0.9 * chain.forward)
    assert later.usable.sum() < chain.usable.sum()


def test_a_step_between_follows_the_history(crash: list[Snapshot]) -> None:
    chain = crash[0]
    universe = chain.universe
    was: dict[tuple[str, int], tuple[float, float]] = {("BTC", 0): (100.0, 0.0)}
    now = {("BTC", 0): (90.0, 0.0)}
    moved = between(chain, was, now, TimeMs(chain.as_of_ms + 1))
    btc = universe.underlyings.index("BTC")
    assert moved.index[btc] == pytest.approx(0.9 * chain.index[btc])
    mine = universe.underlying == btc
    assert moved.forward[mine] == pytest.approx(0.9 * chain.forward[mine])
    assert (moved.forward[~mine] == chain.forward[~mine]).all()
    assert read_history(Path("nowhere.gz"), first="", last="z") == {}


def test_volatility_is_read_near_thirty_days(crash: list[Snapshot]) -> None:
    for coin in ("BTC", "ETH"):
        assert 0.2 < at_the_money(crash[0], coin) < 1.5
        assert at_the_money(crash[7], coin) > 1.5 * at_the_money(crash[0], coin)


def test_decimals_are_exact() -> None:
    assert dollars(12_345_678) == "12.345678"
    assert decimal(Fraction(1, 7)) == "0.142857143"


def test_exposure_of_the_example(crash: list[Snapshot]) -> None:
    found = exposures(EXAMPLE, crash[0])
    assert set(found) == {"fund-a", "miner", "family-office", "arb-desk"}
    miner = found["miner"]
    assert miner is not None
    assert miner["cva_wrong_way"] > 2 * miner["cva"] > 0.0


# ── the command line ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.setenv("SOLVENT_SHARED", str(tmp_path / "nothing"))

    def ran(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["solvent", "credit", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        seen = capsys.readouterr()
        return int(left.value.code or 0), seen.out, seen.err

    return ran


def test_agreements_and_lines(cli: Run) -> None:
    code, out, _ = cli("agreements", EXAMPLE, "--json")
    assert code == 0
    first = json.loads(out)["agreements"][0]
    assert (first["agreement"], first["threshold"]) == ("CSA-fund-a", 500_000.0)
    code, out, _ = cli("lines", EXAMPLE, "--json")
    rows = {row["counterparty"]: row for row in json.loads(out)["lines"]}
    assert rows["miner"]["line_one_notch_down"] < rows["miner"]["line"]
    assert rows["family-office"]["line_one_notch_down"] is None
    for command in ("agreements", "lines"):
        code, out, _ = cli(command, EXAMPLE)
        assert code == 0
        assert "family-office" in out


def test_runs_are_shown_kept_and_shown_again(cli: Run, tmp_path: Path) -> None:
    kept, page = tmp_path / "run.json", tmp_path / "run.html"
    code, out, _ = cli("run", EXAMPLE, "--out", kept, "--html", page)
    assert code == 0
    assert "Markets are made up" in out
    assert "money adds up" in out
    html = page.read_text("utf-8")
    assert "<h1>broker and its counterparties</h1>" in html
    assert "family-office" in html
    assert "http" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    code, again, _ = cli("report", kept, "--json")
    assert json.loads(again) == json.loads(kept.read_text("utf-8"))
    kept.write_text("{}", "utf-8")
    code, _, err = cli("report", kept)
    assert code == 2
    assert "what `solvent credit run --out` wrote" in err


def test_exposure_is_shown(cli: Run) -> None:
    code, out, _ = cli("exposure", EXAMPLE, "--counterparty", "miner")
    assert code == 0
    assert "potential" in out
    code, _, err = cli("exposure", EXAMPLE, "--counterparty", "zoe")
    assert code == 2
    assert "expected one of fund-a, miner, family-office, arb-desk, found 'zoe'" in err


def test_a_demo_writes_its_file(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "member.toml"
    code, out, _ = cli("demo", "--counterparties", "6", "--file", file, "--json")
    assert code == 0
    assert json.loads(out)["totals"]["counterparties"] == 6
    assert len(read_credit(file).register.counterparties) == 6


def test_bad_files_are_one_line(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(SMALL.replace("line        = 2_000_000", "line = -1"), "utf-8")
    code, out, err = cli("run", path)
    assert (code, out) == (2, "")
    assert "field 'counterparty.0.line'" in err
    assert "found -1" in err
