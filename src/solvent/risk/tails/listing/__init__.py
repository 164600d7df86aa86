"""Lists of the totals that tails may need, compiled."""
