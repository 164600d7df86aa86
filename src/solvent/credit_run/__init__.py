"""A lender's counterparties run through markets on an engine: calls, cures, cuts, close-outs."""
