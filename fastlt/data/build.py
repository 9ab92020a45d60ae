"""From a source to shard sets: pick images, store them in parallel, go on where a killed build stopped."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from fastlt.address import Address, located
from fastlt.data import decoders_agree, manifest
from fastlt.data.item import Source
from fastlt.data.journal import Journal, claimed, discard
from fastlt.data.longtail import Recipe, group_limits
from fastlt.data.partial import Hiding
from fastlt.data.pictures import Checks, Picture, Treatment
from fastlt.data.plan import Plan, make_plans
from fastlt.data.remote.publish import aside, begin, publish, published, tidy
from fastlt.data.shard_writer import no_room
from fastlt.data.split_writer import SplitWriter
from fastlt.data.workers import Prepare, prepared
from fastlt.errors import UserError

DECODE_CHECKS_BELOW = 100_000  # images of all splits, unless the user says how to check them
NOT_TRIED = "NVIDIA DALI is not installed: only plain JPEG, PNG and WebP pass through, other pictures were not tried"
Progress = Callable[[str, int, int], None]  # split, images done, images in all


@dataclass
class BuildReport:
    """What `build` did."""

    out: Path | Address
    splits: dict[str, dict] = field(default_factory=dict)  # the content of each dataset.json
    bad: list[tuple[str, str, str]] = field(default_factory=list)  # split, id, reason of every unreadable image
    warnings: list[str] = field(default_factory=list)
    kept_shards: int = 0  # finished by an earlier run of the same build


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a build, apart from the source and its recipe."""

    seed: int
    hiding: Hiding | None
    balance_attributes: bool
    treatment: Treatment
    shard_bytes: int
    on_bad: str
    checks: Checks

    @property
    def encoding(self) -> str:
        return "raw" if self.treatment.raw else "encoded"

    @property
    def check(self) -> str:
        encodes_all = self.treatment.raw or self.treatment.quality is not None
        return "decode" if self.checks.decode or encodes_all else "header"


