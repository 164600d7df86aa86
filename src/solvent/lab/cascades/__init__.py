"""Cascades: a venue's own engine in a market of agents whose prices its liquidations move."""
