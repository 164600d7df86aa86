"""`solvent margin --from`: keys, signatures, secrets, and the comparison with the venue."""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from solvent.cli import main
from solvent.errors import BadInput
from solvent.feeds.accounts import keys
from solvent.feeds.accounts.fetch import Fetched, fetch
from solvent.feeds.accounts.keys import Credentials, Secret, credentials
from solvent.own_account import OwnAccount, margined
from tests.venue_server import CANARIES, KEY, PHRASE, SECRET, Server, key_file, serving

VENUES = ("deribit", "okx", "bybit", "binance")
NOW_MS = 1_795_219_200_000
"""21 November 2026."""
THEN_MS = 1_733_000_000_000
"""A day on which the option of the fixtures is alive."""


def asked(venue: str, server: Server, tmp_path: Path, now_ms: int = NOW_MS) -> Fetched:
    who = credentials(f"{venue}:{key_file(tmp_path / 'key.toml', server.url)}")
    return fetch(who, clock=lambda: now_ms, pause=lambda _: None)


def compared(found: OwnAccount) -> dict[tuple[str, str], tuple[Any, Any]]:
    def dollars(micro: int | None) -> float | None:
        return None if micro is None else micro / 1e6

    return {
        (row.account, row.what): (dollars(row.ours_micro), dollars(row.theirs_micro))
        for row in found.rows
    }


# ── each venue, to the numbers ───────────────────────────────────────────────────────────────────


def test_binance(tmp_path: Path) -> None:
    with serving("binance") as server:
        fetched = asked("binance", server, tmp_path)
        assert not server.refused
    assert fetched.permitted == ("enableFutures",)
    found = margined(fetched)
    assert found.rulebook == "binance-usdm"
    told = compared(found)
    # 0.001 BTC at 51,000 and an order of 0.001 more at 50,000, both 20 times; 0.4 % of 51.
    assert told["me", "initial margin"] == (pytest.approx((51 + 50) / 20), 0)
    assert told["me", "maintenance margin"] == (pytest.approx(0.204, abs=2e-6), 0)
    assert told["me", "equity"] == (pytest.approx(23.72469206 + 1, abs=2e-6), 23.724692)
    assert any("may do more than read (enableFutures)" in one for one in found.warnings)


def test_bybit(tmp_path: Path) -> None:
    with serving("bybit") as server:
        fetched = asked("bybit", server, tmp_path)
        assert not server.refused
    assert fetched.permitted == ()  # readOnly is 1, whatever the permissions say
    # What a debt in ETH costs is not in the rulebook: nothing is said then.
    owing = margined(fetched)
    assert all(ours is None for ours, _ in compared(owing).values())
    assert any("me is not known: bybit-uta: " in one for one in owing.warnings)
    dollars = tuple(one for one in fetched.answer.money if one.asset == "USDT")
    found = margined(replace(fetched, answer=replace(fetched.answer, money=dollars)))
    assert found.rulebook == "bybit-uta"
    told = compared(found)
    # BTC: 25,250 at 0.5 % up to 10,000 and 1 % above; ETH: 14,750 the same.
    maintenance = 50 + 152.5 + 50 + 47.5
    assert told["me", "maintenance margin"][0] == pytest.approx(maintenance, abs=2e-5)
    assert told["me", "maintenance margin"][1] == 0


def test_positions_apart_at_bybit_are_not_known(tmp_path: Path) -> None:
    """Its positions all say cross; the account says that they are isolated."""
    with serving("bybit") as server:
        fetched = asked("bybit", server, tmp_path)
    dollars = tuple(one for one in fetched.answer.money if one.asset == "USDT")
    apart = replace(fetched, model="ISOLATED_MARGIN", answer=replace(fetched.answer, money=dollars))
    found = margined(apart)
    assert all(ours is None for ours, _ in compared(found).values())
    assert any("ISOLATED_MARGIN: the margin of each" in one for one in found.warnings)
    empty = replace(apart.answer, holdings=(), orders=())
    known = compared(margined(replace(apart, answer=empty)))
    assert known["me", "initial margin"][0] == 0


def test_long_and_short_apart_at_okx_are_not_known(tmp_path: Path) -> None:
    """Each has a margin of its own, and our books hold one of a contract."""
    with serving("okx") as server:
        rows = server.answers["/api/v5/account/positions"]["data"]
        long = {**rows[0], "mgnMode": "isolated", "posSide": "long", "pos": "2", "margin": "500"}
        short = {**long, "posSide": "short", "pos": "1", "margin": "700"}
        server.answers["/api/v5/account/positions"]["data"] = [long, short]
        fetched = asked("okx", server, tmp_path)
    found = margined(fetched)
    assert all(ours is None for ours, _ in compared(found).values())
    assert any("one row an account and instrument" in one for one in found.warnings)


