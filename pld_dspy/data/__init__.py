"""Examples, splits, tables, tasks and the benchmarks."""
