"""Where the workers are: snapshots of endpoints for the pool, whenever they change.

Called by `app.runtime`, one discovery a pool; each calls back with the whole set, never with a
difference, so that nothing can drift apart.

- `following`: the source that the pool's spec names, and how another takes its place.
- `static`: the endpoints of the pool's file.
- `kubernetes`: the pods of a Service, by `list_watch` (what to ask when), `api_source` and
  `json_lines` (asking over HTTP), `credentials` (as whom) and `slices` (what it means, pure).
  `source` has what they agree on. kubernetes_asyncio is imported by `credentials`, when needed.
- `leases`: the Lease by which replicas find each other. Its requests are `api_requests`', as those
  of `api_source` are.
"""
