"""The HTTP API, in this process: every subject, its problems, its limits, its forms."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import Awaitable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.engine.image import state_hash
from solvent.engine.standing import standing, view
from solvent.errors import BadInput
from solvent.journal.errors import JournalMissing
from solvent.messages import commands as c
from solvent.recovery import recovered
from solvent.risk.wire import decode_arrays
from solvent.service.app import create_app
from solvent.service.limits import Depth, InFlight
from solvent.service.settings import load_settings, unknown_names
from solvent.service.venue import Venue
from tests.engines import ACTOR
from tests.services import CALL, PERPETUAL, Served, made, settings_of

PROBLEM = "application/problem+json"
ARROW = "application/vnd.apache.arrow.stream"
LINES = "application/x-ndjson"


class Api:
    """A served venue, and what is asked of it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.http = served.http()

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        return self._of("GET", path, status, **options)

    def post(self, path: str, status: int = 200, **options: Any) -> Any:
        return self._of("POST", path, status, **options)

    def _of(self, method: str, path: str, status: int, **options: Any) -> Any:
        answer = self.http.request(method, path, **options)
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert answer.headers["content-type"] == PROBLEM
        return answer.json()

    def state(self) -> Any:
        """The state as another process would read it."""
        with self.served.venue.reader() as journal:
            return recovered(journal)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Served(made(tmp_path_factory.mktemp("http"))) as served:
        found = Api(served)
        with found.http:
            yield found


def order(**told: Any) -> dict[str, Any]:
    return {"symbol": PERPETUAL, "side": "buy", "size": "0.01", "price": "50000", **told}


# ── health ───────────────────────────────────────────────────────────────────────────────────────


