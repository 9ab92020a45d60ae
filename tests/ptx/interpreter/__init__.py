"""Runs the PTX that nvcc made, in numpy: one lane for each CUDA thread, all blocks of a launch at once.

    kernels = parse(text)
    heap = Heap()
    x, y = heap.put(array), heap.reserve(array.nbytes)
    stats = launch(kernels["name"], grid=4, block=128, heap=heap, arguments=[x, y, 1000])
    result = heap.get(y, array)

What it checks beside values: bounds, alignment and initialisation of every access, races between the warps of a block
in shared memory and between blocks in global memory, who takes part in shuffles and barriers. What it counts: bytes,
32-byte sectors and instructions. One schedule, no tensor cores, no atomics, no double precision; the approximate
functions of the hardware (ex2, lg2, rcp ...) are correctly rounded here.
"""

from .errors import PtxError
from .execute import launch
from .memory import Heap
from .parse import Kernel, parse
from .statistics import Statistics

__all__ = ["Heap", "Kernel", "PtxError", "Statistics", "launch", "parse"]
