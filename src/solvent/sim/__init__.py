"""Simulated venues: seeded histories over every command, with all that must hold checked after each.

Nothing here decides anything: it makes requests, valid and mad, and looks for what should not be.
"""
