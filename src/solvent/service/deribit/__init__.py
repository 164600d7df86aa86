"""Deribit's JSON-RPC names for what a client of Deribit asks about risk, over HTTP and WebSocket.

Method names, field names and error codes are Deribit's, so that clients that exist already work;
numbers are the engine's own. A field that the venue does not have is left out, never made up.
"""
