"""Whether the values of a manifest are of their types and ranges, whoever wrote them."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable

import numpy as np

from fastlt.data import layout

MOST = 1 << 40  # images of a class or a data set
FILE = re.compile(r"shard-([0-9]{5,12})\.h5")  # no folder in it, so it leads nowhere else
SHA256 = re.compile(r"[0-9a-f]{64}")
WIDTH = {**{name: np.dtype(kind).itemsize for name, kind in layout.ARRAYS.items()}, layout.BYTES: 1}


class Fault(Exception):
    """What is wrong in a manifest."""


def check_set(values: dict) -> None:
    """Of dataset.json. Raises Fault for the first value that `fastlt build` cannot have written."""
    for key in ("name", "fingerprint"):
        _need(isinstance(values.get(key), str), key, values)
    _need(values.get("split") in ("train", "val", "test"), "split", values)
    _need(_all(values.get("classes"), lambda name: isinstance(name, str)), "classes", values)
    _need(type(values.get("multi_label")) is bool, "multi_label", values)
    _need(_integer(values.get("label_default"), -1, 0), "label_default", values)
    _need(values.get("encoding") in ("raw", "encoded"), "encoding", values)
    for key in ("counts", "training_counts"):
        _need(_all(values.get(key), _number) and len(values[key]) == len(values["classes"]), key, values)
    _need(values["split"] != "train" or values["counts"] == values["training_counts"], "training_counts", values)
    groups = values.get("groups")
    _need(isinstance(groups, dict) and _all([*groups.values()], _limits), "groups", values)
    for key in ("source", "recipe", "treatment"):
        _need(isinstance(values.get(key, {}), dict), key, values)
    _need(_looked_at(values.get("checks", {})), "checks", values)
    _need(_partial_sets(values.get("attributes", {}), len(values["classes"])), "attributes", values)
    _check_stored(values)
    records = sum(shard["records"] for shard in values["shards"])
    _need(len(values["shards"]) > 0 and records <= MOST, "shards", values)
    _need(values.get("records", records) == records, "records", values)


def check_journal(values: dict) -> None:
    """Of build.json. Raises Fault."""
    _need(isinstance(values.get("fingerprint"), str), "fingerprint", values)
    _need(values.get("counts") == [] or _all(values.get("counts"), _number), "counts", values)
    _check_stored(values)
    stored = sum(shard["records"] for shard in values["shards"])
    _need(values["done"] == stored + len(values["bad"]), "done", values)
    names = [layout.shard_name(number) for number in range(len(values["shards"]))]
    _need([shard["file"] for shard in values["shards"]] == names, "shards", values)


def shown(value: object) -> str:
    """A value in a message: short, on one line, of printable characters."""
    return ascii(reprlib.repr(value))[1:-1] if not isinstance(value, (int, float)) else f"{value!r:.40}"


def _check_stored(values: dict) -> None:
    _need(_number(values.get("done")), "done", values)
    _need(values.get("bad") == [] or _all(values.get("bad"), _two_texts), "bad", values)
    _need(isinstance(values.get("shards"), list), "shards", values)
    for shard in values["shards"]:
        _check_shard(shard)
    numbers = [int(FILE.fullmatch(shard["file"])[1]) for shard in values["shards"]]
    _need(all(a < b for a, b in zip(numbers[:-1], numbers[1:], strict=True)), "shards", values)


def _check_shard(shard: object) -> None:
    if not isinstance(shard, dict):
        raise Fault(f"the shard {shown(shard)} makes no sense")
    for key, pattern in (("file", FILE), ("sha256", SHA256)):
        _need(isinstance(shard.get(key), str) and pattern.fullmatch(shard[key]) is not None, key, shard)
    _need(_integer(shard.get("records"), 1, MOST), "records", shard)
    _need(_integer(shard.get("bytes"), 1, 1 << 62), "bytes", shard)
    arrays = shard.get("arrays")
    _need(isinstance(arrays, dict) and set(arrays) == {*layout.ARRAYS, layout.IDS, layout.BYTES}, "arrays", shard)
    inside = sorted(_place(name, place, shard) for name, place in arrays.items())
    apart = all(end <= start for (_, end), (start, _) in zip(inside[:-1], inside[1:], strict=True))
    lengths = {name: place["length"] for name, place in arrays.items()}
    records = shard["records"]
    fits = all(lengths[name] == records for name in ("crc32", "height", "width", layout.IDS))
    fits = fits and lengths["offset"] == lengths["label_indptr"] == records + 1
    if not (apart and fits and lengths["label_index"] == lengths["label_value"]):
        raise Fault(f"the arrays of {shard['file']} do not fit together")


def _place(name: str, place: object, shard: dict) -> tuple[int, int]:
    """First and last byte + 1 of an array, within its file; those of an empty array count for nothing."""
    sound = isinstance(place, dict) and all(_integer(place.get(key), 0, shard["bytes"]) for key in ("at", "length"))
    sound = sound and (name == layout.BYTES or _integer(place.get("crc32"), 0, 0xFFFFFFFF))
    sound = sound and (name != layout.IDS or _integer(place.get("width"), 1, shard["bytes"]))
    size = place["length"] * (place["width"] if name == layout.IDS else WIDTH[name]) if sound else 0
    if not sound or place["at"] + size > shard["bytes"]:
        raise Fault(f"array {name!r} of {shard['file']} does not lie in its file")
    return (place["at"], place["at"] + size) if size else (0, 0)


def _partial_sets(groups: object, classes: int) -> bool:
    """Whether these are lists of classes, by name, none empty, and no class is in two."""
    if not isinstance(groups, dict) or not all(isinstance(group, list) and group for group in groups.values()):
        return False
    members = [index for group in groups.values() for index in group]
    return all(_integer(index, 0, classes - 1) for index in members) and len(set(members)) == len(members)


def _looked_at(checks: object) -> bool:
    """Whether it says how pictures were checked. Sets that were built before this was kept say nothing."""
    if checks == {}:
        return True
    known = {"check": ("header", "decode"), "on_bad": ("fail", "skip", "transcode"), "dali": (False, True)}
    if not isinstance(checks, dict) or set(checks) != set(known) or type(checks["dali"]) is not bool:
        return False
    return all(checks[key] in choices for key, choices in known.items())


def _limits(pair: object) -> bool:
    if not isinstance(pair, list) or len(pair) != 2 or not _number(pair[0]):
        return False
    return pair[1] is None or _integer(pair[1], pair[0], MOST)


def _two_texts(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def _all(values: object, holds: Callable[[object], bool]) -> bool:
    return isinstance(values, list) and len(values) > 0 and all(map(holds, values))


def _number(value: object) -> bool:
    return _integer(value, 0, MOST)


def _integer(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _need(holds: bool, key: str, values: dict) -> None:
    if not holds:
        raise Fault(f"{key} {shown(values[key])} makes no sense" if key in values else f"{key} is missing")
