"""Frozen commands and events: all that can be asked of the engine, and all that can come of it."""
