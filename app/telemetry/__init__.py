"""What the balancer remembers of requests and events, for people and machines to look at."""