def test_okx(tmp_path: Path) -> None:
    with serving("okx") as server:
        fetched = asked("okx", server, tmp_path)
        assert not server.refused
    assert (fetched.model, fetched.permitted) == ("futures", ("trade",))
    found = margined(fetched)
    assert found.rulebook == "okx-futures"
    told = compared(found)
    # Half a contract lies in the second bracket: 1 % and 0.05 % of 0.005 BTC at 84,660.1.
    value = 0.005 * 84_660.1
    assert told["me", "maintenance margin"][0] == pytest.approx(value * 0.0105, abs=2e-6)
    assert told["me", "equity"][1] == 99.888703


def test_deribit_by_currency(tmp_path: Path) -> None:
    with serving("deribit") as server:
        fetched = asked("deribit", server, tmp_path, THEN_MS)
        assert not server.refused
    assert fetched.model == "segregated_sm"
    assert fetched.permitted == ("trade:read_write",)
    found = margined(fetched)
    assert found.rulebook == "deribit-sm"
    told = compared(found)
    # 2 % of the coins plus 0.005 % for each of them, at the index.
    coins = 870_000 / 87_006.21
    initial = (0.02 + 0.00005 * coins) * coins * 86_992.82
    ours, theirs = told["me BTC", "initial margin"]
    assert 0 <= ours - initial <= 87_000 * 0.5e-9 * 86_992.82  # what rounding may hide, on top
    assert theirs == pytest.approx(1.24669592 * 86_992.82)
    # What was realised today and floats since is in equity: nothing else is.
    equity = (302.60065765 - 0.03258105 - 0.01) * 86_992.82
    assert told["me BTC", "equity"][0] == pytest.approx(equity, rel=1e-7)
    assert told["me ETH", "equity"] == (None, None)
    assert any("1 open orders are not in our margin" in one for one in found.warnings)
    assert not any("future_combo" in one for one in found.warnings)
    assert any("the name counts" in one for one in found.warnings)


def test_an_account_without_positions(tmp_path: Path) -> None:
    with serving("okx") as server:
        server.answers["/api/v5/account/positions"] = {"code": "0", "data": [], "msg": ""}
        server.answers["/api/v5/trade/orders-pending"] = {"code": "0", "data": [], "msg": ""}
        found = margined(asked("okx", server, tmp_path))
    told = compared(found)
    assert told["me", "initial margin"] == (0, None)
    assert told["me", "equity"] == (94.426129, 99.888703)


def test_a_position_in_what_is_not_listed_is_refused(tmp_path: Path) -> None:
    with serving("binance") as server:
        server.answers["/fapi/v1/exchangeInfo"] = {"symbols": []}
        with pytest.raises(BadInput, match="every contract that is held"):
            asked("binance", server, tmp_path)


def test_portfolio_margin_takes_its_own_rulebook(tmp_path: Path) -> None:
    from solvent.own_account import rulebook_of

    with serving("bybit") as server:
        fetched = asked("bybit", server, tmp_path)
    assert rulebook_of(replace(fetched, model="PORTFOLIO_MARGIN")) == "bybit-pm"
    assert rulebook_of(replace(fetched, venue="deribit", model="cross_pm")) == "deribit-xpm"
    assert rulebook_of(replace(fetched, venue="okx", model="portfolio margin")) == "okx-pm"


