"""The watch over every account: who holds what, who cannot pay, and who is proved safe till when.

Nothing here does input or output or reads a clock: times are told by whoever calls.
"""
