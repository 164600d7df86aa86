"""Slow, exact twins of the fast code, written from the formulas; they share none of it."""
