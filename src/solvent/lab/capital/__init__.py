"""Saving capital: who causes a requirement, how well it is used, and what would lower it."""
