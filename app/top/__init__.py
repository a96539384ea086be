"""`leastwise top`: the dashboard in a terminal, of this machine's balancer or of one elsewhere."""
