"""CIFAR-100: 50,000 training and 10,000 test pictures of 100 fine classes."""

from fastlt.data.sources._cifar import Cifar


class Source(Cifar):
    name = "cifar100"
    batches = {"train": ["train"], "test": ["test"]}
    meta = ("meta", "fine_label_names")
    label_key = "fine_labels"
