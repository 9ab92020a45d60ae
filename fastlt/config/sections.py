"""Every setting of a run: its kind, its default, its meaning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializeAsAny,
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
    scaled_decoding: bool = False  # large JPEGs at 1/2, 1/4 or 1/8, faster, with less detail; on a CPU alone
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
    cache_frozen: bool = False  # what these make of each picture is kept in memory; for recipes that only flip
    frozen_batch_norm: bool = False  # running statistics are used and kept as they are
    sync_batch_norm: bool = False  # statistics over all ranks

    @model_validator(mode="after")
    def _something_to_cache(self) -> ModelConfig:
        if self.cache_frozen and not self.frozen_stages:
            raise ValueError("cache_frozen keeps what frozen stages make of a picture, but frozen_stages is 0")
        return self


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
