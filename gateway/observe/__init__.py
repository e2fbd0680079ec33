"""What the gateway tells of itself: metrics for Prometheus, structured logs, and probes of its own doors."""
