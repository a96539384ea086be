"""The kill-and-restart scenario, on this machine, with real processes, its load and its pictures.

`run.run` is the way in; the CLI calls it. Each of its parts is a process of its own, so that none
disturbs another's times: five workers, the balancer with a recorder (`balancer`, `recorder`), and
this one with the load (`load`), the faults (`stage`) and the screen (`screen`). All read the same
clock, `time.monotonic`, which is the machine's. What was recorded is measured afterwards by pure
functions (`analysis`), held against the limits (`criteria`), and written up (`plot`, `report`).
"""
