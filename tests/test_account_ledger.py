"""The ledger: nodes, two sides of every move, pools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.account.ledger import (
    CLEARING,
    EXTERNAL,
    FEES,
    FIRST_ACCOUNT,
    FUND,
    GENERAL,
    INCOMING,
    INSURANCE,
    LIQUIDITY,
    OUTGOING,
    ROUNDING,
    VENUE,
    Ledger,
    contract_of,
    is_pool,
    margin_slot,
    node,
    order_slot,
    parts,
    slot_name,
)
from solvent.documents import money_of
from solvent.errors import InvariantBroken
from solvent.limits import ACCOUNTS_MAX, ASSETS_MAX, LISTED_MAX
from tests.histories import HOUSES, every_command, halfway

ALICE, BOB = node(17, GENERAL, 0), node(18, GENERAL, 0)


def test_a_node_is_owner_then_slot_then_asset() -> None:
    assert node(0, 0, 0) == 0
    assert node(0, 0, 255) == 255
    assert node(0, 1, 0) == 256
    assert node(1, 0, 0) == 1 << 30
    assert node(17, 3, 2) == 17 * 2**30 + 3 * 2**8 + 2


@pytest.mark.parametrize("owner", [0, 1, 17, ACCOUNTS_MAX])
@pytest.mark.parametrize("slot", [0, 3, 16, order_slot(LISTED_MAX - 1)])
@pytest.mark.parametrize("asset", [0, 1, ASSETS_MAX - 1])
def test_parts_undo_a_node(owner: int, slot: int, asset: int) -> None:
    assert parts(node(owner, slot, asset)) == (owner, slot, asset)


def test_every_contract_has_two_slots_of_its_own() -> None:
    assert [margin_slot(0), order_slot(0), margin_slot(1), order_slot(1)] == [16, 17, 18, 19]
    assert [contract_of(slot) for slot in (0, 3, 15, 16, 17, 18, 19)] == [
        None, None, None, 0, 0, 1, 1
    ]  # fmt: skip


def test_slots_in_words() -> None:
    named = [slot_name(slot) for slot in (GENERAL, INCOMING, OUTGOING, FUND, 16, 17, 18, 19)]
    assert named == [
        "general", "incoming", "outgoing", "fund", "margin", "orders", "margin", "orders"
    ]  # fmt: skip


def test_a_move_has_two_sides() -> None:
    ledger = Ledger()
    ledger.move(ALICE, BOB, 5)
    ledger.move(ALICE, BOB, 2)
    assert ledger.balances == {ALICE: -7, BOB: 7}
    assert ledger.balance(ALICE) == -7
    assert ledger.balance(BOB) == 7
    assert ledger.balance(node(19, GENERAL, 0)) == 0
    assert ledger.take_posted() == ((ALICE, BOB, 5), (ALICE, BOB, 2))
    assert ledger.take_posted() == ()
    assert ledger.totals() == {0: 0}


def test_a_move_of_nothing_leaves_no_trace() -> None:
    ledger = Ledger()
    ledger.move(ALICE, BOB, 0)
    assert ledger.balances == {}
    assert ledger.take_posted() == ()


def test_an_amount_of_one_is_moved() -> None:
    ledger = Ledger()
    ledger.move(ALICE, BOB, 1)
    assert ledger.balances == {ALICE: -1, BOB: 1}


def test_a_negative_amount_is_a_fault() -> None:
    with pytest.raises(InvariantBroken) as fault:
        Ledger().move(ALICE, BOB, -1)
    assert str(fault.value) == "an amount that is moved is not negative, was -1"


def test_a_payment_goes_where_its_sign_says() -> None:
    ledger = Ledger()
    ledger.pay(ALICE, BOB, 3)
    assert ledger.take_posted() == ((BOB, ALICE, 3),)
    ledger.pay(ALICE, BOB, -4)
    assert ledger.take_posted() == ((ALICE, BOB, 4),)
    ledger.pay(ALICE, BOB, 0)
    assert ledger.take_posted() == ()
    assert ledger.balances == {ALICE: -1, BOB: 1}


@pytest.mark.parametrize("owner", [FEES, VENUE, INSURANCE, LIQUIDITY])
def test_a_pool_can_be_emptied_and_no_further(owner: int) -> None:
    ledger = Ledger()
    pool = node(owner, GENERAL, 0)
    ledger.move(ALICE, pool, 5)
    ledger.move(pool, BOB, 5)
    assert ledger.balance(pool) == 0
    with pytest.raises(InvariantBroken) as fault:
        ledger.move(pool, BOB, 1)
    assert str(fault.value) == f"a pool never falls below zero, was ({owner}, 0, 0), -1"
    assert ledger.balances == {ALICE: -5, pool: 0, BOB: 5}


def test_which_nodes_are_pools() -> None:
    for owner in (EXTERNAL, CLEARING, ROUNDING, FIRST_ACCOUNT, 17):
        assert not is_pool(node(owner, GENERAL, 3))
    for owner in (FEES, VENUE, INSURANCE, LIQUIDITY, FIRST_ACCOUNT - 1):
        assert is_pool(node(owner, GENERAL, 3))
    for slot in (INCOMING, OUTGOING, FUND):
        assert is_pool(node(FIRST_ACCOUNT, slot, 0))
        assert not is_pool(node(CLEARING, slot, 0))
    assert not is_pool(node(FIRST_ACCOUNT, margin_slot(0), 0))
    assert not is_pool(node(FIRST_ACCOUNT, FUND + 1, 0))


def test_totals_are_by_asset() -> None:
    ledger = Ledger()
    ledger.move(ALICE, BOB, 5)
    ledger.move(node(17, GENERAL, 3), node(18, FUND, 3), 7)
    assert ledger.totals() == {0: 0, 3: 0}
    ledger.balances[BOB] += 2
    ledger.balances[node(19, GENERAL, 3)] = -4
    assert ledger.totals() == {0: 2, 3: -4}


def walked(ledger: Ledger, owner: int) -> list[tuple[int, int, int]]:
    """The same by looking at everybody's money."""
    return [
        (*parts(which)[1:], amount)
        for which, amount in sorted(ledger.balances.items())
        if parts(which)[0] == owner and amount
    ]


