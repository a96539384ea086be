"""The balancer itself, without I/O: which endpoint gets which request, and when.

Nothing here awaits, opens a socket or reads a clock: `now` is an argument, in seconds of any
monotonic clock. Everything runs in one thread. `Pool` is the only writer of counts, phases and
the queue; the other modules are its parts and the words it speaks.
"""
