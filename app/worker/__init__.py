"""The reference worker: a small HTTP service that runs long tasks, as a user's worker would.

It is a stranger to the balancer and imports nothing else of `app`. It shows what a good worker
does: it counts what it runs and refuses beyond its cap, stops what nobody waits for any more, and
ends what it began before it exits. `server.run` is the way in; the CLI calls it.
"""
