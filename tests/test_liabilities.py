"""The tree of liabilities: what is in it, and what cannot be hidden from it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.errors import BadInput
from solvent.proofs import Node, liabilities
from solvent.proofs.liabilities import EMPTY, joined

BALANCES = st.dictionaries(st.text(max_size=6), st.integers(0, 2**100), min_size=1, max_size=20)


def twin(told: list[tuple[str, int]]) -> tuple[bytes, int]:
    """The root by its definition, from the top down."""
    size = 1
    while size < len(told):
        size *= 2

    def below(start: int, width: int) -> tuple[bytes, int]:
        if width == 1:
            if start >= len(told):
                return bytes(32), 0
            user, balance = told[start]
            return sha256(b"\0" + user.encode() + balance.to_bytes(16, "big")).digest(), balance
        left, left_sum = below(start, width // 2)
        right, right_sum = below(start + width // 2, width // 2)
        text = left + left_sum.to_bytes(16, "big") + right + right_sum.to_bytes(16, "big")
        return sha256(b"\1" + text).digest(), left_sum + right_sum

    return below(0, size)


@given(BALANCES)
def test_everyone_can_check_their_own(balances: dict[str, int]) -> None:
    told = list(balances.items())
    tree = liabilities(told)
    assert (tree.root.hash, tree.root.sum) == twin(told)
    assert tree.root.sum == sum(balances.values())
    for account in balances:
        assert tree.proof(account).holds(tree.root)


@given(BALANCES, st.data())
def test_nothing_else_can_be_proved(balances: dict[str, int], data: st.DataObject) -> None:
    tree = liabilities(balances.items())
    proof = tree.proof(data.draw(st.sampled_from(sorted(balances))))
    assert not replace(proof, balance=proof.balance + 1).holds(tree.root)
    assert not replace(proof, account=proof.account + "x").holds(tree.root)
    assert not replace(proof, index=proof.index + (1 << len(proof.beside))).holds(tree.root)
    assert not proof.holds(Node(tree.root.hash, tree.root.sum + 1))
    if proof.beside:
        level = data.draw(st.integers(0, len(proof.beside) - 1))
        other = proof.beside[level]
        shifted = (*proof.beside[:level], Node(other.hash, other.sum + 1),
                   *proof.beside[level + 1 :])  # fmt: skip
        assert not replace(proof, beside=shifted).holds(tree.root)
        below_zero = (*proof.beside[:level], Node(other.hash, -1), *proof.beside[level + 1 :])
        assert not replace(proof, beside=below_zero).holds(tree.root)


def test_sums_cannot_move_between_children() -> None:
    """The weakness of a tree that hashes only the total: here the two roots differ."""
    left, right = liabilities([("a", 5)]).root, liabilities([("b", 7)]).root
    moved = joined(Node(left.hash, 6), Node(right.hash, 6))
    assert moved.sum == joined(left, right).sum
    assert moved.hash != joined(left, right).hash


def test_bad_input() -> None:
    with pytest.raises(BadInput, match=r"a: expected a sum from 0 .* found -1"):
        liabilities([("a", -1)])
    with pytest.raises(BadInput, match="a sum from 0"):
        liabilities([("a", 1 << 128)])
    with pytest.raises(BadInput, match="a sum from 0"):
        liabilities([("a", (1 << 128) - 1), ("b", 1)])
    with pytest.raises(BadInput, match="a: expected each account once"):
        liabilities([("a", 1), ("b", 1), ("a", 2)])
    with pytest.raises(BadInput, match="at least one account"):
        liabilities([])
    with pytest.raises(BadInput, match="b: expected an account of the tree"):
        liabilities([("a", 1)]).proof("b")


def test_one_account_is_the_root() -> None:
    tree = liabilities([("a", 3)])
    assert tree.root == tree.rows[0][0] != EMPTY
    assert tree.proof("a").beside == ()
    assert tree.proof("a").holds(tree.root)
