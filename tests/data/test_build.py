"""Building shard sets: the same bytes however it runs, and one clear line for whatever is wrong."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_sources import ListSource, counted, encoded, pixels
from PIL import Image

from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError


def files(out):
    """Every file's content by its path below `out`."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def run_python(code, **options):
    """Starts Python on `code`, which can import the made sources."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=environment, **options)


def mixed():
    """Pictures that pass through, are transcoded, and are left out, next to each other."""
    items = counted([70, 50]).items("train")
    gif = encoded(Image.fromarray(pixels(0)), "GIF")
    images = {3: gif, 40: gif, 41: b"broken", 42: gif, 90: b"GIF89a"}
    return ListSource({"train": [replace(item, image=images.get(i, item.image)) for i, item in enumerate(items)]})


class TestSameBytes:
    def test_one_worker_two_workers_and_another_executor(self, tmp_path):
        with ThreadPoolExecutor(3) as pool:
            ways = {"one": {"workers": 1}, "two": {"workers": 2}, "threads": {"executor": pool}}
            for name, how in ways.items():
                build(mixed(), tmp_path / name, val=0.2, shard_mb=0.02, **how)
        one, *others = (files(tmp_path / name) for name in ways)
        assert len(one) > 6 and all(other == one for other in others)

    def test_at_another_time(self, tmp_path):
        build(counted([3, 2]), tmp_path / "a", workers=1)
        time.sleep(1.1)  # HDF5 counts seconds
        build(counted([3, 2]), tmp_path / "b", workers=1)
        assert files(tmp_path / "a") == files(tmp_path / "b")

    @pytest.mark.parametrize("workers", [1, 2])
    def test_after_kill_9(self, tmp_path, workers):
        build(counted([60, 60]), tmp_path / "whole", val=0.1, shard_mb=0.01, workers=1)
        process = run_python(
            f"""
            import time
            from made_sources import counted
            from fastlt.data.build import build
            if __name__ == "__main__":
                build(counted([60, 60]), {str(tmp_path / "killed")!r}, val=0.1, shard_mb=0.01, workers={workers},
                      progress=lambda *_: time.sleep(0.02))
            """
        )
        third = tmp_path / "killed" / "train" / "shard-00002.h5"
        deadline = time.monotonic() + 60
        while not third.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert third.exists() and not (tmp_path / "killed" / "train" / "dataset.json").exists()
        with pytest.raises(UserError, match="is not finished; run the same"):
            ShardSet(tmp_path / "killed" / "train")
        report = build(counted([60, 60]), tmp_path / "killed", val=0.1, shard_mb=0.01, workers=1)
        assert report.kept_shards >= 2
        assert files(tmp_path / "killed") == files(tmp_path / "whole")

    def test_of_a_finished_build_that_is_run_again(self, tmp_path):
        build(counted([5, 5]), tmp_path, workers=1)
        before = files(tmp_path)
        report = build(counted([5, 5]), tmp_path, workers=1)
        assert files(tmp_path) == before and report.kept_shards == 1


class TestWhatIsBuilt:
    def test_validation_follows_the_tail_and_the_test_split_is_whole(self, tmp_path):
        source = ListSource({**counted([100, 100])._items, **counted([20, 20], "test")._items})
        report = build(source, tmp_path, Recipe("exponential", 10), val=0.2, workers=1)
        assert {split: content["counts"] for split, content in report.splits.items()} == {
            "train": [80, 8], "val": [20, 2], "test": [20, 20],
        }  # fmt: skip
        ids = {}
        for split in report.splits:
            with ShardSet(tmp_path / split) as shards:
                ids[split] = shards.ids(np.arange(len(shards)))
        assert not set(ids["train"]) & set(ids["val"])

    def test_defaults_of_the_bundled_digits_are_long_tailed(self, digits, scenes):
        with ShardSet(digits / "train") as single, ShardSet(scenes / "train") as multi:
            assert single.counts[0] >= 20 * single.counts[9] and (np.diff(single.counts) < 0).all()
            assert multi.counts[0] >= 50 * multi.counts[9] and multi.multi_label

    def test_a_source_may_bring_its_own_validation(self, tmp_path):
        source = ListSource({**counted([5, 5])._items, **counted([2, 1], "val")._items})
        report = build(source, tmp_path, workers=1)
        assert report.splits["val"]["counts"] == [2, 1] and report.splits["train"]["counts"] == [5, 5]
        with pytest.raises(UserError, match="its own val split"):
            build(source, tmp_path / "other", val=0.1, workers=1)

    def test_unknown_labels_are_kept(self, tmp_path):
        items = [Item("a", encoded(pixels(0)), (2,), unknown=(0,)), Item("b", encoded(pixels(1)), (0, 1))]
        build(ListSource({"train": items}, classes=4, multi_label=True), tmp_path, workers=1)
        with ShardSet(tmp_path / "train") as shards:
            assert shards.labels([0, 1]).tolist() == [[-1, 0, 1, 0], [1, 1, 0, 0]]

    def test_small_shards_stay_below_their_limit(self, tmp_path):
        report = build(counted([30, 30]), tmp_path, workers=1, shard_mb=0.005)
        stored = [shard["arrays"]["bytes"]["length"] for shard in report.splits["train"]["shards"]]
        assert len(stored) > 2 and max(stored) <= 5000

    def test_progress_is_told(self, tmp_path):
        told = []
        build(counted([3, 2]), tmp_path, workers=1, progress=lambda *what: told.append(what))
        assert told == [("train", done, 5) for done in range(1, 6)]


class TestWrongInput:
    def test_unreadable_images_are_listed_and_left_out(self, tmp_path):
        for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_bytes(encoded(pixels(0)))
        (tmp_path / "in/a/2.png").write_bytes(b"broken")
        report = build(open_source("folder", tmp_path / "in"), tmp_path / "out", val=0, workers=1)
        assert report.splits["train"]["counts"] == [1, 2]
        assert (tmp_path / "out/bad-images.txt").read_text() == "train\ta/2.png\tcannot identify image file\n"
        assert "1 images could not be read" in report.warnings[0]
        with pytest.raises(UserError, match=r"train: a/2\.png: cannot identify image file; mend it"):
            build(open_source("folder", tmp_path / "in"), tmp_path / "fail", val=0, workers=1, on_bad="fail")

    def test_what_decoders_disagree_on_is_transcoded_left_out_or_ends_the_build(self, tmp_path):
        gif = encoded(Image.fromarray(pixels(0)), "GIF")
        source = ListSource({"train": [Item("a", gif, (0,)), Item("b", encoded(pixels(1)), (0, 1))]}, multi_label=True)
        build(source, tmp_path / "transcode", workers=1)
        with ShardSet(tmp_path / "transcode" / "train") as shards:
            assert [bytes(record[:4]) for record in shards.read([0, 1])] == [b"\x89PNG"] * 2
        report = build(source, tmp_path / "skip", workers=1, on_bad="skip")
        ((split, id, reason),) = report.bad
        assert (split, id) == ("train", "a") and re.search("DALI does not decode it|not every decoder", reason)
        assert report.warnings[0].startswith("1 images could not be read, or not by every decoder alike,")
        with pytest.raises(UserError, match=r"train: a: (DALI|not every decoder).*; mend it, or skip or transcode"):
            build(source, tmp_path / "fail", workers=1, on_bad="fail")

    def test_header_checks_find_what_was_cut_off_but_not_what_is_damaged_within(self, tmp_path):
        whole = encoded(pixels(0))
        damaged = whole[:60] + bytes([whole[60] ^ 0xFF]) + whole[61:]
        items = [Item(id, data, (0,)) for id, data in (("a", whole), ("b", whole[:-40]), ("c", damaged))]
        for check, bad in (("header", ["b"]), ("decode", ["b", "c"]), (None, ["b", "c"])):
            report = build(ListSource({"train": items}, classes=1), tmp_path / str(check), workers=1, check=check)
            assert [id for _, id, _ in report.bad] == bad

    def test_many_images_are_checked_by_their_headers_unless_it_is_said(self, tmp_path, monkeypatch):
        monkeypatch.setattr("fastlt.data.build.DECODE_CHECKS_BELOW", 4)
        checked = []
        monkeypatch.setattr(
            "fastlt.data.workers.prepare_all", lambda *images, checks, **how: checked.append(checks.decode) or ["x"] * 4
        )
        for number, check in ((3, None), (4, None), (4, "decode"), (3, "header")):
            with pytest.raises((UserError, ValueError)):
                build(counted([number]), tmp_path / f"{number}{check}", workers=1, check=check)
        assert checked == [True, False, True, False]

    def test_a_class_with_no_image_is_named(self, tmp_path):
        with pytest.raises(UserError, match="class 'class 1' has no image in the training split"):
            build(counted([3, 0]), tmp_path, workers=1)
        assert files(tmp_path) == {}

    def test_a_class_whose_images_are_all_unreadable_is_named(self, tmp_path):
        items = [Item("a", encoded(pixels(0)), (0,)), Item("b", b"broken", (1,))]
        with pytest.raises(UserError, match="class 'class 1' has no image that can be read"):
            build(ListSource({"train": items}), tmp_path, workers=1)

    def test_several_labels_may_leave_a_class_empty_with_a_warning(self, tmp_path):
        items = [Item("a", encoded(pixels(0)), (0,)), Item("b", encoded(pixels(1)), ())]
        report = build(ListSource({"train": items}, classes=2, multi_label=True), tmp_path, workers=1)
        assert report.warnings == ["1 of 2 classes have no positive training image: class 1"]

    def test_no_image_at_all(self, tmp_path):
        with pytest.raises(UserError, match="split train of list has no image"):
            build(ListSource({"train": []}), tmp_path, workers=1)
        with pytest.raises(UserError, match="has no image that can be read"):
            build(counted([2, 2], image=b"broken"), tmp_path, workers=1)

    def test_another_build_is_not_overwritten_unasked(self, tmp_path):
        build(counted([9, 9]), tmp_path, val=0.3, workers=1)
        before = files(tmp_path)
        with pytest.raises(UserError, match="holds another build"):
            build(counted([9, 9]), tmp_path, val=0, workers=1)
        assert files(tmp_path) == before
        build(counted([9, 9]), tmp_path, val=0, workers=1, overwrite=True)
        assert sorted(files(tmp_path)) == ["train/dataset.json", "train/shard-00000.h5"]

    def test_a_changed_shard_of_the_same_build_is_not_kept(self, tmp_path):
        build(counted([9, 9]), tmp_path, workers=1)
        before = files(tmp_path)
        (tmp_path / "train/shard-00000.h5").write_bytes(b"something else")
        with pytest.raises(UserError, match=r"shard-00000\.h5 is missing or was changed"):
            build(counted([9, 9]), tmp_path, workers=1)
        build(counted([9, 9]), tmp_path, workers=1, overwrite=True)
        assert files(tmp_path) == before

    def test_a_recipe_for_one_label_on_several(self, tmp_path):
        with pytest.raises(UserError, match="does not fit several labels an image"):
            build(open_source("digits", form="scenes"), tmp_path, Recipe("step", 10), workers=1)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"val": 1.0},
            {"shard_mb": 0},
            {"quality": 101},
            {"max_side": 0},
            {"on_bad": "?"},
            {"check": "?"},
            {"raw": True, "quality": 9},
        ],
    )
    def test_settings_out_of_range(self, tmp_path, wrong):
        with pytest.raises(UserError):
            build(counted([3, 3]), tmp_path, workers=1, **wrong)
        assert files(tmp_path) == {}

    def test_a_file_where_the_folder_should_be(self, tmp_path):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(UserError, match="cannot be made"):
            build(counted([3, 3]), tmp_path / "out", workers=1)

    @pytest.mark.parametrize("limit", [100, 500, 6_000, 15_600, 18_000])
    def test_a_full_disk(self, tmp_path, limit):
        """No file may pass `limit` bytes: it hits the journal, the records, or the shard that is laid out from them."""
        process = run_python(
            f"""
            import resource
            from made_sources import counted
            from fastlt.data.build import build
            from fastlt.errors import UserError
            resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
            try:
                build(counted([12, 12]), {str(tmp_path)!r}, workers=1)
            except UserError as error:
                print(error)
            """,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and err == ""
        assert out.count("\n") == 1 and "make room and run the same command again" in out
        assert sorted(files(tmp_path)) in ([], ["train/build.json"])
        build(counted([12, 12]), tmp_path, workers=1)
        assert ShardSet(tmp_path / "train").counts.tolist() == [12, 12]
