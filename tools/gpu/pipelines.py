"""Every recipe of augmentation on the GPU and on the CPU: the same pictures with the same parameters."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from fastlt import augment, dali, one_pass, resident
from fastlt.config import PipelineConfig
from fastlt.prefetch import Fed

from .part import Part, main

# Mean difference of a picture, in levels of 0..255. Decoders enlarge colour in their own ways; resizing rounds; and
# equalising, inverting above a threshold and the like enlarge what the decoders left.
BOUNDS = {"raw": 1.0, "encoded": 3.0}
POLICY_BOUNDS = {"raw": 1.0, "encoded": 6.0}
OPTIONS = {
    "vertical_flip": 0.5,
    "grayscale": 0.5,
    "cutout": 12,
    "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 20},
}
POLICIES = ({"rand_augment": {}}, *({"auto_augment": name} for name in ("imagenet", "cifar10", "svhn")))
SIDES = ((427, 640), (64, 64), (300, 200), (97, 131))


def run(part: Part) -> None:
    recipes = [(name, PipelineConfig(name=name, size=64)) for name in augment.NAMES]
    if not part.quick:
        recipes += [(f"{name}, all options", PipelineConfig(name=name, size=64, **OPTIONS)) for name in augment.NAMES]
        recipes += [(str(policy), PipelineConfig(name="squash", size=64, **policy)) for policy in POLICIES]
    rows = part.details["pictures"] = []
    for name, config in recipes[: 2 if part.quick else None]:
        for encoding in BOUNDS:
            part.attempt(
                f"{name}, {encoding}", lambda n=name, c=config, e=encoding: rows.append(_compared(part, n, c, e))
            )
    for name in ("crop_flip", "squash"):
        part.attempt(f"{name}, held", lambda n=name: rows.append(_held(part, n)))
    over = [row for row in rows if row["mean"] > row["bound"]]
    part.failures += [f"{row['recipe']}, {row['pictures']}: mean difference {row['mean']} levels" for row in over]


def _compared(part: Part, name: str, config: PipelineConfig, encoding: str) -> dict:
    pictures = _pictures()
    found, wanted = (_levels(config, pictures, encoding, d) for d in ("gpu" if part.on_gpu else "cpu", "cpu"))
    return _row(name, config, encoding, found, wanted)


def _held(part: Part, name: str) -> dict:
    """Pictures that stay on the device, against the CPU's."""
    config = PipelineConfig(name=name, size=32, **OPTIONS)
    pictures = [_small(Image.fromarray(picture)) for picture in _pictures()]
    held = torch.from_numpy(np.stack(pictures)).to("cuda" if part.on_gpu else "cpu")
    fed = Fed(np.arange(len(pictures)), _drawn(config, pictures))
    found = _in_levels(config, resident.Graph(config, held, lambda iteration: fed).run(0))
    return _row(f"{name}, held", config, "raw", found, _levels(config, pictures, "raw", "cpu"))


def _row(name: str, config: PipelineConfig, encoding: str, found: np.ndarray, wanted: np.ndarray) -> dict:
    difference = np.abs(found - wanted)
    return {
        "recipe": name,
        "pictures": encoding,
        "bound": (POLICY_BOUNDS if config.rand_augment or config.auto_augment else BOUNDS)[encoding],
        "mean": round(float(difference.mean((1, 2, 3)).max()), 3),  # of the worst picture
        "99th percentile": round(float(np.quantile(difference, 0.99)), 2),
        "largest": round(float(difference.max()), 1),
    }


def _pictures() -> list[np.ndarray]:
    """uint8 [H, W, 3]: photographs in several sizes, and handwritten digits; scikit-learn bundles both."""
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    made = [np.asarray(photo.resize((w, h), Image.Resampling.BICUBIC)) for photo in photos for h, w in SIDES]
    digits = (load_digits().images[:4] * (255 / 16)).astype(np.uint8)
    return made + [_small(Image.fromarray(digit)) for digit in digits]


def _small(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((32, 32)).convert("RGB"))


def _levels(config: PipelineConfig, pictures: list[np.ndarray], encoding: str, device: str) -> np.ndarray:
    """float [B, size, size, 3] in 0..255"""
    given = pictures if encoding == "raw" else [_jpeg(picture) for picture in pictures]
    fed = Fed(given, _drawn(config, pictures))

    def source(iteration):
        return fed

    if device == "cpu" and one_pass.serves(config):  # as the loader chooses
        graph = one_pass.OnePass(config, len(pictures), encoding, 2, 1, source)
    else:
        index = 0 if device == "gpu" else None
        graph = dali.Graph(config, len(pictures), encoding, device, index, 2, 1, source)
    return _in_levels(config, graph.run(0))


def _drawn(config: PipelineConfig, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    shapes = np.array([picture.shape[:2] for picture in pictures], np.int32)
    return augment.load(config.name).parameters(config, 1, np.arange(len(pictures)), shapes)


def _in_levels(config: PipelineConfig, images: torch.Tensor) -> np.ndarray:
    return 255 * (images.cpu().numpy().astype(np.float64) * config.std + config.mean)


def _jpeg(picture: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=92)
    return np.frombuffer(buffer.getvalue(), np.uint8)


if __name__ == "__main__":
    main(run)