def build(
    source: Source,
    out: str | Path | Address,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    val: float | None = None,
    hiding: Hiding | None = None,
    balance_attributes: bool = False,
    shard_mb: float = 256,
    workers: int | None = None,
    max_side: int | None = None,
    quality: int | None = None,
    raw: bool | None = None,
    on_bad: str = "transcode",
    check: str | None = None,
    overwrite: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Writes OUT/train, OUT/val and OUT/test; the same arguments give the same bytes for any number of workers.

    At an address (s3://bucket/set) they appear when they are whole; until then they lie aside, see remote.publish.
    recipe: default the source's own. val: share of the training images, after the recipe, that becomes `val`; default
    the source's own. hiding: labels of `train` that become unknown. balance_attributes: varied copies of training
    images with rare attributes, see attribute_balance. workers: processes, default one a core. executor: any of
    concurrent.futures, such as a Dask cluster's (dask_cluster.py), takes their place, 4 `workers` chunks at a time; its
    processes need fastlt, the decoders and the files that this machine has. max_side, quality: see
    pictures.Treatment. raw: uint8 RGB; default only if the source gives arrays.
    on_bad: "transcode" stores what DALI does not show as Pillow does (found by trying; where DALI is not installed, all
    but the plain kinds of pictures.py) as a PNG of what Pillow sees; "skip" leaves it out; both leave out what Pillow
    cannot read, and list in OUT/bad-images.txt what is left out; "fail" ends at the first of either.
    check: "decode" decodes every picture, "header" only those whose header and end leave a doubt; default
    "decode" below 100,000 images in all. Pictures that are encoded anew (max_side, quality, raw) are decoded by Pillow
    alone, whatever `check` says.

    Finished splits and shards of the same build are kept. Raises UserError if OUT holds another build (unless
    `overwrite`), a class has no image, the disk is full, or the source cannot be read.
    """
    target, recipe = located(out), recipe or source.default_recipe
    out = aside(target) if isinstance(target, Address) else target
    if raw is None:
        first = next(source.items("train"), None)
        raw = first is not None and isinstance(first.image, np.ndarray)
    treatment, shard_bytes = _treatment(raw, max_side, quality), _shard_bytes(shard_mb)
    _require_choice("on_bad", on_bad, ("fail", "skip", "transcode"))
    _require_choice("check", check, (None, "header", "decode"))
    plans, warnings = make_plans(source, recipe, seed, val, hiding, balance_attributes)
    checks = _checks(check, on_bad, treatment, sum(map(len, plans)))
    settings = Settings(seed, hiding, balance_attributes, treatment, shard_bytes, on_bad, checks)
    report = BuildReport(target, warnings=warnings)
    if _may_pass(treatment) and not checks.dali:
        report.warnings.append(NOT_TRIED)
    journals = [Journal(out / plan.split, _fingerprint(source, recipe, settings, plan)) for plan in plans]
    if isinstance(target, Address):
        finished = published(target, {journal.folder.name: journal.fingerprint for journal in journals}, overwrite)
        if finished is not None:
            tidy(out, target)
            _report_kept(report, finished)
            return report
        begin(target, out)
        overwrite = any(journal.is_of_another_build() for journal in journals)  # what lies aside is no loss
    _clear_other_splits(out, plans, overwrite or target != out)
    with claimed(journals, overwrite):
        with prepared(executor, workers, treatment, checks) as prepare:
            for plan, journal in zip(plans, journals, strict=True):
                _build_split(source, recipe, settings, plan, journal, prepare, report, progress or (lambda *_: None))
        _write_lists(source, settings, report, out)
        if isinstance(target, Address):
            publish(out, target, report.splits)
    return report


def _report_kept(report: BuildReport, splits: dict[str, dict]) -> None:
    """Of a build that was there already."""
    report.splits = splits
    report.kept_shards = sum(len(values["shards"]) for values in splits.values())
    report.bad = [(split, id, reason) for split, values in splits.items() for id, reason in values["bad"]]


def _build_split(
    source: Source,
    recipe: Recipe,
    settings: Settings,
    plan: Plan,
    journal: Journal,
    prepare: Prepare,
    report: BuildReport,
    progress: Progress,
) -> None:
    report.kept_shards += len(journal.shards)
    if not journal.complete:
        _write_shards(source, settings, plan, journal, prepare, progress)
        _check_classes(source, plan, journal)
        training = report.splits["train"]["counts"] if plan.split != "train" else journal.counts
        journal.complete_with({**_description(source, recipe, settings, plan, journal), "training_counts": training})
    report.splits[plan.split] = manifest.read_manifest(journal.folder)
    report.bad += [(plan.split, id, reason) for id, reason in report.splits[plan.split]["bad"]]


def _write_shards(
    source: Source, settings: Settings, plan: Plan, journal: Journal, prepare: Prepare, progress: Progress
) -> None:
    """Stores the images of a plan from where the journal stands."""
    remaining, total = itertools.islice(plan.items(source), journal.done, None), len(plan)
    with SplitWriter(
        journal, settings.encoding, len(source.classes), settings.shard_bytes, plan.label_default
    ) as writer:
        for item, picture in prepare(remaining, total - journal.done):
            if isinstance(picture, Picture):
                writer.add(item, picture)
            elif settings.on_bad == "fail":
                raise UserError(f"{plan.split}: {item.id}: {picture}; mend it, or skip or transcode bad images")
            else:
                writer.add_bad(item, picture)
            progress(plan.split, writer.done, total)
        writer.finish()


def _description(source: Source, recipe: Recipe, settings: Settings, plan: Plan, journal: Journal) -> dict:
    return {
        "name": source.name,
        "split": plan.split,
        "classes": source.classes,
        "multi_label": source.multi_label,
        "label_default": plan.label_default,
        "attributes": getattr(source, "attributes", {}),
        "encoding": settings.encoding,
        "records": sum(shard["records"] for shard in journal.shards),
        "counts": journal.counts,
        "groups": group_limits(source.multi_label),
        "source": source.describe(),
        "recipe": {**recipe.describe(), "seed": settings.seed, "validation": plan.val},
        "subset": plan.digest,  # of ids, labels and choice: equal where the same images of a source were chosen
        "balanced_attributes": settings.balance_attributes and plan.split == "train",
        "hidden": settings.hiding and settings.hiding.describe() if plan.split == "train" else None,
        "treatment": asdict(settings.treatment),
        "checks": {"check": settings.check, "on_bad": settings.on_bad, "dali": settings.checks.dali},
    }


def _clear_other_splits(out: Path, plans: list[Plan], overwrite: bool) -> None:
    """A split of an earlier build must not pass for one of this build."""
    for split in {"train", "val", "test"} - {plan.split for plan in plans}:
        folder = out / split
        if manifest.begun(folder):
            if not overwrite:
                raise UserError(f"{folder} holds another build; choose another folder or overwrite it")
            discard(folder)
            with contextlib.suppress(OSError):  # something of the user's is in it
                folder.rmdir()


def _check_classes(source: Source, plan: Plan, journal: Journal) -> None:
    """After unreadable images were left out."""
    if not journal.shards:
        first = ": ".join(journal.bad[0])
        raise UserError(f"split {plan.split} has no image that can be read ({first} ...); mend the images")
    if plan.split == "train" and not source.multi_label and min(journal.counts) == 0:
        name = source.classes[journal.counts.index(0)]
        raise UserError(f"class {name!r} has no image that can be read; add images to it or take the class out")


def _fingerprint(source: Source, recipe: Recipe, settings: Settings, plan: Plan) -> str:
    """Of everything that decides the bytes of a split."""
    values = [manifest.VERSION, source.describe(), source.classes, recipe.describe(), asdict(settings), plan.digest]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _treatment(raw: bool, max_side: int | None, quality: int | None) -> Treatment:
    if max_side is not None and max_side < 1:
        raise UserError(f"max_side is {max_side}; give the longest side in pixels")
    if quality is not None and not 1 <= quality <= 100:
        raise UserError(f"quality is {quality}; JPEG takes 1 to 100")
    if raw and quality is not None:
        raise UserError("raw pictures have no JPEG quality; leave one of the two out")
    return Treatment(raw, max_side, quality)


def _require_choice(name: str, value: str | None, choices: tuple) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}; choose {' or '.join(filter(None, choices))}")


def _checks(check: str | None, on_bad: str, treatment: Treatment, images: int) -> Checks:
    decode = check == "decode" or (check is None and images < DECODE_CHECKS_BELOW)
    return Checks(decode, on_bad == "transcode", _may_pass(treatment) and decoders_agree.available())


def _may_pass(treatment: Treatment) -> bool:
    """Whether files are kept as they are; if not, DALI has nothing to say and need not be loaded."""
    return not treatment.raw and treatment.quality is None


def _shard_bytes(shard_mb: float) -> int:
    if not 0 < shard_mb < float("inf"):
        raise UserError(f"shard_mb is {shard_mb}; give the largest size of a shard in MB, such as 256")
    return int(shard_mb * 1_000_000)


def _write_lists(source: Source, settings: Settings, report: BuildReport, folder: Path) -> None:
    bad = [f"{split}\t{id}\t{reason}" for split, id, reason in report.bad]
    readable = "read" if settings.on_bad == "transcode" else "read, or not by every decoder alike,"
    _write_list(report, folder, manifest.BAD_IMAGES, bad, f"images could not be {readable} and were left out")
    problems = (f"{place}\t{reason}" for place, reason in getattr(source, "problems", []))
    _write_list(
        report, folder, manifest.SOURCE_PROBLEMS, problems, "problems in the annotations were resolved by a rule"
    )


def _write_list(report: BuildReport, folder: Path, name: str, lines: Iterable[str], what: str) -> None:
    """A file in `folder`, and a warning that names it; no file where there is nothing to say."""
    path, written = folder / name, 0
    try:
        with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
            for line in lines:
                file.write(f"{line}\n")
                written += 1
    except OSError as error:
        path.unlink(missing_ok=True)
        raise no_room(path, error) from error
    if written:
        report.warnings.append(f"{written} {what}; {report.out / name} lists them")
    else:
        path.unlink()
