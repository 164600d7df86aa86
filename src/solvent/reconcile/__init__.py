"""Reconciliation: our books against an outside statement, and the breaks that are found."""
