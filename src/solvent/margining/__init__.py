"""Requirements from a rulebook: pure functions of positions, risk arrays and collateral."""
