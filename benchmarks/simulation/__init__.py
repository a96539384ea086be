"""A simulation of a pool under a load: how well policies balance. No sockets; time is a number.

`workloads` says what comes and what the workers are like, `policies` and `pooled` decide where it
goes (`pooled` by the real `app.balancing.Pool`), `cluster` lets time pass and does the work,
`measures` says how it went, `experiments` combine them, and `report` and `picture` tell of it.
Several replicas: `arbiter` and `apart` are balancers of many, `network` is between them, and
`replicas`, `replicas_report` and `replicas_picture` compare them and tell of it.
"""
