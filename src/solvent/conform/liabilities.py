"""Cases of proofs of solvency: the tree of liabilities of a few users, to the byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from solvent.conform.case import Case
from solvent.proofs import liabilities


def cases(path: Path) -> Iterator[Case]:
    """`merkle_sum_tree_vector.json`: every leaf, its proof against the root told, and the root."""
    file = json.loads(path.read_text("utf-8"))
    tree = liabilities((user, balance) for user, balance in file["users"])
    whole = Case("root")
    whole.expect_text("hash", tree.root.hash.hex(), file["root_hash"])
    whole.expect("sum", tree.root.sum, file["root_sum"], 0.0)
    yield whole
    names = {place: user for user, place in tree.places.items()}
    for place, expected in enumerate(file["leaf_hashes"]):
        case = Case(names.get(place, f"padding {place}"))
        case.expect_text("hash", tree.rows[0][place].hash.hex(), expected)
        if place in names:
            proof = tree.proof(names[place])
            case.expect_text("proof leads to", proof.root().hash.hex(), file["root_hash"])
            understated = replace(proof, balance=max(0, proof.balance - 1))
            case.expect_text("less than is owed", str(understated.holds(tree.root)), "False")
        yield case
