"""torchcodec's decoder, to which torchvision's moved, and torchvision's transforms, in a torch DataLoader."""

from fastlt.bench.peers._plain import batches_of

NEEDS = "torchcodec"
batches = batches_of("torchcodec")
