"""The pages: what a venue or a desk sees of an engine that runs, live.

`crowd`, `gaps`, `hub` and the view-models compute from immutable pieces that were read between two
batches, so that the engine's thread never waits for a page; `pages` draws them and decides nothing.
"""
