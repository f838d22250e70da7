"""Benchmarks: they start runs, read the runs' records and write one results file."""
