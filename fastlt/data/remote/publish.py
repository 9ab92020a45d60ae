"""Puts a finished build to an address: shards first, each dataset.json last, so that nobody reads half a set.

A build for an address lies aside on this machine until everything is there. What was uploaded is noted, so that after
a stop the same command goes on after the last whole shard. Two machines must not build to one address at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from fastlt.address import Address
from fastlt.data import manifest
from fastlt.data.remote import transport
from fastlt.data.remote.cache import Cache
from fastlt.errors import UserError
from fastlt.files import write_text

UPLOADED = "uploaded.json"  # file below the address -> SHA-256


def aside(out: Address) -> Path:
    """Where a build for `out` lies meanwhile: beside the cache, and not bounded as it is."""
    cache = Cache.of_this_host().folder
    return cache.with_name(f"{cache.name}-builds") / hashlib.sha256(str(out).encode()).hexdigest()[:16]


def published(out: Address, fingerprints: dict[str, str], overwrite: bool) -> dict[str, dict] | None:
    """The manifests at `out` if they are of this very build (split -> fingerprint), else None.

    Raises UserError if there is another build and it is not to be overwritten.
    """
    if overwrite:
        return None
    found = {split: manifest.read_manifest(out / split) for split in manifest.SPLITS if _has_set(out / split)}
    if {split: values["fingerprint"] for split, values in found.items()} == fingerprints:
        return found
    strangers = [split for split, values in found.items() if values["fingerprint"] != fingerprints.get(split)]
    if strangers:
        raise UserError(f"{out / strangers[0]} holds another build; choose another address or overwrite it")
    return None


def begin(out: Address, folder: Path) -> None:
    """Says at the address that a build is on its way; so a place that takes no files is known before hours of work."""
    mark = folder / "begun"
    write_text(mark, "{}\n")
    transport.upload(str(mark), out / "train" / manifest.JOURNAL)


def publish(folder: Path, out: Address, splits: dict[str, dict]) -> None:
    """Uploads the build in `folder` with these manifests, in place of what is there, and removes it here."""
    before = [split for split in manifest.SPLITS if _has_set(out / split)]
    left = {name for split in before for name in _shards_of(out, split)}
    for split in before:
        if split not in splits or _text(out / split) != (folder / split / manifest.NAME).read_bytes():
            transport.remove(out / split / manifest.NAME)  # it is no whole set any more
    done = _noted(folder)
    for split, values in splits.items():
        for shard in values["shards"]:
            _upload_shard(folder, out, split, shard, done)
    for name in sorted(left - {f"{split}/{shard['file']}" for split in splits for shard in splits[split]["shards"]}):
        transport.remove(out / name)
    for name in manifest.LISTS:
        _upload_list(folder / name, out / name)
    for split in reversed(splits):  # train, without which there is no data set, last
        transport.upload(str(folder / split / manifest.NAME), out / split / manifest.NAME)
    tidy(folder, out)


def tidy(folder: Path, out: Address) -> None:
    """Removes what only an unfinished build needs."""
    if folder.exists():
        transport.remove(out / "train" / manifest.JOURNAL)
        shutil.rmtree(folder)


def _upload_shard(folder: Path, out: Address, split: str, shard: dict, done: dict[str, str]) -> None:
    name, target = f"{split}/{shard['file']}", out / split / shard["file"]
    if done.get(name) == shard["sha256"] and transport.size(target) == shard["bytes"]:
        return
    transport.upload(str(folder / name), target)
    there = transport.size(target)
    if there != shard["bytes"]:
        raise UserError(f"{target} has {there} bytes where {shard['bytes']} were uploaded; run the same command again")
    done[name] = shard["sha256"]
    write_text(folder / UPLOADED, json.dumps(done))


def _upload_list(path: Path, target: Address) -> None:
    """In place of one that an earlier build left."""
    if path.exists():
        transport.upload(str(path), target)
    elif target.exists():
        transport.remove(target)


def _shards_of(out: Address, split: str) -> list[str]:
    """Of the set that is to be replaced, as far as it can be read."""
    try:
        return [f"{split}/{shard['file']}" for shard in manifest.read_manifest(out / split)["shards"]]
    except UserError:
        return []


def _noted(folder: Path) -> dict[str, str]:
    path = folder / UPLOADED
    return json.loads(path.read_text()) if os.path.exists(path) else {}


def _has_set(folder: Address) -> bool:
    return (folder / manifest.NAME).exists()


def _text(folder: Address) -> bytes:
    return transport.read(folder / manifest.NAME, 0, manifest.LARGEST)
