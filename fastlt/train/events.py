"""The rows of metrics.jsonl as TensorBoard events."""

from __future__ import annotations

from pathlib import Path


class Events:
    """Writes events below `folder`; a resumed run hides what came after `step` before."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def row(self, row: dict) -> None:
        """Every number of a row: loss terms, rate and speed under `train/`, metrics under the split's name."""
        prefix = row.get("split", "train")
        for name, value in (row | row.get("terms", {})).items():
            if name != "step" and isinstance(value, float | int):
                self._writer.add_scalar(f"{prefix}/{name}", value, row["step"])

    def close(self) -> None:
        self._writer.close()