# ── the command ──────────────────────────────────────────────────────────────────────────────────

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["solvent", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def unseen(*texts: str) -> None:
    for text in texts:
        for canary in CANARIES:
            assert canary not in text


@pytest.mark.parametrize("venue", ["okx", "bybit", "binance"])
def test_the_command_compares(
    venue: str, tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(venue) as server:
        told = f"{venue}:{key_file(tmp_path / 'key.toml', server.url)}"
        code, out, err = run("margin", "--from", told, "--json")
        assert code == 0, err
        document = json.loads(out)
        assert [row["what"] for row in document["beside"]] == [
            "equity", "initial margin", "maintenance margin",
        ]  # fmt: skip
        for row in document["beside"]:
            if row["difference"] is not None:
                assert row["difference"] == pytest.approx(row["theirs"] - row["ours"], abs=1e-6)
        code, table, notes = run("margin", "--from", told)
        assert code == 0
        assert "theirs" in table
        assert "difference" in table
    unseen(out, err, table, notes, caplog.text)
    assert ("may do more than read" in notes) == (venue != "bybit")


FAILURES = [
    (401, f'{{"msg": "bad key {KEY} {SECRET} {PHRASE}"}}'.encode()),
    (200, f'{{"code": "1", "msg": "{SECRET}", "retCode": 5, "retMsg": "{SECRET}"}}'.encode()),
    (200, b'{"code": "0", "data": [{"acctLv"'),
    (200, b"[1, 2"),
    (302, b""),
]


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("failure", FAILURES, ids=["401", "error", "cut", "no object", "302"])
def test_no_secret_in_a_failure(
    venue: str, failure: tuple[int, bytes], tmp_path: Path, run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The first thing that is asked goes wrong, and the venue repeats what it was told."""
    caplog.set_level(logging.DEBUG)
    first = {"deribit": "/api/v2/public/auth", "okx": "/api/v5/account/config",
             "bybit": "/v5/user/query-api", "binance": "/fapi/v2/account"}[venue]  # fmt: skip
    with serving(venue) as server:
        server.fails[first] = [failure] * 3
        told = f"{venue}:{key_file(tmp_path / 'key.toml', server.url)}"
        code, out, err = run("margin", "--from", told)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"error: {venue} ")
    unseen(err, caplog.text)


TOKEN = CANARIES[-1]


@pytest.mark.parametrize("room", [0, 60, 255])
@pytest.mark.parametrize("status", [401, 200])
def test_a_token_and_half_a_secret_are_masked(
    status: int, room: int, tmp_path: Path, run: Run
) -> None:
    """What is told is cut to so many letters: the cut may go through a secret."""
    words = "x" * room + f" {SECRET} {TOKEN} {KEY}"
    content = json.dumps({"error": {"code": 1, "message": words}}).encode()
    with serving("deribit") as server:
        server.fails["/api/v2/private/get_positions"] = [(status, content)]
        told = f"deribit:{key_file(tmp_path / 'key.toml', server.url)}"
        code, out, err = run("margin", "--from", told)
    assert (code, out) == (2, "")
    for canary in CANARIES:
        assert canary[:5] not in err
    if room == 0:
        assert "*** *** ***" in err


def test_the_document_is_masked(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import solvent.own_account

    def warned(*told: Any) -> OwnAccount:
        return replace(margined(*told), warnings=(f"left out: {SECRET}",))

    monkeypatch.setattr(solvent.own_account, "margined", warned)
    with serving("binance") as server:
        told = f"binance:{key_file(tmp_path / 'key.toml', server.url)}"
        code, out, err = run("margin", "--from", told, "--json")
    assert code == 0
    unseen(out, err)
    assert json.loads(out)["warnings"] == ["left out: ***"]


def test_all_open_orders_of_okx_are_asked_for(tmp_path: Path) -> None:
    with serving("okx") as server:
        path = "/api/v5/trade/orders-pending"
        first = server.answers[path]["data"][0]
        rows = [{**first, "ordId": str(1_000 - n)} for n in range(205)]

        def page(query: dict[str, str]) -> Any:
            after = int(query.get("after", "1001"))
            older = [row for row in rows if int(row["ordId"]) < after]
            return {"code": "0", "msg": "", "data": older[: int(query["limit"])]}

        server.answers[path] = page
        assert len(asked("okx", server, tmp_path).answer.orders) == 205
        assert server.asked.count(path) == 3


def test_more_pages_than_are_asked_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from solvent.feeds.accounts import fetch as asking

    monkeypatch.setattr(asking, "_PAGES_MAX", 2)
    with serving("okx") as server:
        path = "/api/v5/trade/orders-pending"
        row = server.answers[path]["data"][0]
        server.answers[path] = {"code": "0", "msg": "", "data": [row] * 100}
        with pytest.raises(BadInput, match="orders-pending: expected at most 2 pages"):
            asked("okx", server, tmp_path)
    with serving("bybit") as server:
        path = "/v5/order/realtime"
        nothing = {"category": "linear", "list": [], "nextPageCursor": "on"}
        server.answers[path] = {"retCode": 0, "result": nothing}
        with pytest.raises(BadInput, match="order/realtime: expected at most 2 pages"):
            asked("bybit", server, tmp_path)


def test_a_busy_venue_is_asked_again_and_then_left(tmp_path: Path) -> None:
    waits: list[float] = []
    with serving("binance") as server:
        server.fails["/fapi/v2/account"] = [(429, b""), (503, b"")]
        who = credentials(f"binance:{key_file(tmp_path / 'key.toml', server.url)}")
        fetch(who, clock=lambda: NOW_MS, pause=waits.append)
        assert waits == [0.5, 1.0]
        assert server.asked.count("/fapi/v2/account") == 3
        server.fails["/fapi/v2/account"] = [(429, b"")] * 3
        with pytest.raises(BadInput, match="status 429, 3 times"):
            fetch(who, clock=lambda: NOW_MS, pause=waits.append)
    with pytest.raises(BadInput, match="ConnectError, 3 times"):
        fetch(who, clock=lambda: NOW_MS, pause=waits.append)


def test_other_options_do_not_go_with_it(run: Run, tmp_path: Path) -> None:
    code, _, err = run("margin", "--from", "okx", "--positions", tmp_path / "book.csv")
    assert (code, "takes --rulebook and --json alone" in err) == (2, True)
    code, _, err = run("margin", "--positions", tmp_path / "book.csv")
    assert (code, "--market" in err) == (2, True)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601, 0o620])
def test_a_key_file_that_others_can_open_is_refused(mode: int, tmp_path: Path) -> None:
    path = key_file(tmp_path / "key.toml", "https://x.example", mode=mode)
    with pytest.raises(BadInput, match=rf"chmod 600\), found mode {mode:04o}") as caught:
        credentials(f"okx:{path}")
    unseen(str(caught.value))
    path.chmod(0o400)
    assert credentials(f"okx:{path}").account == "me"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f'key = "{KEY}"\nsecret = {SECRET}', "TOML"),
        (f'key = "{KEY}"\nsecret = "{SECRET}"', "a passphrase for okx"),
        (f'key = "{KEY}"\n"{SECRET}" = "x"', "another name"),
        (f'key = "{KEY}"\nsecret = ["{SECRET}"]', "text"),
        (f'key = "{KEY}"\nsecret = ""\npassphrase = "{PHRASE}"', "a secret for okx"),
        (f'key = "{KEY}"\nsecret = "{SECRET}\\n"\npassphrase = "x"', "plain letters"),
        (f'key = "{KEY}"\nsecret = "{SECRET}"\npassphrase = "{PHRASE}"\nurl = "http://okx.example"',
         "https://"),
        (f'key = "{KEY}"\nsecret = "{SECRET}"\npassphrase = "{PHRASE}"\nurl = "ftp://127.0.0.1"',
         "https://"),
        (f'key = "{KEY}"\nsecret = "{SECRET}"\npassphrase = "{PHRASE}"\nurl = "http://127.0.0.1@x.example"',
         "https://"),
    ],
)  # fmt: skip
def test_a_key_file_that_is_not_whole(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "key.toml"
    path.write_text(content, "utf-8")
    path.chmod(0o600)
    with pytest.raises(BadInput, match=words) as caught:
        credentials(f"okx:{path}")
    unseen(str(caught.value), repr(caught.value), str(caught.value.__cause__),
           repr(caught.value.__context__))  # fmt: skip


@pytest.mark.parametrize("name", ["key", "secret", "passphrase"])
def test_a_short_secret_is_refused(name: str, tmp_path: Path) -> None:
    told = {"key": KEY, "secret": SECRET, "passphrase": PHRASE, name: "abc4567"}
    path = tmp_path / "key.toml"
    path.write_text("".join(f'{one} = "{what}"\n' for one, what in told.items()), "utf-8")
    path.chmod(0o600)
    with pytest.raises(BadInput, match=f"a {name} of 8 letters or more, found fewer") as caught:
        credentials(f"okx:{path}")
    assert "abc4567" not in str(caught.value)


def test_a_key_file_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    key_file(tmp_path / "key.toml", "https://x.example")
    assert credentials("okx:~/key.toml").account == "me"
    with pytest.raises(BadInput, match="a key file"):
        credentials("okx:~nobody-of-that-name/key.toml")


def test_an_address_that_is_none(tmp_path: Path) -> None:
    who = credentials(f"okx:{key_file(tmp_path / 'key.toml', 'https://x.example:port')}")
    with pytest.raises(BadInput, match="no address") as caught:
        fetch(who, clock=lambda: NOW_MS)
    unseen(str(caught.value))


def test_keys_from_the_environment(tmp_path: Path) -> None:
    told = {"SOLVENT_BYBIT_KEY": KEY, "SOLVENT_BYBIT_SECRET": SECRET}
    found = credentials("bybit", environment=told)
    assert (found.key.reveal(), found.url) == (KEY, keys.URLS["bybit"])
    for wrong in ("kraken", "bybit:", f"bybit:{tmp_path}", f"bybit:{tmp_path / 'none'}", ""):
        with pytest.raises(BadInput):
            credentials(wrong, environment=told)
    with pytest.raises(BadInput, match="a key for okx"):
        credentials("okx", environment=told)


def test_a_secret_shows_itself_nowhere() -> None:
    one = Secret(SECRET)
    who = Credentials(venue="okx", key=Secret(KEY), secret=one, passphrase=Secret(PHRASE),
                      url="https://x", account="me")  # fmt: skip
    unseen(repr(one), str(one), f"{one}", f"{one!r:>40}", f"{one:>40}", repr(who), str(who),
           "%s" % one)  # fmt: skip  # noqa: UP031
    with pytest.raises(TypeError, match="not written down"):
        pickle.dumps(one)
    assert who.without_secrets(f"a {KEY} b {SECRET} c {PHRASE}") == "a *** b *** c ***"
    assert os.environ.get("SOLVENT_OKX_SECRET") is None
