"""Lines in the engine: inputs that are commands, and what they do to trades, money and calls."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.credit.requirement import need
from solvent.engine.apply import apply_all
from solvent.engine.image import image, restore, sections, state_hash
from solvent.engine.standing import standing, view
from solvent.engine.state import Standing, State
from solvent.errors import Reject, RulebookError
from solvent.feeds.library import rulebook_source
from solvent.margining.levels.inputs import check_numbers
from solvent.margining.levels.text import LevelsText
from solvent.margining.rulebook import read_rulebook
from solvent.messages import commands as c
from solvent.messages.codec import encode_command
from solvent.messages.events import InputsSet, MarginCalled
from solvent.messages.fields import AccountKind, Command, Side
from solvent.service.portfolios import labels, of_account
from solvent.solvency.venue import VenueWatch, verdict
from solvent.tending.tender import plans
from tests.venues import DAY, DOLLAR, LIN, T0, Venue, arrays, new_venue

PER_LOT = 9_600_000
"""Micro of risk: 0.001 BTC at 50,000, two fifths of 48 %."""
FACTOR = Fraction(4, 5)


def lender() -> Venue:
    """The venue with `credit-lines`; `fund` has 1,000 USDC and no line, `house` plenty."""
    venue = new_venue()
    toml = rulebook_source("credit-lines")
    venue.do(c.AdoptRulebook, name="credit-lines", toml=toml, day=DAY, venue=False)
    found = venue.send(arrays("credit-lines"))
    assert found.code == 0, found.events
    venue.open("fund", usdc=1_000, rulebook="credit-lines", parent="member")
    venue.open("house", usdc=10_000_000, rulebook="credit-lines")
    return venue


def lend(venue: Venue, name: str = "fund", **inputs: object) -> tuple[Any, ...]:
    told = {key: str(one) for key, one in inputs.items()}
    return venue.do(c.SetInputs, account=name, inputs=told, reason="a test")


def stands(venue: Venue, name: str = "fund") -> Standing:
    return standing(venue.state, view(venue.state, venue.account(name)))


def up(micro: int) -> int:
    """Margins are rounded up, by less than ten millionths here; lots come to whole ones of that."""
    return micro // 10 * 10


def buy(lots: int) -> dict[str, Any]:
    return {"buyer": "fund", "seller": "house", "symbol": LIN, "lots": lots, "price_ticks": 50_000,
            "aggressor": None}  # fmt: skip


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_inputs_are_told_kept_and_replaced() -> None:
    venue = lender()
    number = venue.account("fund").number
    told = lend(venue, line=500, lgd="0.6", stressed_pd="0.05")
    held = {"lgd": "0.6", "line": "500", "stressed_pd": "0.05"}
    assert told == (InputsSet(number, held, "a test"),)
    assert venue.account("fund").inputs == held
    assert lend(venue, line=20) == (InputsSet(number, {"line": "20"}, "a test"),)
    assert venue.account("fund").inputs == {"line": "20"}
    assert lend(venue) == (InputsSet(number, {}, "a test"),)
    assert venue.account("fund").inputs is None


def test_inputs_are_refused_by_name_and_bounds() -> None:
    venue = lender()
    names = ("line, threshold, independent_amount, stressed_pd, lgd, netted, gross_limit, "
             "closed_out")  # fmt: skip

    def refused(detail: str, account: str = "fund", **inputs: str) -> None:
        code = Reject.ACCOUNT_UNKNOWN if "zoe" in detail else Reject.INPUT_INVALID
        venue.refuse(code, detail, c.SetInputs, account=account, inputs=inputs, reason="")

    refused("account 'zoe': expected one that is open", "zoe", line="1")
    refused(f"account fund: expected an input of each account of credit-lines ({names}), found "
            "'credit'", credit="1")  # fmt: skip
    refused("account fund: expected at least 0, found line = -1", line="-1")
    refused("account fund: expected at most 1, found stressed_pd = 1.01", stressed_pd="1.01")
    refused("account fund: expected at most 4611686018427387904 either way, found line = "
            "5000000000000000000", line="5000000000000000000")  # fmt: skip
    refused("account alice: expected an input of each account of tenth (), found 'line'", "alice",
            line="1")  # fmt: skip


def test_a_rulebook_tells_what_its_inputs_may_be() -> None:
    text = read_rulebook(rulebook_source("credit-lines"), source="it")
    assert isinstance(text, LevelsText)
    check_numbers(text, "account.lgd", {"a": 0.0, "b": 1.0})
    with pytest.raises(RulebookError, match=r"input account.lgd: expected at most 1, found 1.5"):
        check_numbers(text, "account.lgd", {"a": 0.5, "b": 1.5})
    with pytest.raises(RulebookError, match=r"has no input 'account.credit'"):
        check_numbers(text, "account.credit", 1.0)
    with pytest.raises(RulebookError, match="no finite number"):
        check_numbers(text, "account.line", float("nan"))


# ── what it does ─────────────────────────────────────────────────────────────────────────────────


def test_a_line_counts_before_a_trade() -> None:
    """1,000 dollars carry 104 lots, with 960 of line at no cost 100 more, and not one beyond."""
    venue = lender()
    found = venue.tell(c.Trade, **buy(105))
    assert found.code == Reject.MARGIN_INSUFFICIENT
    lend(venue, line=960, lgd=0, stressed_pd=0)
    venue.do(c.Trade, **buy(204))
    after = stands(venue)
    assert (after.equity_micro, after.credit_micro) == (1_000 * DOLLAR, 960 * DOLLAR)
    assert up(after.initial_micro) == 204 * PER_LOT - 960 * DOLLAR
    assert up(after.maintenance_micro) == 204 * PER_LOT * 4 // 5 - 960 * DOLLAR
    assert venue.tell(c.Trade, **buy(1)).code == Reject.MARGIN_INSUFFICIENT


def test_what_is_drawn_is_charged() -> None:
    venue = lender()
    lend(venue, line=5_000, lgd="0.5", stressed_pd="0.1", threshold=100)
    venue.do(c.Trade, **buy(200))
    drawn = 200 * PER_LOT - 1_000 * DOLLAR
    assert up(stands(venue).initial_micro) == max(
        200 * PER_LOT + drawn // 20 - 5_000 * DOLLAR, -100 * DOLLAR
    )


def test_no_line_is_plain_margin() -> None:
    venue = lender()
    venue.do(c.Trade, **buy(100))
    plain = stands(venue)
    lend(venue, line=0, lgd="0.4", stressed_pd="0.3", threshold=700, netted=1)
    assert stands(venue) == plain
    assert up(plain.initial_micro) == 100 * PER_LOT
    assert up(plain.maintenance_micro) == 80 * PER_LOT
    assert plain.credit_micro == 0


def test_a_line_is_no_money() -> None:
    """It is in no balance, and nothing of it leaves: neither by withdrawal nor by transfer."""
    venue = lender()
    before = dict(venue.state.ledger.balances)
    lend(venue, line=50_000, threshold=40_000, lgd=0, stressed_pd=0)
    assert dict(venue.state.ledger.balances) == before
    assert set(venue.state.ledger.totals().values()) == {0}
    venue.do(c.Trade, **buy(400))
    told = {"account": "fund", "asset": "USDC", "amount": 1_001 * DOLLAR, "reference": "r"}
    assert venue.tell(c.RequestWithdrawal, **told).code == Reject.BALANCE_INSUFFICIENT
    # 300 dollars are lost at the marks: the money is there and the margin would allow it, but only
    # 700 of it are the fund's own.
    venue.quote(index=50_000, LIN=492_500)
    venue.publish("credit-lines", index=50_000, LIN=492_500)
    assert stands(venue).equity_micro == 700 * DOLLAR
    told["amount"] = 701 * DOLLAR
    venue.refuse(
        Reject.CREDIT_NOT_WITHDRAWABLE,
        "account fund: expected equity of its own of at least 0 afterwards, found -1000000 micro: "
        "what is lent to it does not leave", c.RequestWithdrawal, **told,
    )  # fmt: skip
    send = {"source": "fund", "target": "house", "asset": "USDC", "amount": 701 * DOLLAR}
    assert venue.tell(c.Transfer, **send).code == Reject.CREDIT_NOT_WITHDRAWABLE
    told["amount"] = 700 * DOLLAR
    venue.do(c.RequestWithdrawal, **told)
    assert stands(venue).equity_micro == 0


def test_a_cut_calls_and_a_default_closes_out() -> None:
    venue = lender()
    lend(venue, line=3_000, threshold=500, lgd=0, stressed_pd=0)
    venue.do(c.Trade, **buy(300))
    assert not stands(venue).call
    # Cut to where initial margin is short and maintenance is not: called, for what is missing.
    lend(venue, line=1_500, threshold=500, lgd=0, stressed_pd=0)
    found = stands(venue)
    assert (found.call, found.liquidate) == (True, False)
    number = venue.account("fund").number
    (called,) = venue.do(c.ReviewMargin, account="fund")
    missing = 300 * PER_LOT - 1_500 * DOLLAR - 1_000 * DOLLAR
    assert isinstance(called, MarginCalled)
    assert (called.account, called.level, up(called.call_micro)) == (number, 2, missing)
    assert called.deadline_ms == T0 + 86_400_000
    venue.refuse(
        Reject.ACCOUNT_NOT_LIQUIDATABLE, _detail(venue, "fund"), c.BeginLiquidation, account="fund"
    )
    # A default: nothing is lent, and nothing may be held.
    lend(venue, closed_out=1)
    found = stands(venue)
    assert (found.call, found.liquidate, found.credit_micro) == (True, True, 0)
    assert found.maintenance_micro > found.equity_micro
    venue.do(c.BeginLiquidation, account="fund")
    venue.do(c.Liquidate, account="fund", counterparty="house", symbol=LIN, lots=300,
             price_ticks=50_000, fee_ppm=0)  # fmt: skip
    assert stands(venue).maintenance_micro == 0
    venue.do(c.EndLiquidation, account="fund")


def _detail(venue: Venue, name: str) -> str:
    found = venue.tell(c.BeginLiquidation, account=name)
    assert found.code == Reject.ACCOUNT_NOT_LIQUIDATABLE
    return str(found.events[0].detail)  # type: ignore[attr-defined]


def test_a_warning_is_a_share_of_what_stands_behind() -> None:
    """1,000 of money, 2,000 of line: 240 lots take 2,304 of 3,000, 260 more than four fifths."""
    venue = lender()
    lend(venue, line=2_000, threshold=2_000, lgd=0, stressed_pd=0)
    venue.do(c.Trade, **buy(240))
    assert venue.do(c.ReviewMargin, account="fund") == ()
    venue.do(c.Trade, **buy(20))
    (warned,) = venue.do(c.ReviewMargin, account="fund")
    assert isinstance(warned, MarginCalled)
    assert (warned.level, warned.call_micro) == (1, 0)
    assert plans(venue.state) == []
    near = Standing(0, 0, -150, True, False, False, 1_000)
    assert verdict(near, as_of_ms=0).state.name == "WARNING"
    watch = VenueWatch(venue.state)
    number = venue.account("fund").number
    assert watch.verdicts[number].state.name == "HEALTHY"
    watch.follow(venue.state, lend(venue, line=1_000, lgd=0, stressed_pd=0))
    assert watch.verdicts[number].state.name == "CALL"


def test_orders_are_margined_on_the_line() -> None:
    venue = lender()
    lend(venue, line=960, lgd=0, stressed_pd=0)
    told = {"account": "fund", "order": "o", "symbol": LIN, "side": Side.BUY, "price_ticks": 50_000}
    assert venue.tell(c.PlaceOrder, lots=205, **told).code == Reject.MARGIN_INSUFFICIENT
    venue.do(c.PlaceOrder, lots=204, **told)
    assert up(stands(venue).initial_micro) == 204 * PER_LOT - 960 * DOLLAR
    assert up(stands(venue).maintenance_micro) == -960 * DOLLAR


def test_another_rulebook_takes_no_line() -> None:
    venue = lender()
    lend(venue, line=10_000, lgd=0, stressed_pd=0)
    venue.do(c.AssignRulebook, account="fund", rulebook="tenth")
    assert stands(venue).credit_micro == 0
    venue.do(c.Trade, **buy(150))
    assert stands(venue).initial_micro == 150 * 5 * DOLLAR
    # Where the new text does not allow what was brought, the account is not known.
    venue.do(c.AssignRulebook, account="fund", rulebook="credit-lines")
    toml = rulebook_source("credit-lines").replace(
        'about   = "credit at most, dollars"', 'about   = "credit at most"\nmost    = 100'
    )
    venue.do(c.AdoptRulebook, name="credit-lines", toml=toml, day=DAY, venue=False)
    venue.send(arrays("credit-lines", key="again"))
    assert not stands(venue).known


@given(
    st.integers(1, 300), st.integers(0, 5_000), st.integers(0, 3_000), st.integers(0, 100),
    st.integers(0, 100), st.integers(0, 2_000),
)  # fmt: skip
@settings(max_examples=40)
def test_the_engine_asks_what_the_rule_says(
    lots: int, line: int, threshold: int, pd: int, lgd: int, independent: int
) -> None:
    """To the micro, on the twin in fractions; and no balance has moved for it."""
    venue = SHARED
    lend(venue, line=10**9, lgd=0, stressed_pd=0)
    held = venue.position("fund", LIN)
    change = lots - (held[0] if held else 0)
    if change > 0:
        venue.do(c.Trade, **buy(change))
    elif change < 0:
        venue.do(c.Trade, **(buy(-change) | {"buyer": "house", "seller": "fund"}))
    lend(venue, line=line, threshold=threshold, stressed_pd=f"{pd / 100:.2f}",
         lgd=f"{lgd / 100:.2f}", independent_amount=independent)  # fmt: skip
    found = stands(venue)
    risk = Fraction(lots * PER_LOT)
    wanted = need(
        risk=risk, held_risk=risk, equity=Fraction(found.equity_micro),
        independent=Fraction(independent * DOLLAR), line=Fraction(line * DOLLAR),
        threshold=Fraction(threshold * DOLLAR), cost=Fraction(pd * lgd, 10_000),
        maintenance_factor=FACTOR,
    )  # fmt: skip
    assert abs(found.initial_micro - wanted.initial) <= 1
    assert abs(found.maintenance_micro - wanted.maintenance) <= 1
    assert found.call == (found.equity_micro < found.initial_micro)
    assert set(venue.state.ledger.totals().values()) == {0}


SHARED = lender()


# ── again ────────────────────────────────────────────────────────────────────────────────────────


def test_images_keep_lines() -> None:
    venue = lender()
    assert "inputs" not in sections(venue.state)
    lend(venue, line=960, lgd="0.6", stressed_pd="0.02")
    venue.do(c.Trade, **buy(150))
    again = restore(image(venue.state))
    assert state_hash(again) == state_hash(venue.state)
    assert again.account(venue.account("fund").number).inputs == venue.account("fund").inputs
    assert standing(again, view(again, again.account(venue.account("fund").number))) == stands(
        venue
    )


def test_the_same_commands_give_the_same_books() -> None:
    """One by one, and all at once with the record of what was refused."""
    told: list[Command] = [
        c.SetInputs(key="1", actor="op", account="fund", inputs={"line": "100", "lgd": "0.6"},
                    reason="opening"),
        c.Trade(key="2", actor="op", buyer="fund", seller="house", symbol=LIN, lots=150,
                price_ticks=50_000, aggressor=None),
        c.SetInputs(key="3", actor="op", account="fund", inputs={"line": "-1"}, reason="wrong"),
        c.SetInputs(key="4", actor="op", account="fund",
                    inputs={"line": "2000", "stressed_pd": "0.05"}, reason="quality"),
        c.Trade(key="5", actor="op", buyer="fund", seller="house", symbol=LIN, lots=130,
                price_ticks=50_000, aggressor=None),
        c.SetInputs(key="6", actor="op", account="fund", inputs={"line": "10"}, reason="cut"),
        c.ReviewMargin(key="7", actor="op", account="fund"),
    ]  # fmt: skip
    one, all_ = lender(), lender()
    found = [one.send(command) for command in told]
    assert [bool(answer.code) for answer in found] == [
        False,
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    bodies = [encode_command(command) for command in told]
    times = [T0] * len(told)
    apply_all(all_.state, told, times, bodies, records=[answer.stored for answer in found])
    assert state_hash(one.state) == state_hash(all_.state)
    fresh: State = lender().state
    again = apply_all(fresh, told, times, bodies)
    assert [answer.stored for answer in again] == [answer.stored for answer in found]
    assert state_hash(fresh) == state_hash(one.state)


def test_a_members_contribution_answers_for_its_counterparty() -> None:
    venue = lender()
    venue.do(c.ContributeFund, account="member", asset="USDC", amount=900 * DOLLAR)
    assert venue.account("fund").parent == venue.account("member").number
    assert venue.account("member").kind == AccountKind.MEMBER


def test_questions_about_an_account_see_its_inputs() -> None:
    """A view apart from the books stands as the account itself does."""
    venue = lender()
    lend(venue, line=500, lgd="0.6", stressed_pd="0.05")
    apart = of_account(venue.state, "fund")
    assert apart.account.inputs == {"lgd": "0.6", "line": "500", "stressed_pd": "0.05"}
    labels([apart])
    assert apart.account.inputs == {"lgd": "0.6", "line": "500", "stressed_pd": "0.05"}
    assert standing(venue.state, apart) == stands(venue)
