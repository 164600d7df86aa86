"""Double entry: one function moves money, and it has two sides.

A *node* is one balance: of an owner, in a slot, in an asset, packed into one integer
(`node(owner, slot, asset)`). Owners below `FIRST_ACCOUNT` are the venue's own. The sum over all
nodes of an asset is zero, always: what users hold is what `EXTERNAL` owes.

| owner | may be negative | holds |
|---|---|---|
| `EXTERNAL` | yes | minus all money that came in from outside |
| `CLEARING` | yes | slot of a contract: what its open positions have at stake, at their basis |
| `ROUNDING` | yes | what roundings left over |
| `FEES` `VENUE` `INSURANCE` `LIQUIDITY` | never | pools |
| an account | general and margin: a debt | its own money |

Slots of an owner: `GENERAL`; `INCOMING` and `OUTGOING`, money under way; `FUND`, a member's
contribution to the default fund; and by contract the margin of an isolated position and the money
reserved for its orders. Pools, money under way and contributions never fall below zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from solvent.errors import check
from solvent.limits import ACCOUNTS_MAX, ASSETS_MAX, LISTED_MAX

EXTERNAL: Final = 0
CLEARING: Final = 1
ROUNDING: Final = 2
FEES: Final = 3
VENUE: Final = 4
INSURANCE: Final = 5
LIQUIDITY: Final = 6
FIRST_ACCOUNT: Final = 16
SYSTEM_NAMES: Final = {
    EXTERNAL: "external", CLEARING: "clearing", ROUNDING: "rounding", FEES: "fees",
    VENUE: "venue", INSURANCE: "insurance", LIQUIDITY: "liquidity",
}  # fmt: skip

GENERAL: Final = 0
INCOMING: Final = 1
OUTGOING: Final = 2
FUND: Final = 3
_FIRST_CONTRACT: Final = 16
_NAMED_SLOTS: Final = {GENERAL: "general", INCOMING: "incoming", OUTGOING: "outgoing", FUND: "fund"}

ASSET_BITS: Final = 8
_SLOT_BITS: Final = 22
OWNER_SHIFT: Final = ASSET_BITS + _SLOT_BITS
_ASSET_MASK: Final = (1 << ASSET_BITS) - 1
_SLOT_MASK: Final = (1 << _SLOT_BITS) - 1
_FIRST_POOL_NODE: Final = FEES << OWNER_SHIFT
_FIRST_ACCOUNT_NODE: Final = FIRST_ACCOUNT << OWNER_SHIFT

check(1 << ASSET_BITS >= ASSETS_MAX, "every asset has a code")
check(_FIRST_CONTRACT + 2 * LISTED_MAX <= 1 << _SLOT_BITS, "every contract has its slots")
check((FIRST_ACCOUNT + ACCOUNTS_MAX) << OWNER_SHIFT < 1 << 62, "every node fits int64")

Move = tuple[int, int, int]


def node(owner: int, slot: int, asset: int) -> int:
    """One balance as a number.

    >>> parts(node(17, GENERAL, 2))
    (17, 0, 2)
    """
    return owner << OWNER_SHIFT | slot << ASSET_BITS | asset


def parts(which: int) -> tuple[int, int, int]:
    """Owner, slot and asset of a node."""
    return which >> OWNER_SHIFT, which >> ASSET_BITS & _SLOT_MASK, which & _ASSET_MASK


def margin_slot(instrument: int) -> int:
    """The slot of a contract's own margin."""
    return _FIRST_CONTRACT + 2 * instrument


def order_slot(instrument: int) -> int:
    """The slot of what is reserved for a contract's orders."""
    return _FIRST_CONTRACT + 2 * instrument + 1


def contract_of(slot: int) -> int | None:
    """The contract that a slot belongs to.

    >>> contract_of(margin_slot(7)), contract_of(order_slot(7)), contract_of(GENERAL)
    (7, 7, None)
    """
    return None if slot < _FIRST_CONTRACT else (slot - _FIRST_CONTRACT) // 2


def slot_name(slot: int) -> str:
    """A slot in words: `general`, `margin` or `orders` of a contract, and so on."""
    if slot >= _FIRST_CONTRACT:
        return "orders" if (slot - _FIRST_CONTRACT) % 2 else "margin"
    return _NAMED_SLOTS[slot]


class Ledger:
    """Every balance, and what has been posted since the last look."""

    __slots__ = ("balances", "posted")

    def __init__(self) -> None:
        self.balances: dict[int, int] = {}
        self.posted: list[Move] = []

    def balance(self, which: int) -> int:
        """What a node holds."""
        return self.balances.get(which, 0)

    def move(self, source: int, target: int, amount: int) -> None:
        """Take from one node, give to another. The direction is in the arguments, not in a sign."""
        if amount <= 0:
            check(amount == 0, "an amount that is moved is not negative", amount)
            return
        balances = self.balances
        left = balances.get(source, 0) - amount
        if left < 0:
            check(not is_pool(source), "a pool never falls below zero", parts(source), left)
        balances[source] = left
        balances[target] = balances.get(target, 0) + amount
        self.posted.append((source, target, amount))

    def pay(self, party: int, other: int, amount: int) -> None:
        """Move a signed amount: what is positive goes to the party."""
        if amount >= 0:
            self.move(other, party, amount)
        else:
            self.move(party, other, -amount)

    def take_posted(self) -> tuple[Move, ...]:
        """Everything that was posted since the last call."""
        posted = tuple(self.posted)
        self.posted.clear()
        return posted

    def totals(self) -> dict[int, int]:
        """Asset → the sum of all its nodes: zero, or money was made or lost."""
        sums: dict[int, int] = {}
        for which, amount in self.balances.items():
            asset = which & _ASSET_MASK
            sums[asset] = sums.get(asset, 0) + amount
        return sums

    def of_account(
        self, account: int, *, assets: int, settlements: Sequence[int]
    ) -> Iterator[tuple[int, int, int]]:
        """(slot, asset, amount) of every balance that an account has, by slot and asset. There are
        so many `assets`; `settlements` are the contracts' own, by number, the only ones that their
        slots hold. It looks where an account's money may be, so others cost nothing."""
        places = [(slot, asset) for slot in sorted(_NAMED_SLOTS) for asset in range(assets)]
        for number, asset in enumerate(settlements):
            places += [(margin_slot(number), asset), (order_slot(number), asset)]
        for slot, asset in places:
            if amount := self.balance(node(account, slot, asset)):
                yield slot, asset, amount


def is_pool(which: int) -> bool:
    """Whether a node may never fall below zero.

    >>> is_pool(node(INSURANCE, GENERAL, 0)), is_pool(node(17, FUND, 0)), is_pool(node(17, 0, 0))
    (True, True, False)
    """
    if _FIRST_POOL_NODE <= which < _FIRST_ACCOUNT_NODE:
        return True
    slot = which >> ASSET_BITS & _SLOT_MASK
    return INCOMING <= slot <= FUND and which >> OWNER_SHIFT >= FIRST_ACCOUNT
