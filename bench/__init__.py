"""Measurements, as ratios in one run: against the machine's own limits and against named peers."""
