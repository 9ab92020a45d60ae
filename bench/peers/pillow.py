"""Pillow in a torch DataLoader, as most training scripts have it."""

from fastlt.bench.peers._plain import batches_of

NEEDS = "PIL"
batches = batches_of("pillow")
