"""Simulated venues: seeded histories of every command, checked after each for all that must hold.

Nothing here decides anything: it makes requests, valid and mad, and looks for what should not be.
"""
