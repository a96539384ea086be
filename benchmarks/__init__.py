"""What things cost, as ratios measured side by side in one run: `make bench`.

Nothing in `app` imports this package; it starts the balancer as any user would, by its command
line, and only the benchmarks of the core (`picking`, `queueing`) call the core directly.
"""
