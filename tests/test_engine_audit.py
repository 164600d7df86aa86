"""The audit: what it counts, and that it names all that does not hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from solvent.account.ledger import CLEARING, INCOMING, INSURANCE, margin_slot, node, order_slot
from solvent.account.position import Position
from solvent.engine.audit import Audit, audit, node_name, violations
from solvent.engine.open_orders import Asked, Sides
from solvent.engine.state import Offer, Pending, State
from solvent.liquidation.calls import Call
from solvent.messages import commands as c
from solvent.messages.fields import OpeningPosition, Side
from solvent.orders.order import Order
from tests.venues import BTC, DOLLAR, FUT, INV, LIN, new_venue


def test_an_audit_counts() -> None:
    venue = new_venue()
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("alice", "carol", 10, 50_000, symbol=FUT)
    assert audit(venue.state) == Audit(
        assets={"USDC": 0, "BTC": 0}, outside={"USDC": 31_000 * DOLLAR, "BTC": 3 * 10**9},
        positions=4, accounts=4, violations=(),
    )  # fmt: skip
    venue.do(c.ListAsset, asset="DUST", decimals=0)
    venue.state.ledger.balances[16 << 30 | 1] += 3
    assert audit(venue.state).assets == {"USDC": 0, "BTC": 3, "DUST": 0}
    assert audit(State()) == Audit(assets={}, outside={}, positions=0, accounts=0, violations=())


def test_nodes_in_words() -> None:
    state = new_venue().state
    assert node_name(state, node(16, 0, 0)) == "alice general USDC"
    assert node_name(state, node(17, margin_slot(1), BTC)) == f"bob margin {INV} BTC"
    assert node_name(state, node(17, order_slot(0), 0)) == f"bob orders {LIN} USDC"
    assert node_name(state, node(INSURANCE, 0, 0)) == "insurance general USDC"


def broken(change: Callable[[State], object]) -> list[str]:
    venue = new_venue()
    venue.trade("alice", "bob", 10, 50_000)
    venue.do(c.PlaceOrder, account="alice", order="o", symbol=LIN, side=Side.BUY, lots=1,
             price_ticks=1)  # fmt: skip
    venue.do(c.AnnounceDeposit, account="carol", asset="USDC", amount=5, reference="in")
    change(venue.state)
    return list(violations(venue.state))


def _unbalanced(state: State) -> None:
    state.ledger.balances[16 << 30] += 3


def _clearing(state: State) -> None:
    state.ledger.balances[node(CLEARING, 16, 0)] = 3
    state.ledger.balances[16 << 30] -= 3


def _pool(state: State) -> None:
    state.ledger.balances[node(INSURANCE, 0, 0)] = -3
    state.ledger.balances[16 << 30] += 3


def _lots(state: State) -> None:
    state.contracts[0].holders[16].lots += 1


def _basis(state: State) -> None:
    state.contracts[0].basis_total = 7


def _stranger(state: State) -> None:
    (state.account(16).positions or {})[0] = Position(10, 0, 0, 0)


def _nothing_held(state: State) -> None:
    state.account(16).positions = None


def _empty(state: State) -> None:
    for number, name in ((18, "carol"), (19, "member")):
        del name
        position = Position(0, 0, 0, 0)
        state.contracts[2].holders[number] = position
        state.account(number).positions = {2: position}


def _under_way(state: State) -> None:
    state.pending["in"].amount = 4


def _not_under_way(state: State) -> None:
    del state.pending["in"]


def _more_under_way(state: State) -> None:
    state.pending["in2"] = Pending(account=18, asset=0, amount=2, incoming=True)


def _closed(state: State) -> None:
    state.account(16).status = "closed"
    state.account(18).status = "closed"


def _closed_with_orders(state: State) -> None:
    state.account(18).status = "closed"
    empty = Order(18, "x", 1, 0, 1)
    state.desk.orders[18] = {"x": empty}


def _for_sale(state: State) -> None:
    state.auctions[18] = Offer(begun_ms=0, solvent=True, cash=0, reserved=0, sold_ppb=0)


def _called(state: State) -> None:
    state.account(19).status = "closed"
    state.calls[19] = Call(level=1, since_ms=0)


ASKED = "Asked(instrument=0, lots=1, price_ticks=1)"
SUMS = "{0: Sides(bid_lots=1, bid_value=10, ask_lots=0, ask_value=0)}"
OTHER_SUMS = "{0: Sides(bid_lots=1, bid_value=11, ask_lots=-1, ask_value=-10)}"


def _lost_order(state: State) -> None:
    del state.open.asked[16, "o"]


def _other_price(state: State) -> None:
    state.open.asked[16, "o"] = Asked(0, 1, 2)


def _other_sums(state: State) -> None:
    state.open.sides[16][0] = Sides(1, 11, -1, -10)


def _no_sums(state: State) -> None:
    del state.open.sides[16]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda _: None, []),
        (_unbalanced, ["asset USDC: expected a sum of 0, found 3"]),
        (_clearing, [f"instrument {LIN}: expected 0 in its clearing, found 3"]),
        (_pool, ["insurance general USDC: expected a pool not below 0, found -3"]),
        (_lots, [f"instrument {LIN}: expected lots that net to 0, found 1"]),
        (_basis, [f"instrument {LIN}: expected a basis of 7, found 0"]),
        (lambda s: setattr(s.contracts[0], "settled", "expired"),
         [f"instrument {LIN}: expected no holders once expired"]),
        (_stranger,
         [f"instrument {LIN}: expected account 16 to hold what it is said to hold"]),
        (_nothing_held,
         [f"instrument {LIN}: expected account 16 to hold what it is said to hold",
          "expected as many positions by account as by instrument, found 1"]),
        (_empty,
         [f"instrument {FUT}: expected no empty position, found one of account 18",
          f"instrument {FUT}: expected no empty position, found one of account 19"]),
        (_closed, ["account alice: expected nothing in a closed account"]),
        (_closed_with_orders,
         ["account carol: expected no empty order",
          "account carol, order x: expected Asked(instrument=1, lots=0, price_ticks=1), found None",
          "account carol: expected nothing in a closed account"]),
        (_lost_order,
         [f"account alice, order o: expected {ASKED}, found None"]),
        (_other_price,
         [f"account alice, order o: expected {ASKED}, found {ASKED[:-2]}2)"]),
        (_other_sums,
         [f"account alice: expected orders of {SUMS}, found {OTHER_SUMS}"]),
        (_no_sums,
         [f"account alice: expected orders of {SUMS}, found {{}}"]),
        (
            lambda s: s.ledger.move(0, 16 << 30 | 1 << 8, 2),
            ["alice incoming USDC: expected 0 under way, found 2"],
        ),
        (_under_way, ["carol incoming USDC: expected 4 under way, found 5"]),
        (_not_under_way, ["carol incoming USDC: expected 0 under way, found 5"]),
        (_more_under_way, ["carol incoming USDC: expected 7 under way, found 5"]),
        (lambda s: setattr(s.account(17), "status", "liquidation"),
         ["expected liquidations of [17], found []"]),
        (_for_sale, ["account 18: expected an auction under liquidation alone"]),
        (_called, ["account 19: expected no call once it is under liquidation or closed"]),
        (lambda s: s.backstops.update({17: 1}),
         ["account 17: expected a cap of a backstop account alone"]),
    ],
)  # fmt: skip
def test_an_audit_names_what_does_not_hold(
    change: Callable[[State], object], found: list[str]
) -> None:
    assert broken(change) == found


def test_a_basis_that_waits_for_its_mark_is_no_empty_position() -> None:
    venue = new_venue('realise = "at_mark"')
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("bob", "alice", 10, 51_000)
    venue.sound()
    assert audit(venue.state).positions == 2


def test_books_that_moved_in_are_sound() -> None:
    venue = new_venue()
    venue.do(c.ImportBooks, balances=(), positions=(
        OpeningPosition("alice", FUT, 3, 500_001), OpeningPosition("bob", FUT, -3, 500_003),
    ))  # fmt: skip
    # A basis of minus 6 tenths: clearing owes 1, rounded up.
    assert venue.clearing(FUT) == 1
    assert venue.held("carol", 0, INCOMING) == 0


def test_an_account_that_is_none() -> None:
    with pytest.raises(LookupError) as fault:
        State().account(9)
    assert fault.value.args == ("no account 9",)
