"""Solvent held to worked cases with expected numbers: which pass, which fail, which are unknown."""

from solvent.conform.run import Conformance, FileResult, conform

__all__ = ["Conformance", "FileResult", "conform"]
