"""One process that serves a venue: the engine in its own thread, HTTP around it.

`venue` runs the engine; `app` makes the HTTP application of routers in `routes`; `settings` says
how; `callers` says who asks and is the one place where that is decided.
"""
