"""CIFAR's pickled batches: read from a folder or an archive, and nothing but arrays and text is unpickled."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from fastlt.data.longtail import Recipe
from fastlt.data.plan import make_plans
from fastlt.data.sources import _pickles, open_source
from fastlt.errors import UserError

NAMES = [b"airplane", b"automobile", b"bird"]


def batch(seed, key, rows=6):
    pixels = (np.arange(rows * 3072) * (seed + 7) % 251).astype(np.uint8).reshape(rows, 3072)
    return {b"data": pixels, key: [(seed + row) % 3 for row in range(rows)]}


def batches(name):
    """File contents of a tiny data set, pickled as the published one is: protocol 2, byte strings as keys."""
    if name == "cifar10":
        files = {f"data_batch_{i}": batch(i, b"labels") for i in range(1, 6)} | {"test_batch": batch(9, b"labels")}
        files["batches.meta"] = {b"label_names": NAMES}
    else:
        fine = {split: batch(seed, b"fine_labels") for seed, split in enumerate(("train", "test"))}
        files = {split: {**content, b"coarse_labels": [0] * 6} for split, content in fine.items()}
        files["meta"] = {b"fine_label_names": NAMES, b"coarse_label_names": [b"things"]}
    return {file: pickle.dumps(content, protocol=2) for file, content in files.items()}


def write(place, files, kind, member=None):
    """A folder, or an archive of it with one more member."""
    if kind == "folder":
        place.mkdir()
        for name, data in files.items():
            (place / name).write_bytes(data)
        return place
    path = place.with_suffix(f".tar.{kind}")
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"cifar-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if member is not None:
            archive.addfile(member)
    return path


@pytest.mark.parametrize("kind", ["folder", "gz", "xz"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_pictures_and_labels(tmp_path, name, kind):
    source = open_source(name, write(tmp_path / "made", batches(name), kind))
    assert source.classes == ["airplane", "automobile", "bird"]
    items = list(source.items("train"))
    first = batch(1 if name == "cifar10" else 0, b"labels")
    assert len(items) == (30 if name == "cifar10" else 6) and len({item.id for item in items}) == len(items)
    for row in range(6):
        assert np.array_equal(items[row].image.transpose(2, 0, 1).reshape(-1), first[b"data"][row])
        assert items[row].image.dtype == np.uint8 and items[row].labels == (first[b"labels"][row],)
    assert len(list(source.items("test"))) == 6


class Calls:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "evil", [Calls(os.system, "touch owned"), Calls(eval, "open('owned', 'w')"), Calls(getattr, 1, "x")]
)
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, monkeypatch, evil):
    monkeypatch.chdir(tmp_path)
    files = batches("cifar10") | {"data_batch_3": pickle.dumps({b"data": evil, b"labels": []}, protocol=2)}
    with pytest.raises(UserError, match="data_batch_3 is refused: it asks for"):
        open_source("cifar10", write(tmp_path / "made", files, "folder"))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_arrays_pickled_by_old_and_new_numpy(module):
    data = pickle.dumps({"x": np.arange(3)}, protocol=2)
    old, new = b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"
    data = data.replace(new, old) if module == "numpy.core.multiarray" else data.replace(old, new)
    assert module.encode() in data
    assert np.array_equal(_pickles.load(data, "made")["x"], np.arange(3))


@pytest.mark.parametrize("codec", ["zlib_codec", "rot13"])
def test_text_is_encoded_as_latin1_only(codec):
    import codecs

    with pytest.raises(UserError, match="encodes text"):
        _pickles.load(pickle.dumps({"x": Calls(codecs.encode, "a", codec)}, protocol=2), "made")


@pytest.mark.parametrize("content", [[1, 2], {b"data": np.zeros((2, 7), np.uint8), b"labels": [0, 0]}, {b"labels": [0]},
                                     {b"data": np.zeros((1, 3072), np.uint8), b"labels": [3]}])  # fmt: skip
def test_other_content_is_refused(tmp_path, content):
    files = batches("cifar10") | {"test_batch": pickle.dumps(content, protocol=2)}
    with pytest.raises(UserError, match="test_batch"):
        open_source("cifar10", write(tmp_path / "made", files, "folder"))


def link():
    member = tarfile.TarInfo("cifar-batches-py/link")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


@pytest.mark.parametrize("member", [link(), tarfile.TarInfo("../up"), tarfile.TarInfo("/etc/owned")])
def test_unsafe_members_are_refused(tmp_path, member):
    with pytest.raises(UserError, match="unsafe member"):
        open_source("cifar10", write(tmp_path / "made", batches("cifar10"), "gz", member))


def test_a_truncated_archive_is_refused(tmp_path):
    path = write(tmp_path / "made", batches("cifar10"), "xz")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"made\.tar\.xz"):
        open_source("cifar10", path)


def test_a_missing_batch_is_named(tmp_path):
    files = batches("cifar10")
    del files["data_batch_4"]
    with pytest.raises(UserError, match="no data_batch_4"):
        open_source("cifar10", write(tmp_path / "made", files, "folder"))


def test_the_real_cifar10_with_imbalance_100(real_data):
    source = open_source("cifar10", real_data("cifar-10-batches-py.tar.xz"))
    assert source.classes[0] == "airplane" and source.classes[9] == "truck"
    plans, warnings = make_plans(source, Recipe("exponential", 100), seed=0, val=None)
    assert {plan.split: len(plan) for plan in plans} == {"train": 12406, "test": 10000} and not warnings
    labels = [item.labels[0] for item in plans[0].items(source)]
    assert np.bincount(labels).tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
