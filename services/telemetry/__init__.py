"""What the service tells of itself: metrics for Prometheus, traces, a line per call."""
