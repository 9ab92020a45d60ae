"""What is timed, and the plain PyTorch baseline it is timed against. Installed as `fastlt.bench`."""
