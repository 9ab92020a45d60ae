"""One rank of test_shared_arrays.py: `shared_arrays_rank.py RANK RANKS FOLDER [DATA]` opens a set with the others.

It writes what it holds, and which memory that is, to FOLDER/found<rank>.json; without DATA, what making arrays raises.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch.distributed as dist

from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.shared_arrays import one_copy_a_host


def mapped() -> list[str]:
    """Inodes of memory without a name that this process sees."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted({re.split(r"\s+", line)[4] for line in lines if "memfd:fastlt" in line})


def opened(data: Path) -> dict:
    with ShardSet(data, share=one_copy_a_host) as records:
        rows = np.arange(len(records))
        indptr, members = records.class_members()
        try:
            members[0] = 1
            writable = True
        except ValueError:
            writable = False
        return {
            "labels": records.labels(rows).tolist(),
            "shapes": records.shapes(rows).tolist(),
            "sums": [part.tolist() for part in records.sums(rows)],
            "members": [indptr.tolist(), members.tolist()],
            "bytes": [record.tobytes().hex() for record in records.read(rows[:3])],
            "memory": mapped(),
            "writable": writable,
        }


def refused(rank: int) -> dict:
    def make(empty):
        raise UserError(f"rank {rank} finds the set damaged")

    try:
        one_copy_a_host(make)
    except UserError as error:
        return {"error": str(error)}
    return {}


def main(rank: int, ranks: int, folder: Path, data: Path | None) -> None:
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=ranks)
    found = opened(data) if data else refused(rank)
    dist.destroy_process_group()
    (folder / f"found{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]) if len(sys.argv) > 4 else None)
