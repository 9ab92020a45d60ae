"""Photos, runs of a recipe, and what stands in a serialised DALI graph."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from fastlt import augment, dali, one_pass
from fastlt.config import PipelineConfig
from fastlt.prefetch import Fed

ALL_OPTIONS = {
    "vertical_flip": 0.5,
    "grayscale": 0.5,
    "cutout": 12,
    "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 20},
}


@lru_cache
def photos() -> tuple[np.ndarray, ...]:
    """Two photos that scikit-learn bundles, uint8 [427, 640, 3]."""
    return tuple(load_sample_images().images)


def photo(height: int, width: int, which: int = 0) -> np.ndarray:
    """uint8 [height, width, 3] of a photo."""
    return np.asarray(Image.fromarray(photos()[which]).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: np.ndarray | Image.Image, kind: str = "JPEG", **options) -> np.ndarray:
    """uint8 [bytes] of a file."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def shapes_of(pictures: list[np.ndarray]) -> np.ndarray:
    """int32 [B, 2] of raw pictures."""
    return np.array([picture.shape[:2] for picture in pictures], np.int32)


def run(
    config: PipelineConfig,
    pictures: list[np.ndarray],
    positions: np.ndarray | None = None,
    key: int = 1,
    batch: int | None = None,
    threads: int = 1,
    prefetch: int = 1,
    half: bool = False,
    form: str = "operator",
    encoding: str = "raw",
) -> np.ndarray:
    """float [B, size, size, 3]: what the recipe makes of pictures at their positions, in batches of `batch`.

    form: "graph" for DALI's whole graph, "operator" for one pass of the compiled operator where there is one.
    """
    batch = batch or len(pictures)
    positions = np.arange(len(pictures)) if positions is None else positions
    parts = [slice(start, start + batch) for start in range(0, len(pictures), batch)]

    def source(iteration):
        part = parts[iteration % len(parts)]
        drawn = augment.load(config.name).parameters(config, key, positions[part], shapes_of(pictures[part]))
        return Fed(pictures[part] if encoding == "raw" else [encoded(p, "PNG") for p in pictures[part]], drawn)

    if form == "operator" and one_pass.serves(config):
        graph = one_pass.OnePass(config, batch, encoding, threads, prefetch, source, half)
    else:
        graph = dali.Graph(config, batch, encoding, "cpu", None, threads, prefetch, source, half)
    outputs = [graph.run(iteration) for iteration in range(len(parts))]
    return np.concatenate([output.numpy() for output in outputs])


def pixels(config: PipelineConfig, images: np.ndarray) -> np.ndarray:
    """float64 in 0..255 of normalised images."""
    return 255 * (images.astype(np.float64) * config.std + config.mean)


@dataclass
class Operator:
    """One operator of a graph; inputs and outputs are (name, device)."""

    name: str
    inputs: list[tuple[str, str]] = field(default_factory=list)
    outputs: list[tuple[str, str]] = field(default_factory=list)
    arguments: dict[str, bytes] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """cpu, gpu or mixed."""
        return _fields(self.arguments["device"])[5][0].decode()


def gpu_operators(config: PipelineConfig, encoding: str, half: bool = False) -> list[Operator]:
    """The operators of the GPU form, defined and serialised without a GPU."""
    return operators(whole_graph(config, encoding, "gpu", half).serialize())


def whole_graph(config: PipelineConfig, encoding: str, device: str, half: bool = False):
    """The pipeline, to be looked at, not run."""
    return dali.Graph(config, 4, encoding, device, None, 1, 2, lambda iteration: Fed([], {}), half).pipeline


def operators(serialized: bytes) -> list[Operator]:
    """Reads dali/pipeline/dali.proto: PipelineDef.op = 5; OpDef name 1, input 2, output 3, args 4."""
    return [_operator(_fields(op)) for op in _fields(serialized)[5]]


def _operator(fields: dict[int, list]) -> Operator:
    def ends(number: int) -> list[tuple[str, str]]:
        return [(end[1][0].decode(), end[2][0].decode()) for end in map(_fields, fields.get(number, []))]

    arguments = {_fields(argument)[1][0].decode(): argument for argument in fields.get(4, [])}
    return Operator(fields[1][0].decode(), ends(2), ends(3), arguments)


def _fields(message: bytes) -> dict[int, list]:
    """The fields of a protobuf message by number: bytes, integers, or the raw bytes of fixed-size numbers."""
    found: dict[int, list] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            length, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = message[at : at + length], at + length
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 127) << shift
        shift += 7
        at += 1
        if message[at - 1] < 128:
            return value, at
