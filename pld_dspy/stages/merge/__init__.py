"""Rules from clusters of traces."""
