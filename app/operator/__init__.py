"""The role `leastwise operator`: says in the status of each WorkerPool what became of it.

Requests do not need it: the balancers read the WorkerPools themselves, and go on without. It writes
`workerpools/status` and Events, and nothing else of anybody's objects: no annotation, no finalizer.

- `watching`: kopf, which tells what happens to WorkerPools, Services and EndpointSlices.
- `cache`: the objects that are known from it.
- `replicas`: the balancers' pods, and what they say on their admin ports.
- `judging`: the status that follows from all this; pure.
- `telling`: Events, a few for many alike; decides only.
- `writing`: what goes to the API server.
- `operating`: the periodic task that joins them. `process`: the process around it.
- `installing`: `leastwise crd`.
"""
