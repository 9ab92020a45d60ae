"""What `fastlt inspect` says of a data set: its numbers, and its page."""

import base64
import io
import os
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from made_sources import ListSource, counted, encoded, pixels
from PIL import Image

from fastlt import inspection
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.labels import LabelRows
from fastlt.data.manifest import read_manifest, seal, write_json
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.inspection import attribute_states, co_occurrence, inspect, unknown_counts
from fastlt.report.data_page import write_data_page
from fastlt.report.tail_axis import MOST_BARS, TailAxis

ODD_NAMES = ["<script>alert(1)</script>", '$\\frac{$ & "q"', "日本語", "a\nb", "\udcff", "x" * 200]
EMPTY = ("meta", "img", "br", "hr")


class Tags(HTMLParser):
    """The tags of a page with their attributes; fails where they are not closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def random_rows(default, images=40, classes=7, seed=0):
    """Compressed rows and the same labels as int8 [images, classes]."""
    dense = np.random.default_rng(seed).choice([1, 0, -1], (images, classes)).astype(np.int8)
    rows = [[(c, int(v)) for c, v in enumerate(row) if v != default] for row in dense]
    return LabelRows.from_lists(rows, classes, default), dense


def picture(seed):
    return encoded(pixels(seed, 20, 30))


def several(names, rows, unknown=((),), split="train"):
    """A multi-label source with those labels."""
    items = [
        Item(f"{i}.png", picture(i), labels, tuple(c for c in unknown[i % len(unknown)] if c not in labels))
        for i, labels in enumerate(rows)
    ]
    source = ListSource({split: items}, len(names), multi_label=True)
    source.classes = names
    return source


def with_attributes(folder, attributes):
    values = read_manifest(folder / "train")
    write_json(folder / "train" / "dataset.json", seal({**_unsealed(values), "attributes": attributes}))


def _unsealed(values):
    return {key: value for key, value in values.items() if key not in ("format", "version")}


def built(source, folder):
    build(source, folder, workers=1)
    return folder


def page_of(folder, out, seed=0, before=None):
    write_data_page(folder, inspect(folder, seed), out, seed, before)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """Ten images of six oddly named classes: 0 is in all, 1 in every other; 5 is often unknown."""
    rows = [(0, 1) if i % 2 else (0, 2) if i % 4 else (0, 3, 4) for i in range(10)]
    folder = built(several(ODD_NAMES, rows, unknown=((5,), (5, 2), ())), tmp_path_factory.mktemp("sets") / "partial")
    with_attributes(folder, {"<kind>": [1, 2], "state": [4, 5]})
    return folder


@pytest.fixture(params=[0, -1], ids=["others negative", "others unknown"])
def default(request):
    return request.param


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(inspection, "MOST_ROWS", 6)
    monkeypatch.setattr(inspection, "MOST_ENTRIES", 20)


def test_labels_are_counted_together_as_in_the_dense_matrix(default, small_parts):
    rows, dense = random_rows(default)
    chosen = np.array([5, 0, 3])
    positive = (dense == 1).astype(int)[:, chosen]
    assert (co_occurrence(rows, chosen) == positive.T @ positive).all()


def test_unknown_labels_are_counted_whatever_an_absent_entry_means(default, small_parts):
    rows, dense = random_rows(default)
    assert (unknown_counts(rows) == (dense == -1).sum(axis=0)).all()


def test_an_attribute_is_unknown_unless_a_value_is_there_or_all_are_denied(default, small_parts):
    rows, dense = random_rows(default, images=200)
    attributes = {"colour": [0, 3, 5], "state": [1], "form": [2, 6]}
    found = attribute_states(rows, attributes)
    for name, values in attributes.items():
        part = dense[:, values]
        none, some = (part == 0).all(axis=1), (part == 1).any(axis=1)
        assert found[name] == {"none": none.sum(), "unknown": (~none & ~some).sum()}


@pytest.mark.parametrize("rows", [[], [[]], [[], [(1, 1)], []]], ids=["no image", "no label", "one label"])
def test_sets_with_hardly_a_label_are_counted(rows):
    labels = LabelRows.from_lists(rows, 3)
    assert co_occurrence(labels, np.arange(3)).sum() == sum(map(len, rows))
    assert unknown_counts(labels).tolist() == [0, 0, 0]


def test_one_image_with_more_labels_than_a_part_has_room_for_is_counted(small_parts):
    labels = LabelRows.from_lists([[(c, 1) for c in range(50)]] * 3, 50)
    assert (co_occurrence(labels, np.arange(50)) == 3).all()


def many_classes(found, classes=9600):
    counts = (20_000 / np.arange(1, classes + 1)).astype(int).tolist()
    names = [f"class {c}" for c in range(classes)]
    groups = inspection.group_names(np.array(counts), {"many": (101, None), "medium": (20, 100), "few": (0, 19)}, names)
    return replace(
        found,
        classes=names,
        counts={"train": counts},
        groups=groups,
        streams={name: (np.array(counts) / sum(counts)).tolist() for name in found.streams},
    )


def test_ten_thousand_classes_become_bars_of_one_group_each(digits):
    found = many_classes(inspect(digits))
    axis = TailAxis.of(found)
    assert len(axis.edges) - 1 <= MOST_BARS + len(found.groups)
    assert sorted(bar for bars in axis.groups.values() for bar in bars) == list(range(len(axis.edges) - 1))
    borders = np.cumsum([len(names) for names in found.groups.values()])
    assert set(borders.tolist()) <= set(axis.edges.tolist())
    assert "up to 32 at a time" in axis.note
    total = (axis.means(found.counts["train"]) * np.diff(axis.edges)).sum()
    assert total == pytest.approx(sum(found.counts["train"]))


def test_classes_in_another_order_are_joined_as_well(digits):
    found = many_classes(inspect(digits))
    axis = TailAxis.of(found, np.random.default_rng(0).permutation(9600)[:5000])
    assert len(axis.edges) - 1 <= MOST_BARS and axis.groups == {} and axis.edges[-1] == 5000


def test_the_page_of_ten_thousand_classes_stays_small_and_says_what_it_leaves_out(digits, tmp_path):
    write_data_page(digits, many_classes(inspect(digits)), tmp_path / "page.html", 0)
    text = (tmp_path / "page.html").read_text()
    assert len(text) < 1_000_000
    assert "9,100 classes in the middle are left out" in text and "drawn together" in text


def test_every_class_has_a_bar_of_its_own_where_there_is_room(digits):
    axis = TailAxis.of(inspect(digits))
    assert np.diff(axis.edges).tolist() == [1] * 10 and axis.note == ""


def test_a_single_label_page_leaves_out_what_has_no_meaning(digits, tmp_path):
    text = page_of(digits, tmp_path / "page.html")
    assert "The long tail" in text and "What each stream makes of it" in text and "The rarest classes" in text
    for absent in ("occur together", "Labels that are known", "Attributes", "labels an image", "Before and after"):
        assert absent not in text


def test_a_page_stands_alone_and_describes_its_pictures(partial, tmp_path):
    page = Tags(page_of(partial, tmp_path / "page.html", before=partial))
    assert len(page.named("img")) > 6
    for attributes in page.named("img"):
        assert attributes["src"].startswith("data:image/") and attributes["alt"]
    assert not page.named("script") and not page.named("link")
    assert "<script>alert(1)</script>" in page.words


def test_a_partial_multi_label_page_shows_what_is_known_and_what_occurs_together(partial, tmp_path):
    text = page_of(partial, tmp_path / "page.html")
    found = inspect(partial)
    assert found.unknown == {"train": [0, 0, 3, 0, 0, 7]}
    assert "Labels that are known" in text and "16.67 %" in text  # 10 of 60 labels
    assert 'color:#fff">100</td>' in text  # all images with class 1 also have class 0
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, $\\frac{$ &amp; &quot;q&quot;" in text  # the strongest pair
    assert "&lt;kind&gt;: 2 values, unknown in" in text and "state: 2 values, unknown in" in text


def test_where_what_is_not_listed_is_unknown_the_page_counts_the_known(tmp_path):
    items = [Item(f"{i}.png", picture(i), (i % 3,), negative=(3,) if i % 2 else ()) for i in range(8)]
    source = ListSource({"train": items}, 4, multi_label=True)
    source.label_default, source.attributes = -1, {"state": [3]}
    folder = built(source, tmp_path / "set")
    assert inspect(folder).unknown == {"train": [5, 5, 6, 4]}
    text = page_of(folder, tmp_path / "page.html")
    assert "62.50 %" in text  # 20 of 32 labels
    assert "state: 1 value, unknown in 50.00 %" in text


def test_a_multi_label_page_without_any_pair_says_so(tmp_path):
    folder = built(several(["a", "b"], [(0,), (1,), (0,)]), tmp_path / "set")
    text = page_of(folder, tmp_path / "page.html")
    assert "No two classes have 5 images together" in text and "Labels that are known" not in text


def test_the_same_seed_writes_the_same_page_and_another_shows_other_pictures(digits, tmp_path):
    texts = [page_of(digits, tmp_path / f"{n}.html", seed) for n, seed in enumerate((3, 3, 4))]
    assert texts[0] == texts[1]
    shown = [{a["title"] for a in Tags(text).named("img") if "title" in a} for text in texts]
    assert shown[0] == shown[1] != shown[2]


def test_an_unreadable_picture_is_a_grey_tile_with_its_id(tmp_path):
    source = counted([3, 2])
    folder = built(source, tmp_path / "set")
    with ShardSet(folder / "train") as train:
        place, shard = int(train._offset[3]), folder / "train" / "shard-00000.h5"
    content = bytearray(shard.read_bytes())
    content[place + 20] ^= 255
    shard.write_bytes(content)
    page = Tags(page_of(folder, tmp_path / "page.html"))
    (grey,) = [a for a in page.named("span") if a.get("class") == "missing"]
    assert grey["aria-label"] == "unreadable picture 3.png" and "3.png" in page.words


def test_pictures_on_the_wall_are_upright_and_small(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(Image.fromarray(pixels(0, 400, 600)), "JPEG", exif=exif)
    folder = built(counted([2, 1], image=lying), tmp_path / "set")
    shown = [a["src"] for a in Tags(page_of(folder, tmp_path / "page.html")).named("img") if "title" in a]
    assert len(shown) == 3
    for source in shown:
        width, height = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).size
        assert width < height == 144


def test_raw_pictures_are_shown(tmp_path):
    folder = tmp_path / "set"
    build(counted([2, 2], image=pixels(1)), folder, workers=1)
    page = Tags(page_of(folder, tmp_path / "page.html"))
    assert len([a for a in page.named("img") if "title" in a]) == 4


def test_before_and_after_match_classes_by_name_and_name_the_others(tmp_path):
    source, other = counted([9, 3, 1]), counted([4, 5])
    other.classes = ["class 1", "<else>"]
    before, after = built(other, tmp_path / "full"), built(source, tmp_path / "cut")
    text = page_of(after, tmp_path / "page.html", before=before)
    assert "Over the 1 classes" not in text and "Over the one class that both have" in text
    assert "Only in before: full: &lt;else&gt;." in text and "Only in after: cut: class 0, class 2." in text


def test_data_sets_without_a_common_class_are_not_compared(digits, tmp_path):
    other = built(counted([2, 1]), tmp_path / "other")
    with pytest.raises(UserError, match="have no class in common"):
        page_of(digits, tmp_path / "page.html", before=other)
    assert not (tmp_path / "page.html").exists()


def fastlt(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-m", "fastlt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)


def test_the_command_writes_the_page(digits, tmp_path):
    done = fastlt("inspect", digits, "--html", tmp_path / "new" / "page.html", "--before", digits)
    assert done.returncode == 0, done.stderr
    assert "Before and after" in (tmp_path / "new" / "page.html").read_text()


def test_wrong_uses_of_the_command_end_in_one_line(digits, tmp_path):
    done = fastlt("inspect", digits, "--before", digits)
    assert done.returncode == 2 and "give --html too" in done.stderr
    done = fastlt("inspect", digits, "--html", tmp_path / "page.html", "--before", tmp_path)
    assert done.returncode == 1 and "holds no data set" in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "folder.html").mkdir()
    done = fastlt("inspect", digits, "--html", tmp_path / "folder.html")
    assert done.returncode == 1 and "cannot write" in done.stderr and "Traceback" not in done.stderr
