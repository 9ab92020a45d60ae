"""What a checkpoint keeps of a trainer, and what a finished run says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastlt.config import RunConfig
from fastlt.errors import UserError
from fastlt.progress import TrainingSet
from fastlt.train import checkpoint

if TYPE_CHECKING:
    from fastlt.train.trainer import Trainer


def of(trainer: Trainer, bad: list[int], sums: dict[str, Tensor]) -> dict:
    """All that `restore` needs. bad, sums: those of all ranks."""
    return {
        "step": trainer.step,
        "config": trainer.config.model_dump(mode="json"),
        "data": trainer.data.as_dict(),
        "model": trainer.method.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "ema": trainer.ema.state_dict() if trainer.ema else None,
        "sums": sums,
        "summed": trainer.summed,
        "clock": trainer.clock.state_dict(),
        "bad_images": bad,
        "best": trainer.best,
    }


def restore(trainer: Trainer, state: dict) -> None:
    """Goes on from a checkpoint. Raises UserError if it is of another model or data set."""
    last = trainer.folder.last
    if TrainingSet(**state["data"]) != trainer.data:
        raise UserError(f"{last} was trained on another data set than the one in {trainer.config.data.path}")
    checkpoint.check_matches(state["model"], trainer.method.state_dict(), last)
    _check_stage(trainer, state)
    trainer.method.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    if trainer.ema:
        trainer.ema.load_state_dict(state["ema"])
    trainer.sums = {name: value.to(trainer.ranks.device) for name, value in state["sums"].items()}
    trainer.summed, trainer.best, trainer.step = state["summed"], state["best"], state["step"]
    trainer.clock.load_state_dict(state["clock"])
    trainer.loader.seek(trainer.step, set(state["bad_images"]))
    if trainer.ranks.is_first:
        trainer.folder.forget_after(trainer.step)


def _check_stage(trainer: Trainer, state: dict) -> None:
    """Raises UserError if a run that is made longer would fall back from its second stage into its first."""
    step, (_, before) = state["step"], trainer.planned(RunConfig.model_validate(state["config"]).train)
    if before < step < trainer.stage_border:
        raise UserError(
            f"{trainer.folder.last} has done {step - before} steps of its method's second stage, which in a run of "
            f"{trainer.steps} steps begins after {trainer.stage_border}; leave its length as it was, or begin another"
        )


def summary(trainer: Trainer) -> dict:
    """What the run came to, beside the metrics of its splits."""
    device = trainer.ranks.device
    return {
        "dataset": trainer.data.name,
        "method": trainer.config.method.name,
        "streams": ", ".join(spec.stream.sampling for spec in trainer.method.streams.values()),
        "backbone": trainer.config.model.backbone,
        "steps": trainer.step,
        "epochs": round(trainer.step / trainer.steps_per_epoch, 3),
        "training_images": len(trainer.records),
        **trainer.clock.rates,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "ranks": trainer.ranks.count,
        "precision": trainer.precision.name,
        "bad_images": len(trainer.bad_images.known),
        "best": trainer.best,
    }