@given(
    st.lists(
        st.tuples(
            st.integers(16, 19),
            st.sampled_from(["general", "incoming", "fund", "margin", "orders"]),
            st.integers(0, 3), st.integers(0, 5), st.integers(0, 3),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_an_account_s_money_is_found_wherever_it_may_be(
    told: list[tuple[int, str, int, int, int]],
) -> None:
    ledger, settlements = Ledger(), [0, 2, 1, 0, 3, 3]
    for account, where, asset, number, amount in told:
        slots = {"general": GENERAL, "incoming": INCOMING, "fund": FUND,
                 "margin": margin_slot(number), "orders": order_slot(number)}  # fmt: skip
        own = settlements[number] if where in ("margin", "orders") else asset
        ledger.move(node(EXTERNAL, GENERAL, own), node(account, slots[where], own), amount)
    for account in range(16, 20):
        found = ledger.of_account(account, assets=4, settlements=settlements)
        assert list(found) == walked(ledger, account)


def test_balances_of_an_account_in_order_without_empty_ones() -> None:
    ledger = Ledger()
    ledger.move(ALICE, node(18, margin_slot(2), 1), 5)
    ledger.move(ALICE, node(18, FUND, 3), 7)
    ledger.move(ALICE, node(18, INCOMING, 3), 2)
    ledger.move(node(18, INCOMING, 3), ALICE, 2)
    found = {
        account: list(ledger.of_account(account, assets=4, settlements=[0, 0, 1]))
        for account in (17, 18, 19)
    }
    assert found == {17: [(GENERAL, 0, -12)], 18: [(FUND, 3, 7), (margin_slot(2), 1, 5)], 19: []}


@pytest.mark.parametrize("house", HOUSES)
def test_no_money_of_an_account_is_anywhere_else(house: str) -> None:
    """In the middle of a history of every command, and at its end; of pools neither."""
    places = set()
    for state in (halfway(house).state, every_command(house).state):
        for owner in range(len(state.accounts)):
            found = list(money_of(state, owner))
            assert found == walked(state.ledger, owner)
            places |= {slot_name(slot) for slot, _, _ in found}
    assert places >= {"general", "fund", "orders" if house == "vega" else "margin"}
