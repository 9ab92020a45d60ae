"""The training loop: it knows no method by name and never waits for the device inside a step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from fastlt import distributed, hashing, methods, streams
from fastlt.batch import Batch
from fastlt.config import RunConfig, TrainConfig
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.evaluate.metrics import evaluate
from fastlt.evaluate.scoring import score
from fastlt.loader import Loader, Placement
from fastlt.models.frozen_part import FrozenPart
from fastlt.progress import Progress, TrainingSet, second_stage_start
from fastlt.shared_arrays import one_copy_a_host
from fastlt.train import checkpoint, frozen_features, optim, precision, schedule, state
from fastlt.train.bad_images import BadImages
from fastlt.train.clock import Clock
from fastlt.train.display import Display, headline
from fastlt.train.ema import AveragedWeights
from fastlt.train.events import Events
from fastlt.train.interrupt import Interrupted, StopRequest
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import EarlierRuns


def train(
    config: RunConfig, folder: RunFolder, ranks: distributed.Ranks, resume: bool, display: Display, changes: list[str]
) -> dict:
    """Begins a run in `folder`, or goes on with it, trains to the end, and returns the summary.

    `changes` head the config that is kept. Nothing is written before the data, the model and the settings have been
    found right. Raises UserError for what the user can mend and Interrupted after Ctrl-C.
    """
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    with Trainer.open(config, folder, ranks, display, resume) as trainer:
        if resume:
            state.restore(trainer, checkpoint.load(folder.last))
        if ranks.is_first:
            folder.write_config(config, changes) if resume else folder.create(config, changes)
        distributed.barrier()
        trainer.run()
        return state.summary(trainer)


class Trainer:
    """One run from its config: the model, the streams, and the state that a checkpoint keeps."""

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, config: RunConfig, folder: RunFolder, ranks: distributed.Ranks, display: Display, resume: bool = False
    ) -> Iterator[Trainer]:
        """A trainer over the data set of `config`; everything it opened is closed at the end.

        To `resume` is to take no initial weights from another run: `restore` will bring them.
        """
        path, opened = config.data.path, partial(ShardSet, share=one_copy_a_host)
        with contextlib.ExitStack() as stack:
            records = stack.enter_context(opened(path / "train"))
            has_validation = (path / "val" / "dataset.json").exists()
            validation = stack.enter_context(opened(path / "val")) if has_validation else None
            trainer = cls(config, folder, ranks, records, validation, display, resume)
            stack.callback(trainer.close)
            stack.enter_context(trainer.loader)
            yield trainer

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        ranks: distributed.Ranks,
        records: ShardSet,
        validation: ShardSet | None,
        display: Display,
        resume: bool,
    ) -> None:
        self.config, self.folder, self.ranks, self.display = config, folder, ranks, display
        self.records, self.validation = records, validation
        self.precision = precision.choose(config.train.precision, ranks.device)
        self.precision.activate()
        self.data = TrainingSet.of(records)
        self.method = methods.build(config, self.data, ranks.device, display.say)
        self._take_from_other_runs(resume)
        self.loader = Loader(
            records,
            self.method.streams,
            config.pipeline,
            config.train.batch,
            config.seed,
            config.data,
            Placement(ranks.rank, ranks.count, ranks.device, half=self.precision.dtype == torch.float16),
        )
        if config.model.cache_frozen:
            frozen_features.check(self.method, config)
        _check_parts(config.train.batch, ranks.count, config.train.accumulate)
        self._set_length()
        self.step = 0
        self.optimizer = optim.build(
            optim.parameter_groups(self.method.param_groups(), config.optimizer), config.optimizer, ranks.device
        )
        self.scaler = self.precision.scaler()
        self.ema = AveragedWeights(self.method, config.train.ema) if config.train.ema else None
        self.parallel = self.method
        if ranks.count > 1:
            self.parallel = DistributedDataParallel(
                self.method, broadcast_buffers=False, find_unused_parameters=self.method.idle_parameters
            )
        self.network_from: Callable[[], AbstractContextManager] = contextlib.nullcontext  # pictures, or features
        self.events: Events | None = None
        self.sums: dict[str, Tensor] = {}
        self.bad_images = BadImages(self.loader.replacement, records, folder, ranks.is_first, display.say)
        self.summed = 0  # steps whose terms `sums` holds
        self.best: dict | None = None
        self.clock = Clock()

    def _take_from_other_runs(self, resume: bool) -> None:
        open_run = EarlierRuns(self.config, self.ranks, self.precision)
        if not resume:
            self.method.start_from(open_run)
        self.method.attach(open_run)

    def _set_length(self) -> None:
        self.epoch_length = self.loader.epoch_length(self.method.epoch_of)
        self.steps_per_epoch = self.epoch_length / self.config.train.batch
        self.steps, self.stage_border = self.planned(self.config.train)
        self.loader.begin_second_stage_at(self.stage_border)

    def planned(self, train: TrainConfig) -> tuple[int, int]:
        """Steps of a run of this method and data, and how many of them are of its first stage."""
        steps = train.steps or streams.steps_of(train.epochs, self.epoch_length, train.batch)
        share = self.method.second_stage
        return steps, steps if share is None else second_stage_start(share, steps)

    def run(self, until: int | None = None) -> None:
        """Every remaining step (or those before `until`), with logging, validation and checkpoints where due."""
        end = self.steps if until is None else until
        if not self.folder.last.exists():
            self.save()  # a run can be resumed from its first moment on
        if self.config.model.cache_frozen and self.loader.features is None:
            self.cache_frozen()
        self.method.train()
        self._open_events()
        self.display.begin(self.step, self.steps, [str(self.precision)])
        with StopRequest() as stop:
            while self.step < end:
                self._timed_step()
                if self._due(self.config.train.log_every):
                    self._log()
                if self._validation_due():
                    with self.clock.paused():
                        self._validate()
                stopping = self._stopping(stop)
                if stopping or self._due(self.config.train.checkpoint_every):
                    with self.clock.paused():
                        self.save()
                if stopping:
                    raise Interrupted(f"stopped after step {self.step} of {self.steps}")

    def cache_frozen(self) -> None:
        """From here on steps begin behind the frozen stages, whose weights no longer change."""
        try:
            with self.precision.autocast():
                found = frozen_features.compute(self.method, self.records, self.config, self.ranks, self.display)
        except KeyboardInterrupt as stop:
            raise Interrupted(f"stopped before step {self.step + 1} of {self.steps}") from stop
        self.loader.show_features(found)
        self.network_from = FrozenPart(self.method).passed_over

    def _open_events(self) -> None:
        if self.ranks.is_first and self.events is None:
            self.events = Events(self.folder.events, self.step)

    def _timed_step(self) -> None:
        with self.clock.waiting():
            batch = self._next_batch()
        self.train_step(batch)
        self.step += 1
        self.clock.count(self.config.train.batch)
        self.display.advance(self.step)

    def _next_batch(self) -> Batch:
        try:
            return next(self.loader)
        except UserError:
            self.bad_images.list_own()  # of which there may be too many
            raise

    def train_step(self, batch: Batch) -> None:
        """One update. Nothing in here reads a value back from the device."""
        torch.manual_seed(hashing.key(self.config.seed, "step", self.step, self.ranks.rank) >> 1)
        now = self.progress()
        parts = batch.parts(self.config.train.accumulate)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last else self._no_sync(), self.precision.autocast(), self.network_from():
                terms = self.parallel(part, now)
            with contextlib.nullcontext() if last else self._no_sync():
                self.scaler.scale(sum(terms.values()) / len(parts)).backward()
            self._accumulate(terms, len(parts))
        self.summed += 1
        self._update()

    def _no_sync(self):
        return self.parallel.no_sync() if self.parallel is not self.method else contextlib.nullcontext()

    def _update(self) -> None:
        factor = schedule.factor(self.config.schedule, *self._step_of_stage(), self.steps_per_epoch)
        schedule.apply(self.optimizer, factor, self.config.optimizer.lr)
        if self.config.train.clip_norm:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.method.parameters(), self.config.train.clip_norm, foreach=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.method)

    def _step_of_stage(self) -> tuple[int, int]:
        """Where the present stage is, and how many steps it has."""
        if self.step < self.stage_border:
            return self.step, self.stage_border
        return self.step - self.stage_border, self.steps - self.stage_border

    def _accumulate(self, terms: dict[str, Tensor], parts: int) -> None:
        for name, value in terms.items():
            value = value.detach().float() / parts
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def progress(self) -> Progress:
        epoch, epochs = self.step / self.steps_per_epoch, self.steps / self.steps_per_epoch
        return Progress(self.step, self.steps, epoch, epochs, self.config.train.accumulate)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.steps

    def _stopping(self, stop: StopRequest) -> bool:
        """Alone: as soon as asked. Several ranks agree where they meet anyway, at a logged step."""
        if self.ranks.count == 1:
            return stop.requested
        agreed = self._due(self.config.train.log_every)
        return agreed and distributed.any_rank(stop.requested, self.ranks.device)

    def _validation_due(self) -> bool:
        every = self.config.train.evaluate_every
        if self.validation is None:
            return False
        if self.step == self.steps or every is None:
            return self.step == self.steps
        epochs = self.step / self.steps_per_epoch / every
        return math.floor(epochs) > math.floor((self.step - 1) / self.steps_per_epoch / every)

    def _log(self) -> None:
        """Writes the means of the terms since the last time."""
        means = self._means()
        self.sums, self.summed = {}, 0
        rates = self.clock.lap()
        left = (self.steps - self.step) * self.config.train.batch / max(rates["images_per_second"], 0.1)
        rate = self.optimizer.param_groups[0]["lr"]
        epoch = round(self.step / self.steps_per_epoch, 4)
        counts = {"seconds_left": round(left), "bad_images": len(self.bad_images.gather())}
        self._write({"step": self.step, "epoch": epoch, "lr": rate, "terms": means} | rates | counts)

    def _means(self) -> dict[str, float]:
        """Reads the summed terms back: the one place where the host waits for the device.

        Raises UserError if they are not finite.
        """
        names = sorted(self.sums)
        if not names:
            return {}
        stacked = torch.stack([self.sums[name] for name in names]) / self.summed
        means = dict(zip(names, distributed.mean(stacked).tolist(), strict=True))
        if not all(math.isfinite(value) for value in means.values()):
            raise UserError(
                f"the loss is not finite at step {self.step} ({means}); lower optimizer.lr, lengthen schedule.warmup "
                "or set train.clip_norm; the last checkpoint is kept"
            )
        return means

    def _write(self, row: dict) -> None:
        if self.ranks.is_first:
            self.folder.append(row)
            self.events.row(row)
            self.display.row(row)

    def _validate(self) -> None:
        self.method.choose(lambda: self.measure(self.validation, "validation"))
        found = self.measure(self.validation, "validation")
        self._write({"step": self.step, "split": "val"} | headline(found))
        name = "mAP" if self.data.multi_label else "top1"
        # A long tail leaves few images for validation, so that results are often equal: the later had more training.
        if self._in_last_stage() and (self.best is None or found[name] >= self.best["value"]):
            self.best = {"step": self.step, "metric": name, "value": found[name]}
            self._save_to(self.folder.best)

    def _in_last_stage(self) -> bool:
        """Whether a step of it has been done: what an earlier stage left is not what the method came to."""
        return self.method.second_stage is None or self.step > self.stage_border

    def measure(self, records: ShardSet, title: str) -> dict:
        """The metrics of a split with the averaged weights where there are any."""
        distributed.broadcast_buffers(self.method)
        with self.ema.swapped(self.method) if self.ema else contextlib.nullcontext(), self.precision.autocast():
            scores, rows = score(self.method, records, self.config, self.ranks, self.display.ticker(title))
        data = self.data
        return evaluate(scores, records.labels(rows), data.counts, data.groups, data.classes, data.attributes)

    def save(self) -> None:
        """Writes `last.pt`; all ranks take part. Raises UserError rather than keep a state that is not finite."""
        self._means()
        self._save_to(self.folder.last)

    def _save_to(self, path: Path) -> None:
        distributed.broadcast_buffers(self.method)
        bad = self.bad_images.gather()
        sums = {name: distributed.mean(value) for name, value in self.sums.items()}
        if self.ranks.is_first:
            checkpoint.save(path, state.of(self, bad, sums))
        distributed.barrier()

    def close(self) -> None:
        self.display.end()
        if self.events:
            self.events.close()


def _check_parts(batch: int, ranks: int, parts: int) -> None:
    if (batch // ranks) % parts:
        raise UserError(
            f"train.batch {batch} over {ranks} ranks cannot be cut into train.accumulate = {parts} equal parts; "
            f"choose a multiple of {ranks * parts}"
        )
