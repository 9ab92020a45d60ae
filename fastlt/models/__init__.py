"""Networks: timm's and our own CIFAR ResNets, their initial weights, and what of them is frozen or synchronised."""
