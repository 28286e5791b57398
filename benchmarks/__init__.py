"""What Coldhouse costs, measured beside what a user would take instead: ``python -m benchmarks --help``."""
