"""What a launch did, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Statistics:
    """Threads, and what they executed.

    accesses: (instruction, space, bytes of one thread's access) -> how many threads did it
    sectors:  (instruction, space) -> 32-byte sectors that warps asked for, an access of a warp at a time
    threads:  instruction ("add", "rcp", "rcp.approx") -> threads that executed it
    warps:    the same, issued once for each warp
    """

    accesses: Counter = field(default_factory=Counter)
    sectors: Counter = field(default_factory=Counter)
    threads: Counter = field(default_factory=Counter)
    warps: Counter = field(default_factory=Counter)

    def bytes(self, instruction: str, space: str = "global") -> int:
        """Bytes that threads asked for with "ld" or "st"."""
        return sum(n * width for (name, at, width), n in self.accesses.items() if (name, at) == (instruction, space))

    def widest(self, instruction: str, space: str = "global") -> int:
        """Bytes of the widest access of one thread; 16 is a vector of 128 bits."""
        return max((width for name, at, width in self.accesses if (name, at) == (instruction, space)), default=0)

    @property
    def requested(self) -> int:
        return self.bytes("ld") + self.bytes("st")

    @property
    def moved(self) -> int:
        """Bytes of all sectors of global memory that warps asked for: at least what is requested if well coalesced."""
        return 32 * (self.sectors["ld", "global"] + self.sectors["st", "global"])

    @property
    def issued(self) -> int:
        return sum(self.warps.values())
