"""CIFAR-10: 50,000 training and 10,000 test pictures of 10 classes."""

from fastlt.data.sources._cifar import Cifar


class Source(Cifar):
    name = "cifar10"
    batches = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
    meta = ("batches.meta", "label_names")
    label_key = "labels"
