"""Shard sets whose sums are right and some of whose pictures are not; the kinds of what can be wrong with them."""

import io
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fastlt.data import layout, manifest
from fastlt.data.pictures import Picture
from fastlt.data.shard_writer import ShardWriter
from fastlt.data.shards import ShardSet

SIDE = 32  # of the pictures of the digits


def saved(kind: str, mode: str = "RGB", side: int = SIDE, **options) -> bytes:
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind, **options)
    return file.getvalue()


def rotated(**options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved("JPEG", exif=exif.tobytes(), **options)


def _of_16_bits() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)).save(file, "PNG")
    return file.getvalue()


def _random(count: int) -> bytes:
    return np.random.default_rng(count).integers(0, 256, count, np.uint8).tobytes()


def _scan(data: bytes) -> int:
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


def _patched(data: bytes, segment: bytes, place: int, new: bytes) -> bytes:
    """With other bytes at a place within a JPEG's first segment of that marker."""
    start = data.index(segment) + place
    return data[:start] + new + data[start + len(new) :]


def _sized(data: bytes, height: int, width: int) -> bytes:
    return _patched(data, b"\xff\xc0", 5, struct.pack(">HH", height, width))


def _content(data: bytes, change) -> bytes:
    """A PNG whose pixel chunk is changed; its sum fits."""
    place = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[place - 4 : place])
    chunk = b"IDAT" + change(data[place + 4 : place + 4 + length])
    return (
        data[: place - 4]
        + struct.pack(">I", len(chunk) - 4)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + data[place + length + 8 :]
    )


JPEG, PROGRESSIVE, PNG, WEBP = saved("JPEG"), saved("JPEG", progressive=True), saved("PNG"), saved("WEBP")
END = b"\xff\xd9"

REFUSED_AT_ONCE = {  # what a look at the header finds
    "nothing": b"",
    "zeros": bytes(2000),
    "text": b"this is no picture, but the page that a server gave instead of it\n" * 20,
    "gif": saved("GIF", "P"),
    "half a jpeg header": JPEG[: JPEG.index(b"\xff\xc0") + 3],
    "jpeg without a frame": JPEG.replace(b"\xff\xc0", b"\xff\xec"),
    "jpeg of another size": saved("JPEG", side=SIDE // 2),
    "larger jpeg": saved("JPEG", side=2 * SIDE),
    "jpeg that declares less": _sized(JPEG, SIDE // 2, SIDE),
    "jpeg that declares nothing": _sized(JPEG, 0, SIDE),
    "jpeg of 255 bits": _patched(JPEG, b"\xff\xc0", 4, b"\xff"),
    "half a png": PNG[: len(PNG) // 2],
    "png of another size": saved("PNG", side=SIDE - 1),
    "webp of another size": saved("WEBP", side=SIDE - 1),
    "half a tiff": saved("TIFF")[: 3 * SIDE],
}
REFUSED_LATER = {  # what only decoding finds
    "png with bad pixels": _content(PNG, lambda pixels: pixels[:100] + _random(len(pixels) - 100)),
    "png with few pixels": _content(PNG, lambda pixels: zlib.compress(bytes(50))),
    "jpeg with bad huffman tables": _patched(JPEG, b"\xff\xc4", 5, b"\xff" * 16),
    "half a webp": WEBP[: len(WEBP) // 2],
}
OF_WINDOWS = {"jpeg that ends in its scan": saved("JPEG", subsampling=0)[:-60]}  # its upper rows decode
ACCEPTED = {  # what every decoder makes some picture of
    "jpeg with a random scan": JPEG[: _scan(JPEG)] + _random(len(JPEG)).replace(b"\xff", b"\xfe") + END,
    "jpeg that ends in its scan, and says so": JPEG[: (_scan(JPEG) + len(JPEG)) // 2] + END,
}
WHOLE = {
    "jpeg": JPEG,
    "progressive jpeg": PROGRESSIVE,
    "jpeg with bytes after its end": JPEG + b"\n",
    "rotated jpeg": rotated(),
    "cmyk jpeg": saved("JPEG", "CMYK"),
    "grey jpeg": saved("JPEG", "L"),
    "png": PNG,
    "png of 16 bits": _of_16_bits(),
    "palette png": saved("PNG", "P"),
    "transparent png": saved("PNG", "RGBA"),
    "webp": WEBP,
    "lossless webp": saved("WEBP", lossless=True),
}


def corrupted(source: Path, out: Path, instead: dict[int, bytes]) -> Path:
    """A copy of the data set `source` in one shard a split, some training pictures replaced; every sum fits."""
    shutil.copytree(source, out)
    folder = out / "train"
    values = manifest.read_manifest(folder)
    with ShardSet(folder) as records:
        rows = np.arange(len(records))
        kept = zip(records.ids(rows), records.read(rows), records.shapes(rows).tolist(), strict=True)
        labels = [[(int(label), 1)] for label in records.labels(rows)]
        with ShardWriter(folder / "new.h5", "encoded") as shard:
            for row, (id, record, (height, width)) in enumerate(kept):
                shard.append(id, Picture(instead.get(row, record.tobytes()), height, width), labels[row])
            entry = shard.finish()
    for path in folder.glob("shard-*.h5"):
        path.unlink()
    (folder / "new.h5").rename(folder / layout.shard_name(0))
    values |= {"shards": [entry | {"file": layout.shard_name(0)}]}
    manifest.write_json(folder / manifest.NAME, manifest.seal({k: v for k, v in values.items() if k not in SEALED}))
    return out


SEALED = ("format", "version", "checksum")
