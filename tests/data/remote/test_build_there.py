"""A build can be written to an address: whole or not at all, and after a stop it goes on."""

import fsspec
import pytest
from made_sources import ListSource, counted

from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.remote import publish, transport
from fastlt.data.remote.publish import aside
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError


@pytest.fixture
def there():
    """The address of an empty place in memory: an object store without a server."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield "memory://bucket/set"
    memory.store.clear()


def files_there():
    prefix = "/bucket/set/"
    return {name.removeprefix(prefix): file.getvalue() for name, file in fsspec.filesystem("memory").store.items()}


def files_here(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def built(out, **options):
    return build(counted([9, 9]), out, val=0.2, shard_mb=0.003, workers=1, **options)


def test_the_same_bytes_as_in_a_folder_and_nothing_is_left_here(there, tmp_path):
    report = built(there)
    built(tmp_path / "here")
    assert files_there() == files_here(tmp_path / "here")
    assert not aside(report.out).exists()
    with ShardSet(f"{there}/train") as remote, ShardSet(tmp_path / "here/train") as local:
        assert remote.ids(range(len(remote))) == local.ids(range(len(local)))


def test_until_it_is_whole_nobody_takes_it_for_a_set(there, monkeypatch):
    fail_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        built(there)
    with pytest.raises(UserError, match="the build of memory://bucket/set/train is not finished"):
        ShardSet(f"{there}/train")


def fail_after(monkeypatch, uploads):
    """Ctrl-C before one more file; the list of what was uploaded."""
    upload, done = transport.upload, []

    def stopping(local, address):
        if len(done) == uploads:
            raise KeyboardInterrupt
        upload(local, address)
        done.append(address.name)

    monkeypatch.setattr(transport, "upload", stopping)
    return done


@pytest.mark.parametrize("uploads", range(1, 8))
def test_after_a_stop_it_goes_on_and_ends_with_the_same_bytes(there, tmp_path, monkeypatch, uploads):
    with monkeypatch.context() as patch:
        fail_after(patch, uploads)
        with pytest.raises(KeyboardInterrupt):
            built(there)
    with monkeypatch.context() as patch:
        again = fail_after(patch, 99)
        built(there)
    built(tmp_path / "here")
    assert files_there() == files_here(tmp_path / "here")
    shards = sum(name.endswith(".h5") for name in files_there())
    assert sum(name.endswith(".h5") for name in again) == shards - min(uploads - 1, shards)


def test_the_same_build_again_uploads_nothing(there, monkeypatch):
    first = built(there)
    done = fail_after(monkeypatch, 0)
    again = built(there)
    assert again.splits == first.splits and done == []


def test_another_build_is_refused_before_any_work_and_replaced_if_asked(there, tmp_path):
    built(there)
    before = files_there()
    with pytest.raises(UserError, match="memory://bucket/set/train holds another build; choose another address or"):
        built(there, seed=3)
    assert files_there() == before
    built(there, seed=3, overwrite=True)
    built(tmp_path / "here", seed=3)
    assert files_there() == files_here(tmp_path / "here")


def test_nothing_of_a_larger_build_stays_where_a_smaller_one_takes_its_place(there, tmp_path):
    sources = [ListSource({"train": [*counted([9, 9]).items("train"), *bad]}, classes=2) for bad in ([BROKEN], [])]
    build(sources[0], there, shard_mb=0.001, workers=1)
    assert "bad-images.txt" in files_there()
    for out, overwrite in ((there, True), (tmp_path / "here", False)):
        build(sources[1], out, shard_mb=0.01, workers=1, overwrite=overwrite)
    assert files_there() == files_here(tmp_path / "here")


BROKEN = Item("broken.png", b"broken", (0,))


def test_a_damaged_set_can_be_replaced(there, tmp_path):
    built(there)
    with fsspec.open(f"{there}/train/dataset.json", "wb") as file:
        file.write(b"{}")
    with pytest.raises(UserError, match="train/dataset.json was not written by"):
        built(there)
    built(there, overwrite=True)
    built(tmp_path / "here")
    assert files_there() == files_here(tmp_path / "here")


def test_while_it_is_uploaded_no_other_build_takes_what_lies_aside(there, tmp_path, monkeypatch):
    upload = transport.upload

    def slowly(local, address):
        if address.name == "shard-00001.h5":
            with pytest.raises(UserError, match="another build writes to"):
                built(there, seed=3)
        upload(local, address)

    monkeypatch.setattr(transport, "upload", slowly)
    built(there)
    built(tmp_path / "here")
    assert files_there() == files_here(tmp_path / "here")


def test_what_is_left_aside_of_another_build_is_in_nobodys_way(there, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            built(there, seed=3)
    built(there)
    built(tmp_path / "here")
    assert files_there() == files_here(tmp_path / "here")


def test_a_kill_between_the_last_two_steps_leaves_nothing_in_the_end(there, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish, "tidy", killed)
        with pytest.raises(KeyboardInterrupt):
            built(there)
    report = built(there)
    built(tmp_path / "here")
    assert files_there() == files_here(tmp_path / "here") and not aside(report.out).exists()


def test_a_place_that_takes_no_files_is_one_line_before_any_work(served, monkeypatch):
    address, faults = served
    with pytest.raises(UserError, match=r"http.*cannot be written: .*; ") as found:
        built(address.replace("/set", "/other"))
    assert "\n" not in str(found.value)
