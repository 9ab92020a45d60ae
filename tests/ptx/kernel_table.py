"""The page docs/cuda-kernels.md: what compiler and interpreter say of every kernel, and what an H100 may do"""

from __future__ import annotations

import re
from itertools import groupby

import interpreter
import shipped
from gates import TABLE_SHAPE, Compiled
from shipped import Outcome

# NVIDIA's data sheet of the H100 SXM: 3.35 TB/s; 66.9 TFLOP/s of fp32 = 132 multiprocessors x 128 lanes x 2 x 1.98 GHz.
# A multiprocessor starts 4 warps' instructions a cycle, and 16 threads' special functions.
BANDWIDTH, MULTIPROCESSORS, CLOCK = 3.35e12, 132, 1.98e9
ISSUED = MULTIPROCESSORS * 4 * CLOCK
SPECIAL = MULTIPROCESSORS * 16 * CLOCK
# Of PTX: what becomes no machine instruction of its own, and what becomes several with a special function among them.
FREE = {"mov", "cvta", "pragma"}
ROUNDED = {"div": 9, "rcp": 7, "sqrt": 9}
SPECIAL_FUNCTIONS = {"ex2.approx", "lg2.approx", "rcp.approx", "rsqrt.approx", "sqrt.approx", "tanh.approx", *ROUNDED}

RAN = f"{TABLE_SHAPE.rows} x {TABLE_SHAPE.columns}"
PEAK = f"{BANDWIDTH / 1e12} TB/s and {MULTIPROCESSORS} x {CLOCK / 1e9} GHz"
HEAD = f"""# CUDA kernels: what the compiler made, and what may be expected

Written by `python tests/ptx/gates.py fastlt/_native.so --out docs/cuda-kernels.md`; the tests in `tests/ptx` hold the
library to its gates. **Nothing on this page was measured**; what was, on an H100, stands in gpu-measurements.md.

- **kernel**: its template arguments are types, how many elements a thread moves at once, and flags: of the sigmoid
  kernels the form (0 plain, 1 focused, 2 with a margin) and whether the classes' gradients are made, of `lsep_rows`
  whether gradients are made, of the softmax kernels whether a teacher is there.
- **registers** of a thread, on each architecture that the library holds machine code for. None spills or uses local
  memory or atomics, and double precision stands in kernels of that type alone.
- **occupancy**: the part of a multiprocessor's warps that fit beside each other at the largest block.
- **128-bit**: loads and stores of 16 bytes in the machine code.
- **bytes** for each element: what threads ask for, and the least possible (each input and each output once), counted
  by running the library's PTX on {RAN} elements without optional inputs. Beyond the least are second passes over
  a row, and values of a class or a row that many threads read, most of them from caches.
- **us**: an **estimate** of the microseconds for a million elements on an H100 SXM at its peak rates, {PEAK}:
  by *memory*, for the least bytes and for all that is asked for; by *instructions*, for those of the PTX run (starts,
  special functions). The larger of both is a floor, and launching a kernel costs some microseconds more.
"""


def page(kernels: list[Compiled], ptx: str) -> str:
    groups = {name: list(group) for name, group in groupby(kernels, lambda kernel: kernel.name)}
    outcomes = _outcomes(ptx)
    archs = " / ".join(kernel.machine.arch for kernel in next(iter(groups.values())))
    wide = [name for name in groups if name.width > 1 and name in outcomes]
    rest = [name for name in groups if name not in wide]
    lines = [HEAD, "## Kernels that move 16 bytes at once\n", _header(archs, True)]
    lines += [_row(name, groups[name], outcomes[name]) for name in wide]
    lines += ["\n## The others: one element at once, double precision, sums\n", _header(archs, False)]
    lines += [_row(name, groups[name], None) for name in rest]
    return "\n".join(lines) + "\n"


def _outcomes(ptx: str) -> dict[shipped.Name, Outcome]:
    names = shipped.identify(re.findall(r"\.entry\s+([\w$]+)", ptx))
    wanted = {mangled: name for mangled, name in names.items() if not name.double and name.width > 1}
    parsed = interpreter.parse(ptx, wanted.__contains__)
    return {wanted[mangled]: shipped.run(wanted[mangled], kernel, TABLE_SHAPE) for mangled, kernel in parsed.items()}


def _header(archs: str, ran: bool) -> str:
    names = ["kernel", f"registers {archs}", "shared bytes", "occupancy", "128-bit loads, stores"]
    if ran:
        names += ["bytes, least", "us: memory", "us: instructions"]
    return "| " + " | ".join(names) + " |\n|" + "---|" * len(names)


def _row(name: shipped.Name, kernels: list[Compiled], outcome: Outcome | None) -> str:
    cells = [
        f"`{name}`",
        " / ".join(str(kernel.machine.registers) for kernel in kernels),
        str(max(kernel.shared for kernel in kernels)),
        " / ".join(f"{kernel.occupancy:.2f}" for kernel in kernels),
        f"{min(kernel.loads for kernel in kernels)}, {min(kernel.stores for kernel in kernels)}",
    ]
    if outcome is not None:
        asked, least = outcome.statistics.requested / outcome.elements, outcome.least / outcome.elements
        cells += [
            f"{asked:.1f}, {least:.1f}",
            f"{1e12 * least / BANDWIDTH:.1f} to {1e12 * asked / BANDWIDTH:.1f}",
            f"{1e12 * seconds_by_instructions(outcome) / outcome.elements:.1f}",
        ]
    return "| " + " | ".join(cells) + " |"


def seconds_by_instructions(outcome: Outcome) -> float:
    """Of all multiprocessors at their peak, for what this launch executed."""
    warps = outcome.statistics.warps
    issued = sum(count * ROUNDED.get(name, name not in FREE) for name, count in warps.items())
    special = sum(warps[name] for name in SPECIAL_FUNCTIONS) * 32
    return max(issued / ISSUED, special / SPECIAL)
