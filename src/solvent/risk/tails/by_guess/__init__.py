"""Expected shortfalls by a bound that is guessed once and held to the end."""
