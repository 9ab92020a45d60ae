"""The training loop and its parts: optimiser, schedule, precision, averaged weights, checkpoints, ranks."""
