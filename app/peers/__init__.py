"""Several replicas that act as one balancer: one decides, the others ask it.

`messages` is what they say to each other, `wire` how it stands on a connection, `record` what is in
the Lease that elects the one who decides. `follower` is the side that asks, `arbiter`, with its
`books`, the side that decides, `replica` says which of the two this one is. All of these are
sans-I/O: `link` and `meeting` have the sockets, `store` the Kubernetes API, `runner` the clock.
Outside Kubernetes, and with one replica alone, nothing of it runs.
"""
