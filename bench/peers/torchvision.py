"""torchvision's decoder and its transforms on tensors, in a torch DataLoader."""

from fastlt.bench.peers._plain import batches_of

NEEDS = "torchvision"
batches = batches_of("torchvision")