def asked(app: FastAPI, path: str) -> Awaitable[httpx.Response]:
    """One request to an application in this process."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.get(path)

    return send()


def test_health_tells_the_truth(tmp_path: Path) -> None:
    url = made(tmp_path)
    app = create_app(Venue(url, clock=None), settings_of(url))

    async def live() -> None:
        before = await asked(app, "/health/ready")
        assert (before.status_code, before.json()["phase"]) == (503, "starting")
        assert (await asked(app, "/health/live")).status_code == 200
        async with app.router.lifespan_context(app):
            await app.state.venue.ready()
            now = await asked(app, "/health/ready")
            told = {"phase": "running", "recovered": 50, "commands": 50}
            assert now.json().items() >= told.items()
        after = await asked(app, "/health/ready")
        assert (after.status_code, after.json()["phase"]) == (503, "stopped")
        refused = await asked(app, "/v1/accounts/u1")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["code"] == "NOT_SERVING"

    asyncio.run(live())


def test_a_venue_that_failed_is_not_alive(tmp_path: Path) -> None:
    url = tmp_path / "none"
    app = create_app(Venue(url), settings_of(url))

    async def live() -> None:
        async with app.router.lifespan_context(app):
            with pytest.raises(JournalMissing):
                await app.state.venue.ready()
            found = await asked(app, "/health/live")
            assert (found.status_code, found.json()["code"]) == (503, "FAILED")

    asyncio.run(live())


# ── accounts, money, orders ──────────────────────────────────────────────────────────────────────


def test_an_account_from_its_opening_to_its_end(api: Api) -> None:
    made = api.post("/v1/accounts", 201, json={"account": "zoe", "rulebook": "deribit-pm"})
    assert made["events"][0]["name"] == "zoe"
    api.post("/v1/accounts/zoe/deposits", 201, json={"asset": "USDC", "amount": "250.75"})
    found = api.get("/v1/accounts/zoe")
    assert found["balances"] == [
        {"slot": "general", "instrument": None, "asset": "USDC", "amount": "250.750000",
         "units": 250_750_000}
    ]  # fmt: skip
    assert found["standing"]["equity"] == "250.750000"
    body = {"asset": "USDC", "amount": "250.75", "reference": "zoe-out"}
    api.post("/v1/accounts/zoe/withdrawals", 201, json=body)
    assert api.get("/v1/pending?account=zoe")["rows"][0]["direction"] == "out"
    api.post("/v1/withdrawals/zoe-out/confirm")
    assert api.http.delete("/v1/accounts/zoe").status_code == 200
    assert api.get("/v1/accounts/zoe")["status"] == "closed"


def test_accounts_come_in_pages(api: Api) -> None:
    names: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"/v1/accounts?limit=5{cursor}")
        names += [one["account"] for one in page["rows"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert names[:12] == [f"u{n}" for n in range(12)]
    assert len(set(names)) == len(names)
    assert api.get("/v1/accounts?status=closed&limit=1000")["next"] is None


def test_an_order_from_its_placing_to_its_end(api: Api) -> None:
    placed = api.post("/v1/accounts/u5/orders", 201, json=order(order="mine"))
    assert (placed["status"], placed["left"]) == ("resting", "0.01")
    (row,) = api.get("/v1/accounts/u5/orders")["rows"]
    assert (row["order"], row["price"], row["lots"]) == ("mine", "50000", 100)
    found = api.http.patch("/v1/accounts/u5/orders/mine", json={"price": "50001"})
    assert found.json()["status"] == "resting"
    assert api.get(f"/v1/books/{PERPETUAL}")["bids"] == [
        {"price": "50001", "size": "0.01", "orders": 1}
    ]
    sold = api.post("/v1/accounts/u6/orders", 201, json=order(side="sell", price="50000"))
    assert (sold["status"], sold["average"]) == ("filled", "50001")
    assert sold["fills"][0]["account"] == "u5"
    (position,) = api.get("/v1/accounts/u5/positions")["positions"]
    assert (position["size"], position["entry_price"]) == ("0.01", "50001")
    assert api.http.delete("/v1/accounts/u5/orders/mine").json()["code"] == "ORDER_UNKNOWN"


def test_names_may_have_slashes(api: Api) -> None:
    """A slash in a name is `%2F` in a path, and parts nothing."""
    name, path = "u9/orders", "/v1/accounts/u9%2Forders"
    body = {"account": name, "rulebook": "deribit-pm"}
    api.post("/v1/accounts", 201, json=body)
    api.post(f"{path}/deposits", 201, json={"asset": "USDC", "amount": "5000"})
    assert api.get(path)["account"] == name
    assert api.get(path.replace("F", "f") + "/margin")["standing"]["equity"] == "5000.000000"
    for whose, named in (("u9", "mine"), ("u9%2Forders", "a/b")):
        api.post(f"/v1/accounts/{whose}/orders", 201, json=order(order=named))
    assert [one["order"] for one in api.get(f"{path}/orders")["rows"]] == ["a/b"]
    assert api.http.patch(f"{path}/orders/a%2Fb", json={"price": "49999"}).status_code == 200
    # `DELETE …/u9/orders` would take back all orders of another account.
    assert api.http.delete(path).json()["code"] == "ACCOUNT_NOT_EMPTY"
    assert [one["order"] for one in api.get("/v1/accounts/u9/orders")["rows"]] == ["mine"]
    assert len(api.http.delete(f"{path}/orders/a%2Fb").json()["events"]) == 1
    assert len(api.http.delete("/v1/accounts/u9/orders").json()["events"]) == 1
    # What is no name is refused in words.
    bad = api.post("/v1/accounts", 422, json={"account": "desk alice", "rulebook": "deribit-pm"})
    assert "field 'account': expected a name: letters" in bad["detail"]
    # What is no part of a name is no slash either.
    api.get("/v1%2Faccounts/u9", 404)
    api.get("/v1/accounts%2Fu9", 404)
    there = api.http.get(f"{path}/", follow_redirects=True)
    assert there.json()["account"] == name


def test_every_name_in_a_path_may_have_slashes(api: Api) -> None:
    paths = api.get("/v1/openapi.json")["paths"]
    assert "/v1/accounts/{account}/orders/{order}" in paths
    for path, operations in paths.items():
        for method in set(operations) & {"get", "put", "delete"}:
            if "{" not in path or not path.startswith("/v1/"):
                continue
            names = {one["name"]: one["schema"] for one in operations[method]["parameters"]
                     if one["in"] == "path"}  # fmt: skip
            filled = {
                name: 1 if schema["type"] == "integer" else "x%2Fy"
                for name, schema in names.items()
            }
            told = api.http.request(method, path.format(**filled), json={})
            assert told.json()["code"] != "NOT_FOUND" or "x/y" in told.json()["detail"], told.text


def test_orders_come_in_pages_and_go_together(api: Api) -> None:
    for number in range(7):
        told = order(order=f"p{number}", price=str(40_000 + number))
        api.post("/v1/accounts/u7/orders", 201, json=told)
    first = api.get("/v1/accounts/u7/orders?limit=4")
    second = api.get(f"/v1/accounts/u7/orders?limit=4&cursor={first['next']}")
    names = [one["order"] for one in (*first["rows"], *second["rows"])]
    assert names == [f"p{number}" for number in range(7)]
    assert second["next"] is None
    gone = api.http.delete("/v1/accounts/u7/orders?side=buy").json()
    assert len(gone["events"]) == 7


def test_the_same_key_is_done_once(api: Api) -> None:
    before = api.get("/v1/accounts/u8")["balances"][0]["units"]
    headers = {"Idempotency-Key": "pay-1"}
    body = {"asset": "USDC", "amount": "3"}
    first = api.post("/v1/accounts/u8/deposits", 201, json=body, headers=headers)
    again = api.post("/v1/accounts/u8/deposits", 201, json=body, headers=headers)
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert first["sequence"] == again["sequence"]
    assert first["events"] == again["events"]
    assert api.get("/v1/accounts/u8")["balances"][0]["units"] == before + 3_000_000
    other = api.post(
        "/v1/accounts/u8/deposits", 422, json={"asset": "USDC", "amount": "4"}, headers=headers
    )
    assert (other["code"], other["number"]) == ("KEY_REUSED", 503)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/accounts/nobody/deposits", {"asset": "USDC", "amount": "1"}, 404, "ACCOUNT_UNKNOWN"),
        ("/v1/accounts/u1/deposits", {"asset": "DOGE", "amount": "1"}, 404, "ASSET_UNKNOWN"),
        ("/v1/accounts/u1/deposits", {"asset": "USDC", "amount": 1.5}, 422, "COMMAND_MALFORMED"),
        ("/v1/accounts/u1/deposits", {"asset": "USDC", "amount": "0.0000001"}, 422,
         "FIELD_NOT_A_NUMBER"),
        ("/v1/accounts/u1/deposits", {"asset": "USDC", "amount": "-1"}, 422, "COMMAND_MALFORMED"),
        ("/v1/accounts/u1/deposits", {"asset": "USDC", "amount": "NaN"}, 422, "FIELD_NOT_A_NUMBER"),
        ("/v1/accounts/u1/deposits", {"asset": "USDC", "amount": "1", "x": 1}, 422,
         "COMMAND_MALFORMED"),
        ("/v1/accounts/u1/withdrawals", {"asset": "USDC", "amount": "9e9", "reference": "w"}, 422,
         "FIELD_NOT_A_NUMBER"),
        ("/v1/accounts/u1/withdrawals", {"asset": "USDC", "amount": "99999999", "reference": "w"},
         409, "BALANCE_INSUFFICIENT"),
        ("/v1/accounts/u1/orders", order(size="0.00001"), 409, "LOTS_OFF_STEP"),
        ("/v1/accounts/u1/orders", order(price="50000.1"), 409, "PRICE_OFF_STEP"),
        ("/v1/accounts/u1/orders", order(symbol="BTC-GONE"), 404, "INSTRUMENT_UNKNOWN"),
        ("/v1/accounts/u1/orders", order(side="up"), 422, "SIDE_UNKNOWN"),
        ("/v1/accounts/u1/orders", order(size="100"), 409, "MARGIN_INSUFFICIENT"),
        ("/v1/transfers", {"source": "u1", "target": "u1", "asset": "USDC", "amount": "1"}, 409,
         "ACCOUNTS_THE_SAME"),
        ("/v1/accounts", {"account": "u1", "rulebook": "deribit-pm"}, 409, "NAME_TAKEN"),
        ("/v1/accounts", {"account": "x y", "rulebook": "deribit-pm"}, 422, "COMMAND_MALFORMED"),
        ("/v1/accounts", {"account": "new", "rulebook": "none"}, 404, "RULEBOOK_NOT_ADOPTED"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(
    api: Api, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    found = api.post(path, status, json=body)
    assert found["code"] == code
    assert found["title"]
    assert found["detail"]
    assert found["type"] == f"urn:solvent:problem:{code.lower().replace('_', '-')}"


def test_a_refusal_of_margin_is_in_dollars(api: Api) -> None:
    found = api.post("/v1/accounts/u1/orders", 409, json=order(size="100"))
    assert "micro" not in found["detail"]
    assert found["sequence"]


def test_a_body_that_says_a_thing_twice_is_refused(api: Api) -> None:
    body = b'{"asset": "USDC", "amount": "1", "amount": "2"}'
    found = api.post("/v1/accounts/u1/deposits", 422, content=body)
    assert "once" in json.dumps(found)


# ── margin ───────────────────────────────────────────────────────────────────────────────────────


def portfolio(size: str = "0.5", **told: Any) -> dict[str, Any]:
    return {
        "positions": [{"symbol": PERPETUAL, "size": size, "entry_price": "61000"},
                      {"symbol": CALL, "size": "-0.2"}],
        "balances": {"USDC": "25000"}, **told,
    }  # fmt: skip


def test_a_whatif_of_an_account_is_the_engine_s_own_margin(api: Api) -> None:
    api.post("/v1/accounts/u9/orders", 201, json=order(order="rests", price="45000"))
    found = api.post("/v1/whatif", json={"account": "u9"})
    state = api.state()
    own = standing(state, view(state, state.account(state.account_numbers["u9"])))
    assert Decimal(found["before"]["equity"]) == Decimal(own.equity_micro).scaleb(-6)
    assert Decimal(found["before"]["initial"]) == Decimal(own.initial_micro).scaleb(-6)
    assert own.initial_micro > 0
    assert found["after"] is None


def test_a_whatif_is_what_then_happens(api: Api) -> None:
    changes = {"add": [{"symbol": PERPETUAL, "size": "0.02", "price": "52000"}]}
    asked = api.post("/v1/whatif", json={"account": "u10", "changes": changes})
    api.post("/v1/accounts/u11/orders", 201, json=order(side="sell", size="0.02", price="52000"))
    api.post("/v1/accounts/u10/orders", 201, json=order(size="0.02", price="52000"))
    stands = api.get("/v1/accounts/u10")["standing"]
    assert asked["after"]["initial"] == stands["initial"]
    assert asked["after"]["maintenance"] == stands["maintenance"]
    # A fee was paid besides.
    assert abs(Decimal(asked["after"]["equity"]) - Decimal(stands["equity"])) < 1


def test_a_portfolio_is_margined_as_an_account_that_holds_it(api: Api) -> None:
    held = api.get("/v1/accounts/u10")
    (position,) = held["positions"]
    same = {
        "positions": [{"symbol": PERPETUAL, "lots": position["lots"],
                       "entry_price": position["entry_price"]}],
        "balances": {one["asset"]: one["amount"] for one in held["balances"]},
    }  # fmt: skip
    found = api.post("/v1/whatif", json={"portfolio": same})
    assert found["before"] == {**held["standing"]}


def test_changes_add_close_and_deposit(api: Api) -> None:
    def after(**changes: Any) -> dict[str, Any]:
        asked = {"portfolio": portfolio(), "changes": changes}
        found: dict[str, Any] = api.post("/v1/whatif", json=asked)["after"]
        return found

    flat = after(close=[PERPETUAL, CALL])
    assert (flat["initial"], flat["maintenance"]) == ("0.000000", "0.000000")
    richer = after(deposit={"USDC": "100"})
    plain = api.post("/v1/whatif", json={"portfolio": portfolio()})["before"]
    assert Decimal(richer["equity"]) - Decimal(plain["equity"]) == 100
    # At the mark a trade leaves equity as it is, but for roundings against the account.
    more = after(add=[{"symbol": PERPETUAL, "size": "1"}])
    assert 0 <= Decimal(plain["equity"]) - Decimal(more["equity"]) < Decimal("0.001")
    bought = after(add=[{"symbol": CALL, "size": "0.2"}])
    assert abs(Decimal(plain["equity"]) - Decimal(bought["equity"])) < Decimal("0.001")
    alone = {**portfolio(), "positions": portfolio()["positions"][:1]}
    assert (
        bought["initial"] == api.post("/v1/whatif", json={"portfolio": alone})["before"]["initial"]
    )
    half = after(add=[{"symbol": PERPETUAL, "size": "-0.25"}])
    assert abs(Decimal(half["equity"]) - Decimal(plain["equity"])) < Decimal("0.001")
    assert Decimal(half["initial"]) < Decimal(plain["initial"])


def test_many_what_ifs_at_once_are_each_answered_as_alone(api: Api) -> None:
    asked_all: list[Any] = [{"portfolio": portfolio(f"0.{n:02d}")} for n in range(1, 40)]
    asked_all.insert(7, {"portfolio": {"positions": [{"symbol": "NONE", "size": "1"}]}})
    alone = [api.http.post("/v1/whatif", json=one) for one in asked_all]

    async def together() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=api.served.url) as http:
            return list(
                await asyncio.gather(*(http.post("/v1/whatif", json=one) for one in asked_all))
            )

    whatifs = api.served.app.state.whatifs
    batches = whatifs.batches
    found = asyncio.run(together())
    assert [one.status_code for one in found] == [one.status_code for one in alone]
    assert [one.json() for one in found] == [one.json() for one in alone]
    assert found[7].json()["code"] == "INSTRUMENT_UNKNOWN"
    assert whatifs.batches - batches < len(asked_all)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "FIELD_MISSING"),
        ({"account": "u1", "portfolio": portfolio()}, "FIELD_MISSING"),
        ({"account": "nobody"}, "ACCOUNT_UNKNOWN"),
        ({"portfolio": portfolio(), "rulebook": "none"}, "RULEBOOK_UNKNOWN"),
        ({"portfolio": portfolio("0.00001")}, "SIZE_NOT_WHOLE_LOTS"),
        ({"portfolio": portfolio(balances={"DOGE": "1"})}, "ASSET_UNKNOWN"),
        ({"portfolio": portfolio(), "changes": {"close": ["ETH-PERPETUAL"]}}, "POSITION_NOT_HELD"),
        ({"portfolio": {"positions": [{"symbol": CALL}]}}, "FIELD_MISSING"),
        ({"portfolio": {"positions": [{"symbol": CALL, "lots": 1 << 50}]}}, "SIZE_TOO_LARGE"),
        ({"portfolio": {"positions": [{"symbol": PERPETUAL, "lots": 1, "entry_price": "0"}]}},
         "PRICE_NOT_POSITIVE"),
        ({"portfolio": {"positions": [{"symbol": CALL, "size": 0.5}]}}, "COMMAND_MALFORMED"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_understood(api: Api, body: dict[str, Any], code: str) -> None:
    found = api.http.post("/v1/whatif", json=body)
    assert found.status_code in (404, 409, 422)
    assert found.json()["code"] == code


def test_margin_is_explained(api: Api) -> None:
    found = api.post("/v1/margin", json={"portfolio": portfolio()})
    assert found["worst_scenario"].startswith("BTC:")
    shares = sum(one["initial"] for one in found["positions"])
    assert shares == pytest.approx(float(found["standing"]["initial"]), abs=1.0)
    assert {one["symbol"] for one in found["positions"]} == {PERPETUAL, CALL}
    empty = api.get("/v1/accounts/u2/margin")
    assert (empty["positions"], empty["standing"]["initial"]) == ([], "0.000000")


def test_liquidation_prices_and_other_rulebooks(api: Api) -> None:
    rows = api.post("/v1/liquidation", json={"portfolio": portfolio()})["rows"]
    assert [one["underlying"] for one in rows] == ["BTC", "all"]
    assert 0 < rows[0]["below"] < 61_000
    body = {"portfolio": portfolio(), "rulebooks": ["deribit-pm", "deribit-sm"]}
    rows = api.post("/v1/compare", json=body)["rows"]
    assert [one["rulebook"] for one in rows] == ["deribit-pm", "deribit-sm"]
    assert all(one["initial_margin"] > 0 for one in rows)
    for name in ("../secret.toml", "none"):
        found = api.http.post("/v1/compare", json={**body, "rulebooks": [name]})
        assert found.status_code in (404, 422)


# ── the market ───────────────────────────────────────────────────────────────────────────────────


def test_instruments_and_prices(api: Api) -> None:
    first = api.get("/v1/instruments?limit=15")
    rest = api.get(f"/v1/instruments?limit=15&cursor={first['next']}")
    assert len(first["rows"]) + len(rest["rows"]) == 20
    assert rest["next"] is None
    one = api.get(f"/v1/instruments/{PERPETUAL}")
    assert api.get("/v1/market")["marks"][PERPETUAL] == one["mark"]
    api.get("/v1/instruments/NONE", 404)
    assert len(api.get("/v1/instruments?underlying=ETH")["rows"]) == 12


def test_anybody_can_check_margin_with_what_is_published(api: Api) -> None:
    rows = {one["what"]: one for one in api.get("/v1/publications")["rows"]}
    found = api.http.get(rows["arrays"]["href"])
    assert found.headers["etag"] == f'"{rows["arrays"]["etag"]}"'
    known = {one.listing.symbol: one.instrument for one in api.state().contracts}
    arrays = decode_arrays(found.content, known)
    assert len(arrays.universe) == 20
    lines = api.http.get(rows["arrays"]["href"], headers={"accept": LINES})
    first = json.loads(lines.text.splitlines()[0])
    assert first["pnl"] == arrays.pnl[0, : arrays.scenarios].tolist()
    table = pl.read_ipc_stream(
        io.BytesIO(api.http.get(rows["arrays"]["href"], headers={"accept": ARROW}).content)
    )
    assert table["scenario_0"].to_list() == arrays.pnl[:, 0].tolist()


@pytest.mark.parametrize("what", ["arrays", "rulebook", "market"])
def test_what_is_known_already_is_not_sent_again(api: Api, what: str) -> None:
    row = next(one for one in api.get("/v1/publications")["rows"] if one["what"] == what)
    tag = f'"{row["etag"]}"'
    for seen in (tag, f'W/{tag}, "other"', "*"):
        answer = api.http.get(row["href"], headers={"If-None-Match": seen})
        assert (answer.status_code, answer.content) == (304, b"")
    assert api.http.get(row["href"], headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_rulebook_is_adopted(api: Api) -> None:
    text = api.http.get("/v1/rulebooks/deribit-pm").text
    assert '"deribit-pm"' in text
    body = {"toml": text, "day": "2026-01-01"}
    found = api.http.put("/v1/rulebooks/other", json=body)
    assert found.status_code == 200, found.text
    names = [one["name"] for one in api.get("/v1/rulebooks")["rows"]]
    assert names == ["deribit-pm", "other"]
    api.get("/v1/rulebooks/other/arrays", 404)
    api.get("/v1/rulebooks/none", 404)
    bad = api.http.put("/v1/rulebooks/bad", json={"toml": "x", "day": "2026-01-01"})
    assert (bad.status_code, bad.json()["code"]) == (409, "RULEBOOK_INVALID")


# ── the venue ────────────────────────────────────────────────────────────────────────────────────


def test_the_venue_in_short_and_its_audit(api: Api) -> None:
    found = api.get("/v1/venue?hashed=true")
    assert found["state_hash"] == state_hash(api.state())
    audit = api.get("/v1/audit")
    assert (audit["violations_count"], audit["sequence"]) == (0, found["commands"])
    assert audit["commands_checked"] == found["commands"]
    assert {one["asset"] for one in api.get("/v1/fund")["rows"]} == {"BTC", "ETH", "USDC"}


def dealt(api: Api) -> None:
    """Two accounts are long, whichever tests came before."""
    state = api.served.app.state.board.now.state
    contract = state.contracts[state.contract_numbers[PERPETUAL]]
    trades = [
        c.Trade(
            key=f"dealt {buyer}", actor=ACTOR, buyer=buyer, seller="u9", symbol=PERPETUAL, lots=2,
            price_ticks=contract.mark_points // contract.deal.points_per_tick, aggressor=None,
        )
        for buyer in ("u5", "u10")
    ]  # fmt: skip
    assert all(one.accepted for one in api.served.venue.submit_from_thread(trades))


def test_the_ladder_falls_with_the_gap(api: Api) -> None:
    dealt(api)
    found = api.get("/v1/ladder")
    gaps = {one["gap"]: one for one in found["rungs"]}
    assert gaps[0.0]["fallen"] == 0
    assert found["accounts"] > 0
    assert api.get("/v1/ladder") == found


def test_ranks_liquidations_and_plans(api: Api) -> None:
    dealt(api)
    queue = api.get(f"/v1/adl/{PERPETUAL}")
    assert {one["account"] for one in queue["longs"]} >= {"u5", "u10"}
    api.get("/v1/adl/NONE", 404)
    assert api.get("/v1/liquidations") == {"rows": [], "next": None}
    assert api.get("/v1/liquidations/plans")["plans"] == []
    assert api.post("/v1/liquidations/tend")["refused"] == 0


# ── commands and the journal ─────────────────────────────────────────────────────────────────────


def test_many_commands_as_lines(api: Api) -> None:
    head = api.get("/health/ready")["commands"]
    lines = [
        {"do": "deposit", "key": f"many-{n}", "actor": "me", "account": "u3", "asset": "USDC",
         "amount": 1}
        for n in range(50)
    ]  # fmt: skip
    lines[9]["account"] = "nobody"
    content = "\n".join(map(json.dumps, lines))
    answer = api.http.post("/v1/commands", content=content, headers={"content-type": LINES})
    found = [json.loads(one) for one in answer.text.splitlines()]
    assert [one["sequence"] for one in found] == list(range(head + 1, head + 51))
    assert [one["code"] for one in found if one["result"] == "rejected"] == ["ACCOUNT_UNKNOWN"]
    again = api.http.post("/v1/commands", content=content, headers={"content-type": LINES})
    assert {json.loads(one)["result"] for one in again.text.splitlines()} == {"repeated"}
    bad = content + '\n{"do": "none"}'
    refused = api.http.post("/v1/commands", content=bad, headers={"content-type": LINES})
    assert refused.status_code == 422
    assert "line 51" in refused.text


def test_the_journal_in_pages_and_as_streams(api: Api) -> None:
    head = api.get("/health/ready")["commands"]
    rows: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = api.get(f"/v1/journal?after={after}&limit=40")
        rows += page["rows"]
        after = page["next"]
    assert [one["sequence"] for one in rows] == list(range(1, head + 1))
    lines = api.http.get("/v1/journal/export").text.splitlines()
    assert [json.loads(one) for one in lines] == rows
    table = pl.read_ipc_stream(
        io.BytesIO(api.http.get("/v1/journal/export", headers={"accept": ARROW}).content)
    )
    assert table["sequence"].to_list() == list(range(1, head + 1))
    assert table["chain"][-1].hex() == rows[-1]["chain"]
    assert api.get("/v1/journal/50") == rows[49]
    api.get("/v1/journal/999999", 404)
    some = api.http.get("/v1/journal/export?after=10&until=12").text.splitlines()
    assert [json.loads(one)["sequence"] for one in some] == [11, 12]


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_too_large_or_too_deep_is_refused(api: Api) -> None:
    large = b'"' + b"x" * api.served.settings.body_bytes_max + b'"'
    assert api.post("/v1/whatif", 413, content=large)["status"] == 413

    def parts() -> Iterator[bytes]:
        for _ in range(20):
            yield large[:100_000]

    assert api.post("/v1/whatif", 413, content=parts())["status"] == 413
    deep = b"[" * 40 + b"]" * 40
    assert api.post("/v1/whatif", 422, content=deep)["code"] == "TOO_DEEP"
    wide = {"portfolio": {"positions": [], "balances": {"[" * 40: "1"}}}
    assert api.post("/v1/whatif", 404, json=wide)["code"] == "ASSET_UNKNOWN"


def test_depth_is_counted_across_parts() -> None:
    depth = Depth(3)
    parts = (b"[[", b'"[[[', b"[[\\", b'"[[', b'\\\\"', b"]", b"[[")
    assert all(depth.take(one, last=False) for one in parts)
    assert not depth.take(b"[", last=True)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@given(
    st.recursive(
        st.text('[]{}"\\a', max_size=4),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner,
                                                                   max_size=2),
        max_leaves=8,
    )
)  # fmt: skip
@settings(max_examples=50)
def test_depth_is_that_of_the_document(size: int, document: Any) -> None:
    def deep(one: Any) -> int:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else None
        return 0 if inner is None else 1 + max(map(deep, inner), default=0)

    body = json.dumps(document).encode()
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    for most in range(6):
        depth = Depth(most)
        fits = all(depth.take(one, last=place == len(parts)) for place, one in enumerate(parts, 1))
        assert fits == (deep(document) <= most), (body, most)


def test_too_many_at_a_time_are_told_so() -> None:
    async def live() -> None:
        gate = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            del scope, receive
            await gate.wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        app = InFlight(slow, most=2)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            held = [asyncio.create_task(http.delete("/v1/x")) for _ in range(2)]
            await asyncio.sleep(0.01)
            refused = await http.delete("/v1/x")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["code"] == "OVERLOADED"
            health = asyncio.create_task(http.get("/health/live"))
            await asyncio.sleep(0.01)
            gate.set()
            assert [(await one).status_code for one in (*held, health)] == [204] * 3
        assert (app.now, app.refused) == (0, 1)

    asyncio.run(live())


def test_answers_are_compressed_for_who_says_so(api: Api) -> None:
    with api.http.stream("GET", "/v1/instruments", headers={"accept-encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(b"".join(answer.iter_raw())))["rows"]


def test_only_this_machine_is_let_in_without_keys(api: Api) -> None:
    for headers in ({"host": "example.com"}, {"origin": "http://example.com"}):
        found = api.http.get("/v1/market", headers=headers)
        assert (found.status_code, found.json()["code"]) == (401, "UNAUTHORIZED")
    assert api.http.get("/v1/market", headers={"origin": "http://localhost:1"}).status_code == 200


def test_the_actor_of_commands_may_be_told(api: Api) -> None:
    body = {"asset": "USDC", "amount": "1"}
    headers = {"Solvent-Actor": "cashier", "Idempotency-Key": "by-cashier"}
    done = api.post("/v1/accounts/u4/deposits", 201, json=body, headers=headers)
    assert api.get(f"/v1/journal/{done['sequence']}")["actor"] == "cashier"


def test_a_fault_of_ours_tells_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("solvent.service.routes.markets._rulebook", broken)
    found = api.http.get("/v1/rulebooks")
    assert found.status_code == 500
    assert "secret" not in found.text


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


def test_flags_come_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nhost = "::1"\npatience_ms = 7\n', "utf-8")
    monkeypatch.setenv("SOLVENT_PORT", "2")
    monkeypatch.setenv("SOLVENT_PATIENCE_MS", "8")
    found = load_settings(file, {"port": 3, "host": None})
    assert (found.port, found.host, found.patience_ms) == (3, "::1", 8)


@pytest.mark.parametrize(
    ("text", "says"),
    [("prot = 1", "prot"), ("port = 99999", "port"), ("port = ", "TOML"), ('port = "x"', "port")],
)
def test_settings_that_cannot_be_are_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says):
        load_settings(file)
    with pytest.raises(BadInput, match="TOML file"):
        load_settings(tmp_path / "none.toml")


def test_typing_errors_in_the_environment_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLVENT_PROT", "1")
    monkeypatch.setenv("SOLVENT_PORT", "1")
    assert "SOLVENT_PROT" in unknown_names()
    assert "SOLVENT_PORT" not in unknown_names()
