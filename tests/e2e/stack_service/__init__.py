"""The smallest thing that the local stack can supervise: a service process that needs nothing of the messaging kernel."""
