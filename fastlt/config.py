"""What a run is: one YAML file, checked against this schema before anything is loaded.

`extends:` builds on another recipe, `--set train.lr=0.2` overrides one value. An unknown key is refused with the
nearest right one; what a recipe changes in its parent can be listed (`changes`) and is kept in the run folder.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from fastlt.address import Address, located
from fastlt.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Sampling = Literal[
    "uniform", "class_balanced", "square_root", "effective_number", "reversed", "weights", "attribute_balanced",
    "sequential",
]  # fmt: skip


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class StreamConfig(Section):
    """Which image sits at which position of a stream."""

    sampling: Sampling = "uniform"  # sequential is for evaluation: in order, then the last image again and again
    images_per_class: Positive = 1  # class_balanced: images drawn in a row from one class
    beta: Fraction = 0.9999  # effective_number: Cui et al., CVPR 2019
    weights: tuple[float, ...] | None = None  # weights: one for each class
    epoch_length: Positive | None = None  # positions that count as one epoch; default: all images, as often as repeated


def _not_in_order(stream: StreamConfig) -> StreamConfig:
    if stream.sampling == "sequential":
        raise ValueError("sequential is for evaluation; train with uniform or another stream")
    return stream


TrainingStream = Annotated[StreamConfig, AfterValidator(_not_in_order)]


def _place(value: Any) -> Path | Address:
    if not isinstance(value, str | Path | Address):
        raise ValueError("give a folder, or an address such as s3://bucket/set")
    try:
        return located(value)
    except UserError as error:
        raise ValueError(str(error)) from None


Place = Annotated[Path | Address, PlainValidator(_place), PlainSerializer(str, when_used="json")]


class DataConfig(Section):
    path: Place  # the folder, or address, that `fastlt build` wrote: train/, test/ and perhaps val/
    max_bad_images: Annotated[int, Field(ge=0)] = 100  # pictures that cannot be shown, before the run stops
    prefetch: Positive = 2  # batches prepared ahead
    threads: Positive | None = None  # decoding threads of one process; default: its share of the machine's cores


class ColorJitter(Section):
    """Factors are drawn from [1 - x, 1 + x]; hue in degrees from [-x, x]."""

    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=180)] = 0.0
    probability: Fraction = 1.0


class RandAugment(Section):
    """Cubuk et al., "RandAugment", 2019."""

    operations: Positive = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9  # in 31 bins


class PipelineConfig(Section):
    """A DALI graph of `pipelines/` and its options; the probabilities and ranges are what `parameters` draws from."""

    name: Literal["crop_flip", "random_resized_crop", "squash", "photometric", "evaluate"] = "random_resized_crop"
    size: Positive = 224  # side of the square that the network sees
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of pixels in [0, 1]
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    pad: Annotated[int, Field(ge=0)] = 4  # crop_flip: zero border around the picture
    scale: tuple[Fraction, Fraction] = (0.08, 1.0)  # random_resized_crop: share of the area
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # random_resized_crop: width / height
    horizontal_flip: Fraction = 0.5
    vertical_flip: Fraction = 0.0
    resize: Literal["squash", "crop"] = "squash"  # evaluate: whole picture, or its centre at `crop_share`
    crop_share: Annotated[float, Field(gt=0, le=1)] = 0.875
    grayscale: Fraction = 0.0
    color_jitter: ColorJitter | None = None
    cutout: Annotated[int, Field(ge=0)] = 0  # side in pixels of the erased square
    cutout_probability: Fraction = 1.0
    rand_augment: RandAugment | None = None
    auto_augment: Literal["imagenet", "cifar10", "svhn"] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> PipelineConfig:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two numbers above 0, the smaller first")
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        return self

    @model_validator(mode="after")
    def _one_policy(self) -> PipelineConfig:
        if self.rand_augment and self.auto_augment:
            raise ValueError("rand_augment and auto_augment exclude each other")
        return self


class ModelConfig(Section):
    backbone: str = "resnet50"  # any timm model, or cifar_resnet8 / 14 / 20 / 32 / 34 / 44 / 56
    init: str | None = None  # "timm", "package:NAME" or a .pth, .ckpt or .safetensors file
    keep_head: bool = False  # load the classifier of `init` as well
    pooling: Literal["avg", "max"] | None = None  # of the last feature map; default: the network's own
    drop_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0  # dropout before the classifier
    classifier: Literal["linear", "cosine"] = "linear"  # cosine: of features and class weights, as LDAM has it
    frozen_stages: Annotated[int, Field(ge=0)] = 0  # stem and the first stages that do not learn
    frozen_batch_norm: bool = False  # running statistics are used and kept as they are
    sync_batch_norm: bool = False  # statistics over all ranks


class LossConfig(Section):
    """Which loss; each file of `fastlt.losses` adds its options in a class `Options`. auto: by the kind of labels."""

    name: str = "auto"


class MethodConfig(Section):
    """Which method; each file of `fastlt.methods` adds its options in a class `Options`."""

    name: str = "erm"


def _loss_options(value: Any) -> Any:
    from fastlt import losses  # a loss's file imports torch

    return _options(losses.options, LossConfig, value)


def _method_options(value: Any) -> Any:
    from fastlt import methods

    return _options(methods.options, MethodConfig, value)


def _options(kinds: Callable[[str], type[Section]], base: type[Section], value: Any) -> Any:
    """The section as the `Options` of the file that it names; a string is a name without options."""
    if type(value) is base:
        value = value.name
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        return value
    name = value.get("name", base().name)
    return kinds(str(name)).model_validate(value)


LossSection = Annotated[SerializeAsAny[LossConfig], BeforeValidator(_loss_options)]
MethodSection = Annotated[SerializeAsAny[MethodConfig], BeforeValidator(_method_options)]


class OptimizerConfig(Section):
    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = False
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    decay_1d: bool = True  # False: no weight decay on biases and norm parameters
    apex: bool = False  # NVIDIA apex's fused optimisers instead of torch's


class ScheduleConfig(Section):
    """Learning rate over the run; `warmup` and `milestones` are in epochs."""

    name: Literal["constant", "step", "cosine", "one_cycle"] = "cosine"
    warmup: Annotated[float, Field(ge=0)] = 0.0
    warmup_from: Fraction = 0.0  # share of the rate at step 0
    milestones: tuple[float, ...] = ()  # step
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1  # step: factor at each milestone
    final: Fraction = 0.0  # cosine: share of the rate at the end
    peak_at: Annotated[float, Field(gt=0, lt=1)] = 0.2  # one_cycle: share of its length until the highest rate
    length: Annotated[float, Field(gt=0)] | None = None  # one_cycle: epochs it is made for; default: those of the run

    @model_validator(mode="after")
    def _one_rise(self) -> ScheduleConfig:
        if self.name == "one_cycle" and self.warmup:
            raise ValueError("one_cycle rises by itself until peak_at; leave warmup at 0")
        return self


class TrainConfig(Section):
    batch: Positive = 128  # images of one step over all ranks
    epochs: Annotated[float, Field(gt=0)] = 10
    steps: Positive | None = None  # instead of epochs
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    accumulate: Positive = 1  # parts into which one step's batch is cut
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of averaged weights
    checkpoint_every: Positive = 500  # steps
    log_every: Positive = 20  # steps
    evaluate_every: Annotated[float, Field(gt=0)] | None = None  # epochs, on the validation split
    evaluate_batch: Positive = 256
    evaluate_flip: bool = False  # the mean of the scores of a picture and of its mirror
    threads: Positive | None = None  # of torch on the CPU; default: torch's own choice


class RunConfig(Section):
    seed: int = 0
    data: DataConfig
    pipeline: PipelineConfig = PipelineConfig()
    evaluate_pipeline: PipelineConfig | None = None  # default: `evaluate` at the size and normalisation of `pipeline`
    model: ModelConfig = ModelConfig()
    method: MethodSection = MethodConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()

    @property
    def evaluation(self) -> PipelineConfig:
        """The pipeline that validation, test and prediction share."""
        if self.evaluate_pipeline is not None:
            return self.evaluate_pipeline
        return PipelineConfig(name="evaluate", size=self.pipeline.size, mean=self.pipeline.mean, std=self.pipeline.std)


def load(recipe: str, overrides: list[str] | None = None) -> tuple[RunConfig, list[str]]:
    """Reads a recipe (a file, or a name such as `cifar10_lt/erm`), applies `--set` overrides and checks it.

    Returns the config and the lines that say what differs from the recipe's parent and what was overridden.
    Raises UserError for a missing file, bad YAML, an unknown key or a value of the wrong kind.
    """
    values, parent = _overridden(recipe, overrides)
    preview(recipe, overrides)
    return _checked(values, recipe), changes(parent, values)


def preview(recipe: str, overrides: list[str] | None = None) -> RunConfig:
    """The run but for its method, whose file imports torch: enough to find most mistakes at once."""
    values, _ = _overridden(recipe, overrides)
    return _checked(values | {"method": _Unread()}, recipe)


def _overridden(recipe: str, overrides: list[str] | None) -> tuple[dict, dict]:
    """The values of a run, and those of its recipe's parent."""
    values, parent = _read(recipe, seen=())
    for override in overrides or []:
        _set(values, override)
    return values, parent


