"""A pass over many accounts by their rows, not one account after another."""
