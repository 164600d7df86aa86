"""One's own account at a venue: what its API answers, read into Solvent's types, and fetched."""
