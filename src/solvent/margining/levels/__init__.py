"""Rulebooks as formulas at levels: columns of positions, contracts, assets, pools and accounts.

A rulebook of this kind reads like a spreadsheet: at each level it names columns, each a formula
over that level's other columns, those of the level above it, and sums over the level below. It runs
two ways that share no arithmetic: `rows` (one account, rationals) and `columns` (whole books,
arrays).
"""