def changes(before: dict, after: dict, prefix: str = "") -> list[str]:
    """`train.lr: 0.1 -> 0.2` for every value that differs, in the order of `after`."""
    lines = []
    for name in [*after, *(n for n in before if n not in after)]:
        old, new = before.get(name), after.get(name)
        if isinstance(new, dict) and isinstance(old, dict | None):
            lines += changes(old or {}, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: {'-' if old is None else old} -> {'-' if new is None else new}")
    return lines


def dump(config: RunConfig) -> str:
    """The whole config as YAML that `load` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read(recipe: str, seen: tuple[str, ...]) -> tuple[dict, dict]:
    """The values of a recipe with its parents merged in, and the parent's values (its own if it has none)."""
    from fastlt import resources

    if recipe in seen:
        raise UserError(f"recipe {seen[0]} extends itself: {' -> '.join([*seen, recipe])}")
    text = resources.recipe(recipe)
    try:
        own = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise UserError(f"recipe {recipe} is no valid YAML{where}: {getattr(error, 'problem', error)}") from error
    if not isinstance(own, dict):
        raise UserError(
            f"recipe {recipe} holds no mapping of settings; see `fastlt train --list` for some to start from"
        )
    parent_name = own.pop("extends", None)
    if not parent_name:
        return own, copy.deepcopy(own)
    beside = Path(recipe).parent / str(parent_name)
    parent_values, _ = _read(str(beside) if beside.is_file() else str(parent_name), (*seen, recipe))
    return _merge(parent_values, own), parent_values


def _merge(base: dict, top: dict) -> dict:
    merged = dict(base)
    for name, value in top.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = _merge(base[name], value) if both and not _another(name, base[name], value) else value
    return merged


def _another(section: str, base: dict, top: dict) -> bool:
    """Whether `top` names another method or loss, to which the options of `base` mean nothing."""
    return section in ("method", "loss") and "name" in top and top["name"] != base.get("name")


def _set(values: dict, override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise UserError(f"--set {override}: write it as section.key=value, such as --set optimizer.lr=0.2")
    *sections, last = name.strip().split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values[section] = dict(values[section])
        values = values[section]
    try:
        values[last] = yaml.safe_load(_scientific(text))
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: {text} is no YAML value") from error


def _scientific(text: str) -> str:
    """YAML 1.1 reads 1e-4 as a string; people mean the number."""
    try:
        return repr(float(text)) if "e" in text.lower() else text
    except ValueError:
        return text


def _checked(values: dict, recipe: str) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"recipe {recipe}: {_explain(error.errors()[0], values)}") from error


class _Unread(MethodConfig):
    """Stands for a method that is not looked at."""


def _explain(problem: dict[str, Any], values: dict) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {place}; {_nearest(problem['loc'], values)}"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    if problem["type"] == "missing":
        return f"{place} is missing; give it with --set {place}=..."
    return f"{place} = {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _nearest(location: tuple, values: dict) -> str:
    """The right key nearest to a wrong one: in its own section, else the same name anywhere."""
    known = _known_keys(location[0], values)
    wrong = ".".join(str(part) for part in location)
    section = wrong.rpartition(".")[0]
    beside = [name for name in known if name.rpartition(".")[0] == section]
    elsewhere = [name for name in known if name.rpartition(".")[2] == location[-1]]
    near = elsewhere[:1] or difflib.get_close_matches(wrong, beside, 1, 0.6)
    near = near or difflib.get_close_matches(wrong, known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(beside) or ', '.join(known[:8])}"


def _known_keys(section: str, values: dict) -> list[str]:
    """Every key of a run; of its method and loss too, where the wrong one stands there."""
    known = key_names(RunConfig)
    if section != "method":
        return known
    from fastlt import losses, methods

    method = values["method"]
    loss = method.get("loss")
    own = key_names(methods.options(method.get("name", MethodConfig().name)), "method.")
    if isinstance(loss, dict):
        own += key_names(losses.options(loss.get("name", losses.AUTO)), "method.loss.")
    return own + known


def key_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a section and the sections inside it."""
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += key_names(kind, f"{prefix}{name}.")
    return names
