"""The admin port: health of the balancer, and what it sees of its workers, for people and tools."""
