"""Global, shared, local and parameter memory: every access is checked before it is made."""

from __future__ import annotations

import numpy as np

from .errors import PtxError
from .parse import Layout

UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
# Where a space begins in the generic address space; global memory begins at 0.
WINDOWS = {"global": 0, "shared": 1 << 40, "local": 1 << 41, "param": 1 << 42}
MANY = -2  # several agents


class Owners:
    """Who read and wrote each byte last: finds conflicts between agents that nothing orders.

    Accesses of one epoch are not ordered (an epoch ends at a barrier); an agent's own accesses are.
    """

    def __init__(self, size: int, agents: str) -> None:
        self.agents = agents  # how messages name them
        self.writer, self.reader = np.full(size, -1, np.int32), np.full(size, -1, np.int32)
        self.write_epoch, self.read_epoch = np.full(size, -1, np.int32), np.full(size, -1, np.int32)

    def load(self, index: np.ndarray, agent: np.ndarray, epoch: np.ndarray, text: str) -> None:
        agent, epoch = np.broadcast_to(agent[:, None], index.shape), np.broadcast_to(epoch[:, None], index.shape)
        self._refuse((self.write_epoch[index] == epoch) & (self.writer[index] != agent), "reads what", text)
        shared = (self.read_epoch[index] == epoch) & (self.reader[index] != agent)
        self.reader[index] = agent
        shared |= self.reader[index] != agent  # another agent's lane in this very access
        self.reader[index[shared]] = MANY
        self.read_epoch[index] = epoch

    def store(self, index: np.ndarray, agent: np.ndarray, epoch: np.ndarray, text: str) -> None:
        agent, epoch = np.broadcast_to(agent[:, None], index.shape), np.broadcast_to(epoch[:, None], index.shape)
        self._refuse((self.write_epoch[index] == epoch) & (self.writer[index] != agent), "writes what", text)
        unread = (self.read_epoch[index] != epoch) | (self.reader[index] == agent)
        self._refuse(~unread, "overwrites what", text, "reads")
        self.writer[index], self.write_epoch[index] = agent, epoch
        self._refuse(self.writer[index] != agent, "writes what", text)

    def forget(self) -> None:
        for known in (self.writer, self.reader, self.write_epoch, self.read_epoch):
            known.fill(-1)

    def _refuse(self, conflict: np.ndarray, does: str, text: str, other: str = "writes") -> None:
        if conflict.any():
            raise PtxError(f"race: a {self.agents} {does} another {self.agents} {other}, unordered: {text}")


class Space:
    """Equal rooms of `size` bytes, one for each instance (block, thread, or all together)."""

    def __init__(self, name: str, instances: int, size: int, owners: str | None = None) -> None:
        self.name, self.size = name, -(-size // 16) * 16 + 16
        total = instances * self.size
        self.data = np.full(total, 0xFF, np.uint8)  # NaN in every floating type
        self.valid, self.written = np.zeros(total, bool), np.zeros(total, bool)
        self.owners = Owners(total, owners) if owners else None

    def allow(self, layout: Layout) -> Space:
        for start, size in layout.place.values():
            self.valid.reshape(-1, self.size)[:, start : start + size] = True
        return self

    def index(self, instance: np.ndarray, address: np.ndarray, width: int, text: str) -> np.ndarray:
        """int64 [accesses, width]: the bytes of accesses that are allowed."""
        if (address % width).any():
            raise PtxError(f"misaligned {self.name} access of {width} bytes: {text}")
        if (address < 0).any() or (address + width > self.size).any():
            raise PtxError(f"{self.name} access out of bounds: {text}")
        index = (instance * self.size + address)[:, None] + np.arange(width)
        if not self.valid[index].all():
            raise PtxError(f"{self.name} access out of bounds: {text}")
        return index

    def load(self, index: np.ndarray, text: str) -> np.ndarray:
        """uint8 [accesses, width]"""
        if not self.written[index].all():
            raise PtxError(f"{self.name} memory is read before anything is written there: {text}")
        return self.data[index]

    def store(self, index: np.ndarray, values: np.ndarray) -> None:
        self.data[index] = values
        self.written[index] = True


class Heap(Space):
    """Global memory. Arrays are aligned to 256 bytes, as cudaMalloc's are, and followed by a red zone."""

    def __init__(self, size: int = 1 << 22) -> None:
        super().__init__("global", 1, size, owners="block")
        self.top = 4096

    def reserve(self, size: int, offset: int = 0) -> int:
        """Address of `size` bytes that a kernel must write before it reads them, `offset` bytes off the alignment."""
        start = self.top + offset
        self.top = -(-(start + size + 256) // 256) * 256
        if self.top > self.size:
            raise PtxError("the heap is too small")
        self.valid[start : start + size] = True
        return start

    def put(self, array: np.ndarray, offset: int = 0) -> int:
        """Address of a copy of the array."""
        start = self.reserve(array.nbytes, offset)
        self.data[start : start + array.nbytes] = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.written[start : start + array.nbytes] = True
        return start

    def get(self, address: int, like: np.ndarray) -> np.ndarray:
        """A copy of what stands there, shaped like the array; every byte must have been written."""
        span = slice(address, address + like.nbytes)
        if not self.written[span].all():
            missing = np.flatnonzero(~self.written[span])[0] // like.itemsize
            raise PtxError(f"an output is not written, from element {missing} of {like.size} on")
        return self.data[span].copy().view(like.dtype).reshape(like.shape)

    def forget_accesses(self) -> None:
        """A launch is over: the next one is ordered after it."""
        self.owners.forget()
