"""Rulebooks whose numbers follow the market: signals, announced changes, dated rows.

A dynamic rulebook wraps another one. It never margins anything itself: each day it looks at what
was observed, announces changes with their notice, and writes them into the wrapped rulebook as
rows with a day. What margins is always a plain rulebook, adopted by a journaled command.
"""
