"""What every kernel that the library ships must keep to, read off its machine code, and a table of it:

python tests/ptx/gates.py fastlt/_native.so --out docs/cuda-kernels.md       writes the table
python tests/ptx/gates.py fastlt/_native.so --ceilings                       takes today's registers as the ceiling
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import shipped
import toolkit
from occupancy import occupancy
from shipped import Name, Shape

CEILINGS = Path(__file__).with_name("registers.json")  # kernel -> most registers of a thread, on any architecture

# Bytes asked for over the least possible, at TABLE_SHAPE in fp32 with 16 bytes at once and no optional inputs. A second
# pass over a row reads it again (from the cache), vectors of the classes are read for every row, and what is the same
# for a whole row (its label, `upstream`) by every thread of its block.
TABLE_SHAPE = Shape(8, 512)
BYTES = {
    "sigmoid_rows": 1.01,
    "sigmoid_gradients": 1.3,
    "lsep_rows": 2.1,
    "softmax_losses": 4.5,
    "softmax_gradients": 3.6,
    "normalise_rows": 1.5,
    "inverse_norm_rows": 1.01,
    "project_rows": 1.8,
    "prototype_rows": 3.0,
    "supervised_rows": 3.5,
    "sum_partials": 1.01,
}
ONE_RESULT_A_ROW = {"sigmoid_rows", "softmax_losses", "inverse_norm_rows", "anchor_rows", "sum_rows"}
BLOCKS_OF_128 = {"sigmoid_gradients", "sum_partials"}
SYSTEM_SHARED = 1024  # bytes that cuobjdump counts in on architectures whose system reserves them


@dataclass(frozen=True)
class Compiled:
    """One kernel for one architecture."""

    name: Name
    machine: toolkit.Machine

    @property
    def threads(self) -> int:
        """Of its largest block."""
        return 128 if self.name.family in BLOCKS_OF_128 else 256

    @property
    def generation(self) -> int:
        """90 of sm_90."""
        return int(re.sub(r"\D", "", self.machine.arch))

    @property
    def shared(self) -> int:
        """Bytes that a block asks for."""
        reserved = SYSTEM_SHARED if self.generation >= 90 else 0
        return max(self.machine.shared - reserved, 0)

    @property
    def occupancy(self) -> float:
        return occupancy(self.machine.arch, self.machine.registers, self.shared, self.threads)

    @property
    def loads(self) -> int:
        """Instructions that load 128 bits or more at once."""
        return self.machine.count(r"LDG.*\.(128|256)")

    @property
    def stores(self) -> int:
        return self.machine.count(r"STG.*\.(128|256)")

    @property
    def writes_rows(self) -> bool:
        return self.name.family not in ONE_RESULT_A_ROW and not (
            self.name.family == "lsep_rows" and not self.name.flags[0]
        )

    def faults(self, ceiling: int | None) -> list[str]:
        machine, wide = self.machine, self.name.width > 1
        doubles = machine.count(r"D(ADD|FMA|MUL|SETP|MNMX)\b|.*\.F64|MUFU.*64H")
        found = {
            "uses local memory, so registers spill": machine.local or machine.stack or machine.count("LDL|STL"),
            "computes in double precision": not self.name.double and doubles,
            "uses atomics": machine.count("ATOM|RED[.G]"),
            "does not load 128 bits at once": wide and not self.loads,
            "does not store 128 bits at once": wide and self.writes_rows and not self.stores,
            "has no ceiling in registers.json": ceiling is None,
            f"uses {machine.registers} registers, the ceiling is {ceiling}": machine.registers > (ceiling or 255),
        }
        return [f"{self.name} on {machine.arch} {text}" for text, holds in found.items() if holds]


def compiled(library: Path) -> list[Compiled]:
    """Raises toolkit.Missing."""
    machines = toolkit.machine_code(library)
    names = shipped.identify([machine.kernel for machine in machines])
    known = [Compiled(names[machine.kernel], machine) for machine in machines if machine.kernel in names]
    return sorted(known, key=lambda kernel: (kernel.name, kernel.generation))


def ceilings() -> dict[str, int]:
    return json.loads(CEILINGS.read_text()) if CEILINGS.exists() else {}


def faults(kernels: list[Compiled]) -> list[str]:
    known = ceilings()
    return [fault for kernel in kernels for fault in kernel.faults(known.get(str(kernel.name)))]


def write_ceilings(kernels: list[Compiled]) -> None:
    """What is used today, in the units of 8 that the hardware hands out."""
    most: dict[str, int] = {}
    for kernel in kernels:
        used = -(-kernel.machine.registers // 8) * 8
        most[str(kernel.name)] = max(most.get(str(kernel.name), 0), used)
    CEILINGS.write_text(json.dumps(most, indent=1, sort_keys=True) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path, nargs="?", default=toolkit.LIBRARY)
    parser.add_argument("--out", type=Path, help="write the table of kernels there")
    parser.add_argument("--ceilings", action="store_true", help="take today's registers as the ceiling")
    options = parser.parse_args()
    try:
        kernels = compiled(options.library)
    except toolkit.Missing as error:
        print(error, file=sys.stderr)
        return 1
    if options.ceilings:
        write_ceilings(kernels)
    if options.out:
        import kernel_table

        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(kernel_table.page(kernels, toolkit.shipped_ptx(options.library)))
    found = faults(kernels)
    print("\n".join(found) or f"{len(kernels)} kernels pass")
    return int(bool(found))


if __name__ == "__main__":
    sys.path.insert(0, str(toolkit.REPOSITORY))  # where fastlt is not installed
    raise SystemExit(main())
