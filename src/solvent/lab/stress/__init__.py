"""Stress: told scenarios on a book or a venue, and the nearest move that breaks it."""
