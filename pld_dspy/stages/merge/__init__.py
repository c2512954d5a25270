"""Makes rules from clusters of traces."""
