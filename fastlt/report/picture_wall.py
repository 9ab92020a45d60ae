"""A few pictures of the most frequent and of the rarest classes, as small thumbnails inside a page."""

from __future__ import annotations

import base64
import io
import warnings

import numpy as np
from PIL import Image

from fastlt import hashing
from fastlt.data.picture_headers import open_header
from fastlt.data.shards import ShardSet
from fastlt.data.upright import upright
from fastlt.report.page import text

CLASSES = 6  # shown of either end of the tail
PICTURES = 7  # of each class
SIDES = (224, 144)  # pixels that a thumbnail has at most: twice what the page shows, for fine screens
TINY = 72  # pixels of height below which a picture is enlarged without blurring it

STYLE = """
.strip { display: flex; flex-wrap: wrap; gap: .35rem; margin: .2rem 0 .9rem }
.strip > * { height: 4.5rem; width: auto; max-width: 7rem; object-fit: contain; background: #eceff2 }
.strip > .tiny { image-rendering: pixelated }
.strip > .missing { width: 6rem; padding: .3rem; box-sizing: border-box; overflow: hidden; overflow-wrap: anywhere;
  background: #b9bec4; font-size: .62rem; line-height: 1.25 }
.class { margin: 0 } .class span { color: #666; margin-left: .5rem }
"""


def wall(train: ShardSet, seed: int) -> list[str]:
    """The sections of the page; which pictures are shown depends on the seed and the names of the classes alone."""
    order = np.argsort(-train.counts, kind="stable")[: np.count_nonzero(train.counts)]
    head = order[: min(CLASSES, (len(order) + 1) // 2)]
    tail = order[max(len(head), len(order) - CLASSES) :]
    members = train.class_members()
    ends = (("The most frequent classes", head), ("The rarest classes", tail))
    return [
        f"<h3>{title}</h3>" + "".join(_class(train, members, int(c), seed) for c in chosen)
        for title, chosen in ends
        if len(chosen)
    ]


def _class(train: ShardSet, members: tuple[np.ndarray, np.ndarray], c: int, seed: int) -> str:
    name, (starts, images) = train.classes[c], members
    size = int(starts[c + 1] - starts[c])
    key = hashing.key("picture wall", seed, name.encode("utf-8", "backslashreplace").decode())
    places = hashing.permute(key, np.arange(min(size, PICTURES)), size)
    tiles = "".join(tile(train, int(row), name) for row in images[starts[c] + places])
    noun = "image" if size == 1 else "images"
    return f'<p class="class"><b>{text(name)}</b><span>{size:,} {noun}</span></p><div class="strip">{tiles}</div>'


def tile(records: ShardSet, row: int, name: str) -> str:
    """The thumbnail of one picture of the class `name`, or grey with its id where it cannot be read."""
    (id,) = records.ids([row])
    try:
        picture = _picture(records, row)
        tiny = ' class="tiny"' if picture.height < TINY else ""
        picture.thumbnail(SIDES)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=85)
    except Exception:  # Pillow's plugins raise whatever a damaged file leads them to
        return f'<span class="missing" role="img" aria-label="unreadable picture {text(id)}">{text(id)}</span>'
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img{tiny} alt="{text(name)}: {text(id)}" title="{text(id)}" src="data:image/jpeg;base64,{data}">'


def _picture(records: ShardSet, row: int) -> Image.Image:
    (record,) = records.read([row])
    if records.encoding == "raw":
        return Image.fromarray(record)
    with warnings.catch_warnings(), open_header(record.tobytes()) as opened:
        warnings.simplefilter("ignore")  # odd metadata and large pictures are no faults
        opened.draft("RGB", (2 * SIDES[0], 2 * SIDES[1]))  # a JPEG is decoded no larger than it has to be
        return upright(opened)
