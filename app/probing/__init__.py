"""Active health: connects and HTTP probes, beside what the traffic tells."""
