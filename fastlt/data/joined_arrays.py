"""The small arrays of all shards of a set, joined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastlt.data import layout
from fastlt.data.labels import Empty


def joined_arrays(
    shards: list[dict], read: Callable[[int], dict[str, np.ndarray]], empty: Empty = np.empty
) -> dict[str, np.ndarray]:
    """Of N records in S shards with L label entries, by name; `read` gives the arrays of a shard as they are stored.

    offset int64 [N + S], from the start of the file: one more entry a shard than it has records; crc32 uint32 [N];
    shape int32 [2 N], height and width of a record side by side; label_indptr int64 [N + 1], label_index int32 [L],
    label_value int8 [L]. They are filled shard by shard, so that no more than those of one shard are held twice.
    `empty` makes room for them.
    """
    records = sum(shard["records"] for shard in shards)
    entries = sum(shard["arrays"]["label_index"]["length"] for shard in shards)
    joined = {
        "offset": empty(records + len(shards), np.int64),
        "crc32": empty(records, np.uint32),
        "shape": empty(2 * records, np.int32),
        "label_indptr": empty(records + 1, np.int64),
        "label_index": empty(entries, np.int32),
        "label_value": empty(entries, np.int8),
    }
    joined["label_indptr"][0] = row = entry = 0
    for number, shard in enumerate(shards):
        arrays = read(number)
        end, last = row + shard["records"], entry + len(arrays["label_index"])
        joined["offset"][row + number : end + number + 1] = arrays["offset"] + shard["arrays"][layout.BYTES]["at"]
        joined["crc32"][row:end] = arrays["crc32"]
        joined["shape"][2 * row : 2 * end : 2] = arrays["height"]
        joined["shape"][2 * row + 1 : 2 * end : 2] = arrays["width"]
        joined["label_indptr"][row + 1 : end + 1] = arrays["label_indptr"][1:] + entry
        joined["label_index"][entry:last] = arrays["label_index"]
        joined["label_value"][entry:last] = arrays["label_value"]
        row, entry = end, last
    return joined
