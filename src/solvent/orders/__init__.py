"""Limit order books: what rests, what meets, what waits. Whole ticks and lots; nobody's money."""
