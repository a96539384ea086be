"""The proxies that leastwise is measured against, each as one would write or configure it."""
