"""The one deterministic state machine: commands in, events out."""
