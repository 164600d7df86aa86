"""Balances and positions in whole numbers; the only code that changes money."""
