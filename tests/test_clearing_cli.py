"""`span` and `simm` as a user asks for them: made-up files by hand, bad ones, published margins."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import solvent as sv
from solvent.cli import main
from tests.conftest import need_shared

Run = Callable[..., tuple[int, str, str]]
THIRDS = (0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command line to its exit code, stdout and stderr."""

    def ran(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["solvent", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return int(left.value.code or 0), told.out, told.err

    return ran


# ── a made-up clearing house ─────────────────────────────────────────────────────────────────────


def losses(reach: float, vega: float = 0.0) -> list[float]:
    """Of one long: `reach` at the full range, 0.7 of it at the extreme, `vega` as vol falls."""
    scan = [-n * reach / 3 + (vega if i % 2 else -vega) for i, n in enumerate(THIRDS)]
    return [*scan, -0.7 * reach, 0.7 * reach]


def ra(values: Iterable[float], delta: float = 1.0) -> str:
    return f"<ra>{''.join(f'<a>{x!r}</a>' for x in values)}<d>{delta!r}</d></ra>"


def future(month: str, reach: float) -> str:
    return f"<fut><pe>{month}</pe><p>100</p>{ra(losses(reach))}</fut>"


def spread(rate: float, method: str, *legs: tuple[str, str, str, float]) -> str:
    """Legs are commodity, month or "" for all, side, ratio."""
    told = "".join(
        f"<pLeg><cc>{code}</cc><pe>{month}</pe><rs>{side}</rs><i>{ratio!r}</i></pLeg>"
        if month
        else f"<tLeg><cc>{code}</cc><tn>0</tn><rs>{side}</rs><i>{ratio!r}</i></tLeg>"
        for code, month, side, ratio in legs
    )
    return (
        f"<dSpread><spread>1</spread><chargeMeth>{method}</chargeMeth>"
        f"<rate><val>{rate!r}</val></rate>{told}</dSpread>"
    )


def written(path: Path, inside: str) -> Path:
    path.write_text(
        f"<?xml version='1.0'?><spanFile><pointInTime><date>20260601</date><clearingOrg>{inside}"
        "</clearingOrg></pointInTime></spanFile>",
        "utf-8",
    )
    return path


def house(folder: Path) -> Path:
    """A and B of 900 and 600 a unit; a spread of A's months costs 40, of A and 2 B earns half."""
    return written(
        folder / "made.spn",
        "<ccDef><cc>A</cc><currency>INR</currency>"
        "<somTiers><tier><rate><val>500</val></rate></tier></somTiers>"
        + spread(40.0, "F", ("A", "202609", "A", 1.0), ("A", "202612", "B", 1.0))
        + "</ccDef><ccDef><cc>B</cc><currency>INR</currency></ccDef><interSpreads>"
        + spread(0.5, "W", ("A", "", "A", 1.0), ("B", "", "B", 2.0))
        + "</interSpreads><exchange>"
        f"<futPf><pfCode>A</pfCode>{future('202609', 900.0)}{future('202612', 900.0)}</futPf>"
        "<oopPf><pfCode>A</pfCode><cvf>10</cvf><series><pe>202609</pe><opt><o>C</o><k>110</k>"
        f"<p>2.5</p>{ra(losses(300.0, 20.0), 0.4)}</opt></series></oopPf>"
        f"<futPf><pfCode>B</pfCode>{future('202609', 600.0)}</futPf></exchange>",
    )


BOOK = """account,instrument,size
alice,A-202609,4
alice,A-202612,-2
alice,B-202609,-4
alice,A-202609,1
bob,A-202609-110-C,-2
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    book = tmp_path / "book.csv"
    book.write_text(BOOK, "utf-8")
    return house(tmp_path), book


def test_span_by_hand(files: tuple[Path, Path]) -> None:
    """Alice: 3 net of A, 2 spreads of months, 2 of A against 2 B each; Bob: the minimum.

    A: 3 × 900 + 2 × 40 − 2 × 900 / 2. B: 4 × 600 − 4 × 600 / 2. Bob: 2 × 500 and 2 × 25 of worth.
    """
    spn, book = files
    answer = sv.span(book, spn)
    a, b, call = answer.to_polars().to_dicts()
    assert a == {
        "portfolio": "alice", "commodity": "A", "currency": "INR", "scanning_risk": 2_700,
        "active_scenario": 13, "calendar_charge": 80, "product_credit": 900,
        "short_option_minimum": 0, "net_option_value": 0, "requirement": 1_880,
    }  # fmt: skip
    assert (b["commodity"], b["scanning_risk"], b["active_scenario"]) == ("B", 2_400, 11)
    assert (b["product_credit"], b["requirement"]) == (1_200, 1_200)
    assert (call["portfolio"], call["scanning_risk"]) == ("bob", pytest.approx(640))
    assert (call["short_option_minimum"], call["net_option_value"]) == (1_000, -50)
    assert call["requirement"] == 1_050
    assert answer.totals() == {"INR": 1_880 + 1_200 + 1_050}
    assert "2 portfolios" in repr(answer)
    assert "4,130.00 INR" in repr(answer)
    assert "4,130.00 INR" in answer._repr_html_()


def test_span_takes_rows_and_what_was_read(files: tuple[Path, Path]) -> None:
    spn, book = files
    rows = list(csv.DictReader(BOOK.splitlines()))
    for told in (rows, rows[::-1], sv.read_positions(book)):
        assert sv.span(told, spn).totals() == {"INR": 4_130}


def test_span_currencies_are_never_added(tmp_path: Path, files: tuple[Path, Path]) -> None:
    spn, book = files
    text = spn.read_text("utf-8").replace("<cc>B</cc><currency>INR", "<cc>B</cc><currency>USD", 1)
    other = tmp_path / "two.spn"
    other.write_text(text, "utf-8")
    assert sv.span(book, other).totals() == {"INR": 2_930, "USD": 1_200}


def test_span_command(files: tuple[Path, Path], run: Run) -> None:
    spn, book = files
    code, out, err = run("span", "--spn", spn, "--positions", book, "--json")
    document = json.loads(out, parse_constant=pytest.fail)
    assert (code, err) == (0, "")
    assert (document["business_date"], document["totals"]) == ("20260601", {"INR": 4_130})
    assert [row["requirement"] for row in document["rows"]] == [1_880, 1_200, 1_050]
    code, out, _ = run("span", "--spn", spn, "--positions", book)
    assert code == 0
    assert re.search(r"alice +A +2,700\.00 +13 +80\.00 +900\.00 +0\.00 +0\.00 +1,880\.00", out)
    assert "requirement 4,130.00 INR" in out


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("bob,A-209901,1", "book.csv, row 2 (line 3), field 'instrument': expected a contract of"),
        ("bob,A-202609,much", "row 2 (line 3), field 'size': expected a number, found much"),
        ("bob,A-202609,1e300", "row 2 (line 3), field 'size': expected at most"),
        (",A-202609,1", "row 2 (line 3), field 'account': expected a name, found nothing"),
    ],
)
def test_span_bad_positions(files: tuple[Path, Path], run: Run, row: str, message: str) -> None:
    spn, book = files
    book.write_text(f"account,instrument,size\nalice,A-202609,1\n{row}\n", "utf-8")
    assert_one_line(run("span", "--spn", spn, "--positions", book), message)


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("<pe>202609</pe><p>100</p>", "<pe>202609</pe><p>many</p>", "field 'p': expected a number"),
        ("<a>630.0</a>", "<a>nan</a>", "field 'a': expected finite numbers"),
        ("<a>630.0</a>", "<a>1e400</a>", "field 'a': expected finite numbers"),
        ("<a>630.0</a>", "", "field 'ra': expected 16 values, found 15"),
        ("<rs>B</rs><i>2.0</i>", "<rs>B</rs><i>0</i>", "field 'dSpread': expected legs on side A"),
        ("<o>C</o>", "<o>X</o>", "field 'o': expected C or P"),
        ("</spanFile>", "", "expected an XML file"),
        ("<?xml version='1.0'?>", "<!DOCTYPE x>", "expected XML without a document type"),
        ("<cvf>10</cvf>", "<cvf>1e308</cvf>", "field 'p': expected a price times a factor"),
        ("<a>630.0</a>", "<a>1e308</a>", "expected amounts within float64"),
    ],
)
def test_span_bad_files(
    files: tuple[Path, Path], run: Run, was: str, now: str, message: str
) -> None:
    spn, book = files
    text = spn.read_text("utf-8")
    assert was in text
    spn.write_text(text.replace(was, now, 1), "utf-8")
    assert_one_line(run("span", "--spn", spn, "--positions", book), f"{spn}", message)


def test_span_a_date_that_is_none_is_not_told(files: tuple[Path, Path]) -> None:
    spn, book = files
    spn.write_text(spn.read_text("utf-8").replace("20260601", "20269999"), "utf-8")
    assert sv.span(book, spn).business_date == ""


def test_missing_files(files: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    spn, book = files
    assert_one_line(run("span", "--spn", tmp_path / "no.spn", "--positions", book), "no.spn")
    assert_one_line(run("span", "--spn", spn, "--positions", tmp_path / "no.csv"), "no such file")
    assert run("span", "--spn", spn)[0] == 2


def assert_one_line(ran: tuple[int, str, str], *messages: str) -> None:
    code, out, err = ran
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    for message in messages:
        assert message in err


# ── made-up sensitivities ────────────────────────────────────────────────────────────────────────

CALIBRATION = """<Calibrations><SIMMCalibration><VersionNames><Name>mine</Name></VersionNames>
<Equity><RiskWeights><Delta mporDays='10'><Weight bucket='1'>25</Weight></Delta></RiskWeights>
<Correlations><IntraBucket><Correlation bucket='1'>0.2</Correlation></IntraBucket></Correlations>
<ConcentrationThresholds><Delta><Threshold bucket='1'>1000</Threshold></Delta>
</ConcentrationThresholds></Equity>
<FX><RiskWeights><CurrencyLists><Currency bucket='1'>Other</Currency></CurrencyLists>
<Delta mporDays='10'><Weight label1='1' label2='1'>8</Weight></Delta></RiskWeights>
<ConcentrationThresholds><CurrencyLists><Currency bucket='1'>Other</Currency></CurrencyLists>
<Delta><Threshold bucket='1'>1000</Threshold></Delta></ConcentrationThresholds></FX>
<RiskClassCorrelations><Correlation label1='Equity' label2='FX'>0.3</Correlation>
<Correlation label1='FX' label2='Equity'>0.3</Correlation></RiskClassCorrelations>
</SIMMCalibration></Calibrations>"""
HEAD = (
    "PortfolioID,ProductClass,RiskType,Qualifier,Bucket,Label1,Label2,AmountCurrency,Amount,"
    "collect_regulations,post_regulations\n"
)
CRIF = """one,Equity,Risk_Equity,ACME,1,,,USD,4,,
one,Equity,Risk_Equity,BOLT,1,,,USD,-2,,
one,Equity,Risk_FX,EUR,,,,USD,10,,
two,RatesFX,Risk_FX,EUR,,,,USD,-10,"ESA,USPR",SEC
two,,Param_AddOnFixedAmount,,,,,USD,7,,
"""
EQUITY = math.sqrt(100**2 + 50**2 - 2 * 0.2 * 100 * 50)
ONE = math.sqrt(EQUITY**2 + 80**2 + 2 * 0.3 * EQUITY * 80)


@pytest.fixture
def risks(tmp_path: Path) -> tuple[Path, Path]:
    crif, calibration = tmp_path / "crif.csv", tmp_path / "own.xml"
    crif.write_text(HEAD + CRIF, "utf-8")
    calibration.write_text(CALIBRATION, "utf-8")
    return crif, calibration


def test_simm_by_hand(risks: tuple[Path, Path]) -> None:
    """ACME 25 × 4, BOLT 25 × −2 with ρ 0.2; EUR 8 × 10 joins by ψ 0.3; portfolios add up."""
    answer = sv.simm(*risks)
    rows = {tuple(names): amount for *names, amount in answer.to_polars().iter_rows()}
    assert rows["one", "Equity", "Equity", "Delta"] == pytest.approx(EQUITY)
    assert rows["one", "Equity", "FX", "All"] == pytest.approx(80)
    assert rows["one", "All", "All", "All"] == pytest.approx(ONE)
    assert rows["two", "All", "All", "AdditionalIM"] == 7
    assert rows["two", "All", "All", "All"] == pytest.approx(87)
    assert rows["All", "All", "All", "All"] == pytest.approx(ONE + 87)
    assert answer.total == pytest.approx(ONE + 87)
    assert len(rows) == answer.to_polars().height
    assert "SIMM mine, 10 days, of 2 portfolios" in repr(answer)
    assert f"margin {ONE + 87:,.2f} USD" in repr(answer)
    assert "who calls" in answer._repr_html_()


def test_simm_side_and_regulation(risks: tuple[Path, Path]) -> None:
    """An add-on is the same for who posts; a row of other regulations is left out."""
    assert sv.simm(*risks, side="post").total == pytest.approx(ONE + 87)
    assert sv.simm(*risks, regulation="ESA").total == pytest.approx(ONE + 87)
    crif = risks[0]
    crif.write_text(HEAD + CRIF + "two,RatesFX,Risk_FX,GBP,,,,USD,9,SEC,\n", "utf-8")
    assert sv.simm(*risks, regulation="ESA").total == pytest.approx(ONE + 87)
    with pytest.raises(sv.BadInput, match="one of ESA, SEC, USPR"):
        sv.simm(*risks, regulation="ESSA")
    with pytest.raises(sv.BadInput, match="call or post"):
        sv.simm(*risks, side="both")  # type: ignore[arg-type]


def test_simm_command(risks: tuple[Path, Path], run: Run) -> None:
    where = ("simm", "--crif", risks[0], "--calibration", risks[1])
    code, out, err = run(*where, "--side", "post", "--json")
    document = json.loads(out, parse_constant=pytest.fail)
    assert (code, err, document["side"], document["versions"]) == (0, "", "post", ["mine"])
    assert document["total"] == pytest.approx(ONE + 87)
    assert document["rows"][-1] == {
        "portfolio": "All", "product_class": "All", "risk_class": "All", "margin_type": "All",
        "amount": document["total"],
    }  # fmt: skip
    code, out, _ = run(*where)
    assert code == 0
    assert re.search(rf"one +Equity +Equity +Delta +{EQUITY:,.2f}\n", out)
    assert f"margin {ONE + 87:,.2f} USD" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("one,Equity,Risk_Equity,X,1,,,USD,ten,,", "field 'Amount': expected a number, found"),
        ("one,Equity,Risk_Equity,X,1,,,USD,nan,,", "field 'Amount': expected a finite number"),
        ("one,Equity,Risk_Equity,X,1,,,USD,1e99,,", "field 'Amount': expected an amount of at"),
        ("one,Equity,Risk_Equity,X,1,,,EUR,1,,", "field 'AmountCurrency': expected an amount in"),
        ("one,Equity,Risk_Weather,X,1,,,USD,1,,", "field 'RiskType': expected a risk type of"),
        ("one,Equities,Risk_Equity,X,1,,,USD,1,,", "field 'ProductClass': expected RatesFX, C"),
        ("one,,Risk_Equity,X,1,,,USD,1,,", "field 'ProductClass': expected RatesFX, Credit, E"),
        ("one,Equity,Risk_Equity,X,9,,,USD,1,,", "found Risk_Equity X: the calibration has no"),
        ("one,RatesFX,Risk_IRCurve,USD,1,1y,OIS,USD,1,,", "the calibration has no InterestRate"),
    ],
)
def test_simm_bad_rows(risks: tuple[Path, Path], run: Run, line: str, message: str) -> None:
    crif, calibration = risks
    crif.write_text(f"{HEAD}{CRIF}{line}\n", "utf-8")
    found = run("simm", "--crif", crif, "--calibration", calibration)
    assert_one_line(found, "crif.csv, row 6", message)


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("label2='FX'>0.3", "label2='XX'>0.3", "no correlation of Equity and FX"),
        (">25<", ">much<", "expected numbers"),
        (">25<", ">inf<", "'inf' in <Weight>"),
        (">25<", ">1e308<", "a margin beyond float64"),
        ("<Threshold bucket='1'>1000", "<Threshold bucket='1'>0", "a Equity Delta threshold of 0"),
        ("mporDays='10'", "mporDays='1'", "own.xml"),
        ("SIMMCalibration>", "Other>", "expected a SIMMCalibration"),
        ("</SIMMCalibration>", "", "expected an XML file"),
    ],
)
def test_simm_bad_calibrations(
    risks: tuple[Path, Path], run: Run, was: str, now: str, message: str
) -> None:
    crif, calibration = risks
    text = calibration.read_text("utf-8")
    assert was in text
    calibration.write_text(text.replace(was, now), "utf-8")
    found = run("simm", "--crif", crif, "--calibration", calibration)
    assert_one_line(found, message)


def test_simm_files_without_sensitivities(risks: tuple[Path, Path], run: Run) -> None:
    crif, calibration = risks
    where = ("simm", "--crif", crif, "--calibration", calibration)
    crif.write_text(HEAD, "utf-8")
    assert_one_line(run(*where), "crif.csv: expected a row or more")
    crif.write_text(f"{HEAD},,,,,,,,,,\n", "utf-8")
    assert_one_line(run(*where), "crif.csv: expected a sensitivity or more")
    crif.write_text("PortfolioID,Amount\none,1\n", "utf-8")
    assert_one_line(run(*where), "expected a column 'RiskType', found columns PortfolioID, Amount")
    crif.unlink()
    assert_one_line(run(*where), "no such file")
    assert run(*where, "--side", "both")[0] == 2


def test_help_is_instant() -> None:
    """Help of either command reads nothing that computes."""
    code = (
        "import sys\nfrom solvent.cli import app\n"
        "for name in ('span', 'simm'):\n"
        "    try: app([name, '--help'])\n    except SystemExit: pass\n"
        "print('HEAVY', {'numpy', 'numba', 'scipy', 'polars'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("HEAVY set()")


# ── published cases ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("days", [10, 1])
def test_simm_published(days: int) -> None:
    """Every margin over all buckets that is told, side by side and regulation by regulation."""
    folder = need_shared("vectors", "tradfi", "ore_simm")
    with (folder / f"expected_SIMM2.6_{days}D.csv").open(encoding="utf-8") as file:
        header = next(file).lstrip("#").strip().split(",")
        told = csv.DictReader(file, fieldnames=header)
        expected = [row for row in told if row["Bucket"] == "All"]
    assert expected
    made: dict[tuple[str, str], dict[tuple[Any, ...], float]] = {}
    for row in expected:
        side, regulation = row["SimmSide"], row["Regulation"]
        if (side, regulation) not in made:
            answer = sv.simm(
                folder / "crif.csv",
                folder / "simmcalibration_2.6.xml",
                side="post" if side == "Post" else "call",
                regulation=None if regulation == "Unspecified" else regulation,
                days=days,
            )
            rows = answer.to_polars().iter_rows()
            made[side, regulation] = {tuple(names): amount for *names, amount in rows}
        key = tuple(row[name] for name in ("Portfolio", "ProductClass", "RiskClass", "MarginType"))
        assert made[side, regulation][key] == pytest.approx(float(row["InitialMargin"]), abs=1e-6)


def test_span_published(tmp_path: Path) -> None:
    """The worked portfolio of two commodities, told as a file and as positions."""
    path = need_shared("vectors", "tradfi", "span_full_synthetic.json")
    case = json.loads(path.read_text("utf-8"))
    told, expected = case["input"], case["expected"]
    inside, rows = "", []
    for code in ("A", "B"):
        months = told[code]["positions"]
        charge = ""
        if "intra_rate" in told[code]:
            charge = spread(float(told[code]["intra_rate"]), "F", (code, "M1", "A", 1.0),
                            (code, "M2", "B", 1.0))  # fmt: skip
        futures = "".join(future(month, float(told[code]["psr"])) for month in months)
        inside += f"<ccDef><cc>{code}</cc>{charge}</ccDef>"
        inside += f"<futPf><pfCode>{code}</pfCode>{futures}</futPf>"
        rows += [{"account": "one", "instrument": f"{code}-{month}", "size": size}
                 for month, size in months.items()]  # fmt: skip
    legs = [(code, "", side, float(told["inter"][f"ratio_{code}"])) for code, side in ("AA", "BB")]
    inside += f"<interSpreads>{spread(told['inter']['credit'], 'W', *legs)}</interSpreads>"
    answer = sv.span(rows, written(tmp_path / "case.spn", inside))
    for row in answer.to_polars().iter_rows(named=True):
        code = row["commodity"]
        assert row["scanning_risk"] == pytest.approx(expected[f"scan_{code}"])
        assert row["product_credit"] == pytest.approx(expected[f"credit_{code}"])
        assert row["requirement"] == pytest.approx(expected[f"span_{code}"])
    assert answer.totals() == {"": pytest.approx(expected["total"])}
