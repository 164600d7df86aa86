"""Contract terms and symbols. No prices inside: what an instrument pays, never what it is worth."""

from solvent.instruments.contract import Contract, Kind, OptionType
from solvent.instruments.sheet import Instrument, Payoff, Specification, Term, term_sheet
from solvent.instruments.symbols import parse_symbol
from solvent.instruments.universe import Universe, frozen

__all__ = [
    "Contract",
    "Instrument",
    "Kind",
    "OptionType",
    "Payoff",
    "Specification",
    "Term",
    "Universe",
    "frozen",
    "parse_symbol",
    "term_sheet",
]
