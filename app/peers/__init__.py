"""Several replicas that act as one balancer: one decides, the others ask it.

`messages` is what they say to each other, `record` what stands in the Lease that elects the one who
decides. `desk` is the side that asks, `arbiter` the side that decides, `replica` says which of the
two this one is. All of these are sans-I/O: `link` has the sockets, `runner` joins them with the
Kubernetes API and the clock. Outside Kubernetes, and with one replica alone, nothing of it runs.
"""
