"""Streams over a WebSocket: what happens, by channel, in the order of the journal.

What happens to orders, fills, positions, calls and liquidations comes as messages whose `sequence`
is the journal's own, so a client that comes back says after which one it wants to go on, also after
a restart. Prices, arrays and where accounts stand are told as they are, the newest alone.
"""
