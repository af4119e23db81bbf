"""What compression gives on real models: `python -m tests.benchmarks.compression [--write docs/compression.md]`.

models   the sources, trained here once (build/compression), and their data
by_hand  what a user gets from each library alone
recipes  what edgeward is told to do
rows     what is promised, measured
"""
