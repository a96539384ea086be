"""Where the workers are: snapshots of endpoints for the pool, whenever they change.

Called by `app.runtime`, one discovery a pool; each calls back with the whole set, never with a
difference, so that nothing can drift apart. `static` knows the endpoints of the pool's file.
"""
