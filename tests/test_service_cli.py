"""Commands on a venue that is served elsewhere, and `solvent serve --check`."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from solvent.cli import kernels
from solvent.cli.remote import told
from solvent.documents import account_document, in_floats, venue_document
from solvent.recovery import recovered
from tests.services import PERPETUAL, Served, made
from tests.test_engine_cli import Run, run

__all__ = ["run"]
ORDER = ("--account", "u5", "--symbol", PERPETUAL, "--side", "buy", "--size", "0.01")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(made(tmp_path_factory.mktemp("cli"))) as found:
        yield found


def test_state_is_that_of_the_journal(run: Run, served: Served) -> None:
    with served.venue.reader() as journal:
        state = recovered(journal)
    assert run("state", served.url, "--json").json() == in_floats(venue_document(state))
    account = state.account(state.account_numbers["u1"])
    found = run("state", served.url, "--account", "u1", "--json").json()
    assert found == in_floats(account_document(state, account))
    assert "u1: open" in run("state", served.url, "--account", "u1").out
    assert run("state", served.url, "--account", "none").code == 2


def test_orders_are_placed_amended_listed_and_cancelled(run: Run, served: Served) -> None:
    placed = run("order", "place", served.url, *ORDER, "--price", "50000", "--order", "c1")
    assert (placed.code, placed.out) == (0, f"c1 of u5, {PERPETUAL}: 0.01 resting\n")
    again = run("order", "place", served.url, *ORDER, "--price", "50000", "--order", "c1")
    assert (again.code, "ORDER_DUPLICATED" in again.err) == (1, True)
    amended = run("order", "amend", served.url, "--account", "u5", "--order", "c1", "--price",
                  "50001", "--json")  # fmt: skip
    assert amended.json()["accepted"]
    assert "50,001" in run("order", "ls", served.url, "--account", "u5").out
    sold = run("order", "place", served.url, "--account", "u6", "--symbol", PERPETUAL, "--side",
               "sell", "--size", "0.01", "--type", "market", "--order", "s1")  # fmt: skip
    assert sold.out == f"s1 of u6, {PERPETUAL}: sold 0.01 at 50,001\n"
    for price in ("40000", "41000"):
        run("order", "place", served.url, *ORDER, "--price", price, "--order", f"p{price}")
    gone = run("order", "cancel", served.url, "--account", "u5", "--order", "p40000")
    assert gone.out == "1 taken back: p40000\n"
    gone = run("order", "cancel", served.url, "--all", "--symbol", PERPETUAL)
    assert gone.out == "1 taken back: p41000\n"
    assert run("order", "ls", served.url, "--account", "u5").out == "no orders\n"
    held = run("order", "place", served.url, *ORDER, "--price", "1", "--hold-time")
    assert (held.code, "its time is its own" in held.err) == (2, True)


def test_commands_are_applied_and_repeated(run: Run, served: Served, tmp_path: Path) -> None:
    file = tmp_path / "commands.jsonl"
    lines = [
        {"do": "deposit", "key": f"file-{n}", "actor": "me", "account": "u7" if n else "none",
         "asset": "USDC", "amount": 1}
        for n in range(5)
    ]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    first = run("apply", served.url, str(file), "--json").json()
    assert (first["accepted"], first["rejected"], first["repeated"]) == (4, 1, 0)
    assert first["by_code"] == {"ACCOUNT_UNKNOWN": {"deposit": 1}}
    again = run("apply", served.url, str(file), "--batch", "2", "--json").json()
    assert (again["accepted"], again["rejected"], again["repeated"]) == (0, 0, 5)
    assert again["sequence"] == first["sequence"]
    stopped = run("apply", served.url, str(file), "--stop-on-reject")
    assert stopped.code == 0


def test_the_audit_and_the_journal(run: Run, served: Served) -> None:
    assert run("audit", served.url, "--json").json()["violations_count"] == 0
    assert "0 violations" in run("audit", served.url).out
    found = run("journal", "ls", served.url, "--kind", "open_account", "--limit", "3", "--json")
    assert [one["kind"] for one in found.json()["rows"]] == ["open_account"] * 3
    assert found.json()["more"]
    rows = run("journal", "ls", served.url, "--from", "3", "--to", "4", "--json").json()["rows"]
    assert [one["sequence"] for one in rows] == [3, 4]


def test_margin_and_what_if(run: Run, served: Served, tmp_path: Path) -> None:
    book, balances = tmp_path / "book.csv", tmp_path / "balances.csv"
    book.write_text(f"account,instrument,size,entry_price\nme,{PERPETUAL},0.5,61000\n", "utf-8")
    balances.write_text("account,asset,amount\nme,USDC,25000.5\n", "utf-8")
    assert told(book, balances, None)["me"]["balances"] == {"USDC": "25000.5"}
    (row,) = run("margin", "--url", served.url, "--positions", str(book), "--collateral",
                 str(balances), "--json").json()["accounts"]  # fmt: skip
    assert (row["account"], row["status"]) == ("me", "healthy")
    assert row["initial"] > 0
    asked = ("whatif", "--url", served.url, "--account", "me", "--positions", str(book),
             "--collateral", str(balances))  # fmt: skip
    found = run(*asked, "--add", f"{PERPETUAL}=-0.5", "--deposit", "USDC=1", "--json").json()
    assert found["before"]["initial"] == row["initial"]
    assert found["after"]["initial"] == 0
    assert "after" in run("whatif", "--url", served.url, "--account", "u8").out
    assert run("whatif", "--account", "me").code == 2
    assert run("margin", "--url", served.url).code == 2


def test_a_check_says_what_would_be_served(run: Run, served: Served, tmp_path: Path) -> None:
    good = run("serve", served.venue.url, "--check", "--port", "1234", "--json")
    assert good.code == 0
    assert good.json()["settings"]["port"] == 1234
    assert good.json()["problems"] == []
    bad = run("serve", str(tmp_path / "none"), "--check", "--host", "0.0.0.0", "--json")
    assert bad.code == 2
    assert len(bad.json()["problems"]) == 2
    assert "loopback" in bad.json()["problems"][1]
    file = tmp_path / "serve.toml"
    file.write_text("prot = 1", "utf-8")
    wrong = run("serve", "--check", "--config", str(file))
    assert (wrong.code, "prot" in wrong.err) == (2, True)


def test_a_plain_installation_is_told_what_it_lacks(tmp_path: Path) -> None:
    """Without the extra, a command says which one, and shows no traceback."""
    told = (
        "import sys; sys.modules['starlette'] = None; from solvent.cli import main; "
        f"sys.argv = ['solvent', 'keys', 'ls', {str(tmp_path)!r}]; main()"
    )
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr == "error: solvent keys needs an extra: pip install 'solvent[serve]'\n"


def test_kernels_are_kept_where_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A service that may write to its own data alone still compiles."""
    monkeypatch.setattr(atexit, "register", lambda *told, **_: ended.append(told))
    ended: list[Any] = []
    monkeypatch.setenv(kernels.PLACE, "")
    monkeypatch.setattr(kernels, "_writable", lambda _: True)
    assert kernels.keep_kernels() is None
    monkeypatch.setattr(kernels, "_writable", lambda _: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = kernels.keep_kernels()
    assert place is not None
    assert os.environ[kernels.PLACE] == place
    assert Path(place).parent == tmp_path
    assert Path(place).stat().st_mode & 0o077 == 0
    assert ended[0][1] == place
    assert kernels.keep_kernels() is None


def test_certificates_are_flags(run: Run, served: Served, tmp_path: Path) -> None:
    here = ("--tls-certificate", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    found = run("serve", served.venue.url, "--check", "--json", *here)
    assert found.code == 2
    assert [one.split(":")[0] for one in found.json()["problems"]] == [
        "settings, field 'tls_certificate'", "settings, field 'tls_key'"
    ]  # fmt: skip
    for file in here[1::2]:
        Path(file).write_text("", "utf-8")
    assert run("serve", served.venue.url, "--check", "--json", *here).json()["problems"] == []
