"""How many blocks of a kernel run on a multiprocessor at once, as NVIDIA's cuda_occupancy.h computes it."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
WARP = 32


@dataclass(frozen=True)
class Multiprocessor:
    """From the tables of the CUDA C++ programming guide."""

    threads: int
    blocks: int
    shared: int  # bytes
    registers: int = 65536
    quarters: int = 4  # a warp's registers come from one of them
    register_unit: int = 256  # a warp's registers are rounded up to this
    shared_unit: int = 128
    reserved_shared: int = 1 * KIB  # of each block, for the system


MULTIPROCESSORS = {
    "sm_80": Multiprocessor(2048, 32, 164 * KIB),
    "sm_86": Multiprocessor(1536, 16, 100 * KIB),
    "sm_89": Multiprocessor(1536, 24, 100 * KIB),
    "sm_90": Multiprocessor(2048, 32, 228 * KIB),
    "sm_100": Multiprocessor(2048, 32, 228 * KIB),
    "sm_120": Multiprocessor(1536, 24, 100 * KIB),
}


def resident_blocks(arch: str, registers: int, shared: int, threads: int) -> int:
    """registers of one thread, bytes of shared memory of one block, threads of one block."""
    sm = MULTIPROCESSORS[arch]
    warps = -(-threads // WARP)
    of_warp = _up(registers * WARP, sm.register_unit)
    by_registers = sm.registers // sm.quarters // of_warp * sm.quarters // warps if registers else sm.blocks
    by_shared = sm.shared // _up(shared + sm.reserved_shared, sm.shared_unit)
    return min(sm.blocks, sm.threads // WARP // warps, by_registers, by_shared)


def occupancy(arch: str, registers: int, shared: int, threads: int) -> float:
    """The part of a multiprocessor's warps that can be resident, from 0 to 1."""
    warps = -(-threads // WARP) * resident_blocks(arch, registers, shared, threads)
    return warps * WARP / MULTIPROCESSORS[arch].threads


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
