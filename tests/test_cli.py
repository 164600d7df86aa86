"""The command line as a user meets it: exit codes, one-line errors, JSON that parses.

One of each kind is a process of its own (help, an answer, bad input, a demonstration); the others
run here, since a process first imports for a second.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from solvent.cli import main
from solvent.feeds.synthetic_book import Venue
from solvent.feeds.write import write_balances, write_book, write_market
from solvent.market import Snapshot
from tests.conftest import need_shared

COMMAND = [sys.executable, "-c", "from solvent.cli import main; main()"]


Done = subprocess.CompletedProcess[str]


def process(*arguments: object) -> Done:
    """The command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )


def run(*arguments: object) -> Done:
    """The same command in this process."""
    words, out, err = ["solvent", *map(str, arguments)], io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):  # fmt: skip
        main()
    return Done(words, int(left.value.code or 0), out.getvalue(), err.getvalue())


def told(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, parse_constant=pytest.fail)


def run_json(*arguments: object) -> Any:
    return told(run(*arguments, "--json"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, snapshot: Snapshot, venue: Venue) -> Path:
    folder = tmp_path_factory.mktemp("venue")
    write_market(snapshot, folder / "market.csv")
    write_book(venue.book, snapshot, folder / "book.csv")
    write_balances(venue.collateral, venue.book, folder / "balances.csv")
    return folder


def test_help_and_version() -> None:
    done = process("--help")
    assert done.returncode == 0
    for command in ("margin", "explain", "market", "rulebooks", "conform", "generate", "demo"):
        assert command in done.stdout
        assert run(command, "--help").returncode == 0
    assert process("--version").stdout.strip() == "0.1.0"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['solvent', '--help']\n"
        "from solvent.cli import app\n"
        "try: app()\nexcept SystemExit: pass\n"
        "print('HEAVY', {'numpy', 'numba', 'scipy', 'polars', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("HEAVY set()")


def test_small_margin_never_imports_numba() -> None:
    """The cold start of a small book is numpy's alone; the answer's bits do not depend on it."""
    code = (
        "import sys, solvent as sv\n"
        "from solvent.feeds.synthetic_market import generate_market\n"
        "market = generate_market(expiries=2, strikes=4)\n"
        "sv.margin([{'account': 'a', 'instrument': 'BTC-PERPETUAL', 'size': 10}], market)\n"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_margin_json(files: Path, venue: Venue) -> None:
    words = (
        "margin", "--market", files / "market.csv", "--positions", files / "book.csv",
        "--collateral", files / "balances.csv", "--rulebook", "deribit-pm", "--json",
    )  # fmt: skip
    done = process(*words)
    document = told(done)
    assert run(*words).stdout == done.stdout
    accounts = document["accounts"]
    assert len(accounts) == len(venue.book)
    assert set(accounts[0]) >= {
        "account", "status", "equity", "initial_margin", "maintenance_margin", "worst_scenario",
        "charges",
    }  # fmt: skip
    assert {a["status"] for a in accounts} <= {"healthy", "call", "liquidate"}
    for account in accounts[:50]:
        assert account["charges"]["risk_matrix"] <= account["initial_margin"] + 1e-6
        assert account["maintenance_margin"] <= account["initial_margin"]


def test_margin_without_collateral_says_so(files: Path) -> None:
    document = run_json("margin", "--market", files / "market.csv", "--positions",
                        files / "book.csv")  # fmt: skip
    assert {a["status"] for a in document["accounts"]} == {"unfunded"}
    assert {a["equity"] for a in document["accounts"]} == {None}
    text = run("margin", "--market", files / "market.csv", "--positions", files / "book.csv")
    assert "requirements only" in text.stdout


def test_margin_text_out_and_report(files: Path, tmp_path: Path) -> None:
    done = run(
        "margin", "--market", files / "market.csv", "--positions", files / "book.csv",
        "--collateral", files / "balances.csv", "--out", tmp_path / "all.parquet",
        "--report", tmp_path / "report.html", "--top", 5,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "largest initial margins (5 of 3,000)" in done.stdout
    assert (tmp_path / "all.parquet").stat().st_size > 1_000
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Plotly.newPlot" in page
    assert "Largest initial margins" in page
    assert "<script src=" not in page
    assert "<link" not in page
    wrong = run("margin", "--market", files / "market.csv", "--positions", files / "book.csv",
                "--out", tmp_path / "all.xlsx")  # fmt: skip
    assert wrong.returncode == 2
    assert "expected a name that ends in .csv, .parquet or .json" in wrong.stderr


def test_explain(files: Path, venue: Venue) -> None:
    account = venue.book.accounts[3]
    where = ("--market", files / "market.csv", "--positions", files / "book.csv")
    document = run_json("explain", *where, "--account", account)
    (first, *_) = document["sets"]
    shares = sum(p["initial"] for one in document["sets"] for p in one["positions"])
    assert shares == pytest.approx(document["initial_margin"], rel=1e-6)
    worst = min(s["pnl"] for s in first["scans"][0]["scenarios"])
    assert first["charges"]["risk_matrix"] == pytest.approx(max(0, -worst), abs=1e-4)
    text = run("explain", *where, "--account", account)
    assert text.returncode == 0
    assert "▶ binding: spot" in text.stdout
    assert "vol down" in text.stdout
    missing = run("explain", *where, "--account", "nobody")
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: accounts: expected one of 3000 accounts")


def test_bad_input_is_one_line_and_exit_code_2(files: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("account,instrument,size\na,BTC-PERPETUAL,5\nb,NOPE,1\n", "utf-8")
    done = process("margin", "--market", files / "market.csv", "--positions", bad)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"error: {bad}, row 2 (line 3)" in done.stderr
    here = run("margin", "--market", files / "market.csv", "--positions", bad)
    assert (here.returncode, here.stdout, here.stderr) == (2, "", done.stderr)
    skipped = run("margin", "--market", files / "market.csv", "--positions", bad, "--skip-bad")
    assert skipped.returncode == 0
    assert skipped.stderr.count("skipped: ") == 2
    document = run_json("margin", "--market", files / "market.csv", "--positions", bad,
                        "--skip-bad")  # fmt: skip
    assert document["dropped"] == 2
    assert len(document["problems"]) == 2
    wrong = run("margin", "--market", files / "market.csv", "--positions", files / "book.csv",
                "--rulebook", "nope")  # fmt: skip
    assert wrong.returncode == 2
    assert "no rulebook 'nope'" in wrong.stderr


def test_an_unknown_account_is_explained_by_its_reason(files: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("account,instrument,size\na,BTC-PERPETUAL,100\na,NOPE,1\n", "utf-8")
    where = ("--market", files / "market.csv", "--positions", bad, "--skip-bad", "--account", "a")
    document = run_json("explain", *where)
    assert (document["status"], document["initial_margin"], document["sets"]) == (
        "unknown", None, [],
    )  # fmt: skip
    assert document["reason"] == "rows of this account were left out as bad"
    text = run("explain", *where)
    assert text.returncode == 0
    assert "UNKNOWN: rows of this account were left out as bad" in text.stdout


def test_account_names_are_no_markup(files: Path, tmp_path: Path) -> None:
    book = tmp_path / "book.csv"
    book.write_text("account,instrument,size\n[/bold],BTC-PERPETUAL,100\n[red],NOPE,1\n", "utf-8")
    where = ("--market", files / "market.csv", "--positions", book, "--skip-bad")
    shown = run("margin", *where)
    assert shown.returncode == 0, shown.stderr
    assert "[/bold]" in shown.stdout
    for account in ("[/bold]", "[red]"):
        for rulebook in ("deribit-pm", "derive-srm"):
            one = run("explain", *where, "--account", account, "--rulebook", rulebook)
            assert one.returncode == 0, one.stderr
            assert account in one.stdout


def test_what_cannot_be_written_is_one_line(files: Path, tmp_path: Path) -> None:
    where = ("--market", files / "market.csv", "--positions", files / "book.csv")
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    below = files / "book.csv" / "x.csv"
    for option, target in (("--out", folder), ("--out", below), ("--report", folder)):
        done = run("margin", *where, option, target)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert str(target.parent) in done.stderr
    done = run("generate", "book", "--out", below, "--accounts", 2)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert run("generate", "book", "--out", tmp_path / "b.csv", "--seed", "-1").returncode == 2


def test_market(files: Path) -> None:
    document = run_json("market", files / "market.csv")
    assert document["violations"] == []
    assert document["reprice_median"] < 1e-9
    text = run("market", files / "market.csv")
    assert "arbitrage: 0 executable at the quotes, 0 between marks" in text.stdout


def test_rulebooks(tmp_path: Path) -> None:
    names = [one["name"] for one in run_json("rulebooks")["rulebooks"]]
    assert {"deribit-pm", "deribit-sm"} <= set(names)
    shown = run("rulebooks", "deribit-pm")
    assert "correlation_contingency" in shown.stdout
    assert "not known" in shown.stdout
    mine = tmp_path / "mine.toml"
    mine.write_text("schema = 1\nname = 'mine'\n", "utf-8")
    done = run("rulebooks", mine)
    assert done.returncode == 2
    assert f"error: {mine}: title: Field required" in done.stderr


def test_own_rulebook_from_a_path(files: Path, tmp_path: Path) -> None:
    """A copy with twice the price range asks for more."""
    from importlib.resources import files as resources

    text = (resources("solvent") / "rulebooks" / "deribit-pm.toml").read_text("utf-8")
    mine = tmp_path / "strict.toml"
    mine.write_text(text.replace("price_range = 0.16", "price_range = 0.32"), "utf-8")
    where = ("--market", files / "market.csv", "--positions", files / "book.csv")
    ours = run_json("margin", *where)["accounts"]
    strict = run_json("margin", *where, "--rulebook", mine)["accounts"]
    assert sum(a["initial_margin"] for a in strict) > 1.2 * sum(a["initial_margin"] for a in ours)


def test_conform_exit_codes(tmp_path: Path) -> None:
    folder = tmp_path / "pricing"
    folder.mkdir()
    row = {"type": "call", "K": 100, "F": 100, "stddev": 0.2, "df": 1, "tol": 1e-8}
    good = {"vectors": [{**row, "price": 7.965567455405804}]}
    (folder / "black76_basic.json").write_text(json.dumps(good), "utf-8")
    document = run_json("conform", tmp_path)
    assert (document["passed"], document["failed"], document["unknown"]) == (1, 0, 0)
    bad = {"vectors": [{**row, "price": 7.9}, {**row, "price": 7.965567455405804}]}
    (folder / "black76_basic.json").write_text(json.dumps(bad), "utf-8")
    (folder / "strange.json").write_text(json.dumps({"cases": [1, 2, 3]}), "utf-8")
    done = run("conform", tmp_path, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["passed"], document["failed"], document["unknown"]) == (1, 1, 3)
    assert "missed" in run("conform", tmp_path).stdout
    assert run("conform", tmp_path / "nothing").returncode == 2
    cases = tmp_path / "cex"
    cases.mkdir()
    for odd in ("[1, 2]", '{"cases": 5}', '{"cases": [{"id": "x"}]}', "[" * 100_000):
        (cases / "cases.json").write_text(odd, "utf-8")
        done = run("conform", cases)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr[-300:]


def test_conform_on_the_reference_vectors() -> None:
    document = run_json("conform", need_shared("vectors", "pricing"))
    assert (document["failed"], document["unknown"]) == (0, 0)
    assert document["passed"] >= 600
    cases = run_json("conform", need_shared("vectors", "cex"))
    assert (cases["failed"], cases["unknown"]) == (0, 0)
    assert cases["passed"] >= 14


def test_generate_and_demo(tmp_path: Path) -> None:
    market, book, balances = (tmp_path / f"{n}.csv" for n in ("market", "book", "balances"))
    assert run("generate", "market", "--out", market).returncode == 0
    made = run("generate", "book", "--market", market, "--out", book, "--collateral", balances,
               "--accounts", 40)  # fmt: skip
    assert made.returncode == 0, made.stderr
    document = run_json("margin", "--market", market, "--positions", book, "--collateral", balances)
    assert len(document["accounts"]) == 40
    done = process("demo", "--accounts", 500, "--report", tmp_path / "demo.html", "--once")
    assert done.returncode == 0, done.stderr
    assert "500 accounts margined in" in done.stdout
    assert "▶ binding" in done.stdout
    assert (tmp_path / "demo.html").exists()
