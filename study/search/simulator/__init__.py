"""A search without training: the real advisor, recorded learning curves, simulated workers and time."""
