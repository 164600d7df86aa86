"""Eight rows, and eight accounts, at a time: what the pass by rows does in vector registers."""
