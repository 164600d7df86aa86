"""What lets anyone check the venue: a tree of what it owes, and proofs that one is in it."""

from solvent.proofs.liabilities import Node, Proof, SumTree, liabilities

__all__ = ["Node", "Proof", "SumTree", "liabilities"]
