"""Side-by-side measurements: ``python -m benchmarks [--quick] [--write] [name ...]``. See ``__main__``."""
