"""A Merkle tree of balances in which every node also carries the sum below it.

Who holds an account gets its proof: the node beside each node on the way up. With the published
root it shows that the balance is part of the total, and so that the total owed to others cannot
leave it out. A node commits to the sum of *each* child: one that commits to their total alone can
be opened with sums shifted between children, and lets an operator understate what it owes.
No sum is negative or above 16 bytes, so that no balance can hide another.

Hashes are SHA-256: of a leaf 00 ‖ account ‖ balance, of a node 01 ‖ hash ‖ sum ‖ hash ‖ sum of its
children, sums as 16 bytes, big end first. Empty leaves (hash of zeros, sum 0) fill up to a power
of two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from solvent.errors import BadInput, Problem, Reject

SUM_BYTES: Final = 16
_LEAF, _INNER = b"\x00", b"\x01"


@dataclass(frozen=True, slots=True)
class Node:
    """A hash, and the sum of balances that it stands for (smallest units of one asset)."""

    hash: bytes
    sum: int


EMPTY: Final = Node(bytes(sha256().digest_size), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That one balance is part of a root's sum."""

    account: str
    balance: int
    index: int
    """Place of the leaf; its bits say, from the lowest, on which side the path comes up."""
    beside: tuple[Node, ...]
    """From the leaf's neighbour up to a child of the root."""

    def root(self) -> Node:
        """The root that this proof leads to; compare it with the published one.

        Refused (`BadInput`) where a sum is out of range or the index does not fit the path.
        """
        if not 0 <= self.index < 1 << len(self.beside):
            raise _bad(self.account, f"a place below 2^{len(self.beside)}", self.index)
        node, index = leaf(self.account, self.balance), self.index
        for other in self.beside:
            node = joined(other, node) if index & 1 else joined(node, other)
            index >>= 1
        return node

    def holds(self, published: Node) -> bool:
        """Whether it leads to a published root, in hash and sum.

        >>> tree = liabilities([("alice", 100), ("bob", 250), ("carol", 7)])
        >>> tree.root.sum, tree.proof("bob").holds(tree.root)
        (357, True)
        """
        try:
            return self.root() == published
        except BadInput:
            return False


@dataclass(frozen=True, slots=True)
class SumTree:
    """All rows of a tree: leaves first (filled up to a power of two), the root last."""

    places: Mapping[str, int]
    """Account → its leaf."""
    rows: tuple[tuple[Node, ...], ...]

    @property
    def root(self) -> Node:
        """What is published: a hash, and everything that is owed."""
        return self.rows[-1][0]

    def proof(self, account: str) -> Proof:
        """For who holds the account; refused (`BadInput`) where it is not in the tree."""
        place = self.places.get(account)
        if place is None:
            raise _bad(account, "an account of the tree", "none")
        beside = tuple(row[(place >> level) ^ 1] for level, row in enumerate(self.rows[:-1]))
        return Proof(account=account, balance=self.rows[0][place].sum, index=place, beside=beside)


def liabilities(balances: Iterable[tuple[str, int]]) -> SumTree:
    """The tree of (account, balance in smallest units), in the order given.

    Refused (`BadInput`): an account twice, a balance below 0 or above 16 bytes, no account at all.
    What an account owes the venue is not a liability: publish it apart, never net of others.

    >>> liabilities([("alice", 100), ("bob", 250)]).root.hash.hex()[:16]
    '3ad34f47e0e3e922'
    """
    told = tuple(balances)
    if not told:
        raise _bad("liabilities", "at least one account", "none")
    places: dict[str, int] = {}
    for place, (account, _) in enumerate(told):
        if places.setdefault(account, place) != place:
            raise _bad(account, "each account once", "it again")
    row = [leaf(account, balance) for account, balance in told]
    row += [EMPTY] * ((1 << (len(row) - 1).bit_length()) - len(row))
    rows = [tuple(row)]
    while len(rows[-1]) > 1:
        below = rows[-1]
        rows.append(tuple(joined(*pair) for pair in zip(below[::2], below[1::2], strict=True)))
    return SumTree(places, tuple(rows))


def leaf(account: str, balance: int) -> Node:
    """An account's own node."""
    return Node(sha256(_LEAF + account.encode() + _bytes(account, balance)).digest(), balance)


def joined(left: Node, right: Node) -> Node:
    """The node above two, which commits to either's hash and sum."""
    told = b"".join(node.hash + _bytes("a node", node.sum) for node in (left, right))
    total = left.sum + right.sum
    _bytes("a node above two", total)
    return Node(sha256(_INNER + told).digest(), total)


def _bytes(whose: str, amount: int) -> bytes:
    if not 0 <= amount < 1 << 8 * SUM_BYTES:
        raise _bad(whose, f"a sum from 0 to 2^{8 * SUM_BYTES} - 1", amount)
    return amount.to_bytes(SUM_BYTES, "big")


def _bad(whose: str, expected: str, found: object) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source=whose, expected=expected, found=str(found))
    )
