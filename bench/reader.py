"""The shard reader alone, one thread, page cache warm: against h5py on the same file and one file a picture."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from fastlt.bench.photos import photo_set
from fastlt.bench.timing import case, rates_in_turn

from fastlt.data import layout
from fastlt.streams import Uniform

BATCH, BATCHES = 64, 40


def cases(data: Path | None) -> list[dict]:
    """Records per second at random places, in batches of 64."""
    with photo_set(data) as (records, files):
        stream = Uniform(len(records), key=1)
        batches = [stream.indices(BATCH * number, BATCH) for number in range(BATCHES)]
        shard = sorted(records.folder.glob("*.h5"))[0]
        with h5py.File(shard) as file:
            offset, stored = file["offset"][:], file[layout.BYTES]
            rows = len(offset) - 1

            def ours() -> int:
                return sum(len(records.read(batch)) for batch in batches)

            def plain_h5py() -> int:
                shown = [stored[offset[i] : offset[i + 1]] for batch in batches for i in (batch % rows).tolist()]
                return len(shown)

            def single_files() -> int:
                return len([files[i].read_bytes() for batch in batches for i in batch.tolist()])

            contestants = {"fastlt": ours, "h5py": plain_h5py, "one file a picture": single_files}
            rates = rates_in_turn(contestants)
        size = float(np.mean([len(record) for record in records.read(np.arange(min(len(records), 256)))]))
        return [case(name, rates, "records", "h5py") | {"bytes_per_record": round(size)} for name in contestants]
