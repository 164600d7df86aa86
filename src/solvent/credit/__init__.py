"""Counterparties on credit: agreements, lines, exposure, and what lending to them costs.

Pure: money in whole millionths of a dollar, probabilities as exact fractions where they decide what
is called, float64 where they are statistics. Nothing here changes an account; `credit_run` tells an
engine what follows from it.
"""
