"""Tests. Each process of pytest computes on one core: several share the machine, and threads that wait for a core spin."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read once, when numpy and torch are imported
    os.environ.setdefault(_name, "1")
