"""Steps all lanes of a launch through a kernel: of those that can go on, the ones at the lowest instruction go first.

That order brings lanes together again after branches. Barriers, shuffles and votes hold lanes back until all that must
take part have come; a launch where nobody can go on is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import arithmetic, collective
from .arithmetic import DTYPES
from .errors import PtxError
from .memory import UNSIGNED, WINDOWS, Heap, Space
from .parse import SIZES, Address, Group, Immediate, Instruction, Kernel, Negated, Operand, Register, Special, Symbol
from .statistics import Statistics

Size = int | tuple[int, ...]


def launch(
    kernel: Kernel,
    grid: Size,
    block: Size,
    heap: Heap,
    arguments: Sequence[int | float | bytes],
    dynamic_shared: int = 0,
) -> Statistics:
    """Runs the kernel. Arguments are addresses, numbers, or the bytes of structures; threads of a block come in whole
    warps. Raises PtxError for what no program may do."""
    lanes = Lanes(kernel, _three(grid), _three(block), heap, arguments, dynamic_shared)
    lanes.run()
    heap.forget_accesses()
    return lanes.statistics


def _three(size: Size) -> tuple[int, int, int]:
    return (*((size,) if isinstance(size, int) else size), 1, 1)[:3]


class Lanes:
    def __init__(self, kernel: Kernel, grid, block, heap: Heap, arguments, dynamic_shared: int) -> None:
        self.kernel, self.statistics = kernel, Statistics()
        threads, blocks = int(np.prod(block)), int(np.prod(grid))
        if threads % 32:
            raise PtxError(f"{threads} threads are no whole warps")
        self.count = blocks * threads
        self.lane = np.arange(self.count)
        self.block, self.warp = self.lane // threads, self.lane // 32
        self.special = _special_registers(self.lane, self.block, threads, grid, block)
        self.registers: dict[str, np.ndarray] = {}
        self.constants: dict[tuple[int, str], np.ndarray] = {}
        self.at = np.zeros(self.count, np.int64)
        self.waiting = np.zeros(self.count, bool)
        self.epoch = np.zeros(blocks, np.int32)  # barriers that a block has passed
        if kernel.dynamic_shared and dynamic_shared:
            kernel.shared.place.pop(kernel.dynamic_shared, None)
            kernel.shared.add(kernel.dynamic_shared, dynamic_shared, 16)
        self.spaces = {
            "global": heap,
            "shared": Space("shared", blocks, kernel.shared.size, owners="warp").allow(kernel.shared),
            "local": Space("local", self.count, kernel.local.size).allow(kernel.local),
            "param": _parameters(kernel, arguments),
        }
        self.handlers = {"ld": self._load, "st": self._store, "bra": self._branch, "brx": self._branch_by_table}
        self.handlers |= dict.fromkeys(("ret", "exit"), self._end)
        self.handlers |= dict.fromkeys(collective.NAMES, self._meet)
        self.handlers |= dict.fromkeys(("fence", "membar", "pragma"), lambda ins, lanes: None)

    def run(self) -> None:
        code, end = self.kernel.code, len(self.kernel.code)
        while True:
            ready = np.where(self.waiting, end, self.at)
            place = int(ready.min())
            if place == end:
                break
            ins, lanes = code[place], np.flatnonzero(ready == place)
            if ins.guard is not None:
                taken = self.value(ins.guard, "pred")[lanes] ^ ins.negated
                self.at[lanes[~taken]] += 1
                lanes = lanes[taken]
            if len(lanes):
                self._count(ins, lanes)
                if not self.handlers.get(ins.name, self._compute)(ins, lanes):
                    self.at[lanes] += 1
        if self.waiting.any():
            held = self.kernel.code[int(self.at[self.waiting].min())]
            raise PtxError(f"{int(self.waiting.sum())} lanes wait for others that never come: {held.text}")

    def _count(self, ins: Instruction, lanes: np.ndarray) -> None:
        name = f"{ins.name}.approx" if "approx" in ins.modifiers else ins.name
        self.statistics.threads[name] += len(lanes)
        self.statistics.warps[name] += 1 + np.count_nonzero(np.diff(self.warp[lanes]))

    # ---- registers

    def value(self, operand: Operand, kind: str) -> np.ndarray:
        """One element a lane, of the instruction's type."""
        dtype = DTYPES.get(kind)
        if dtype is None:
            raise PtxError(f"type {kind} is not known here")
        match operand:
            case Register(name, _):
                if name not in self.registers:
                    raise PtxError(f"register {name} is read before it is written")
                bits = self.registers[name]
            case Negated(register):
                return ~self.value(register, kind)
            case Special(name):
                bits = self.special[name]
            case Immediate(number):
                if (number, kind) not in self.constants:
                    word = np.array(number & ((1 << 8 * dtype.itemsize) - 1), UNSIGNED[dtype.itemsize]).view(dtype)
                    self.constants[number, kind] = np.full(self.count, word)
                return self.constants[number, kind]
            case Symbol(name):
                bits = np.full(self.count, self._symbol(name), np.uint64)
            case Address() | Group():
                raise PtxError("an address or a group where a value should stand")
        if bits.dtype == dtype:
            return bits
        return bits.astype(UNSIGNED[dtype.itemsize], copy=False).view(dtype)

    def assign(self, operand: Operand, values: np.ndarray, lanes: np.ndarray) -> None:
        """values: one for each of `lanes`. Narrower ones are extended by their own sign."""
        if not isinstance(operand, Register):
            if operand == Symbol("_"):
                return
            raise PtxError("a result must go to a register")
        dtype = np.dtype(bool) if operand.type == "pred" else np.dtype(UNSIGNED[SIZES[operand.type]])
        if values.dtype.kind == "f":
            values = values.view(UNSIGNED[values.itemsize])
        if operand.name not in self.registers:
            self.registers[operand.name] = np.zeros(self.count, dtype)
        self.registers[operand.name][lanes] = values.astype(dtype)

    def _symbol(self, name: str) -> int:
        kernel = self.kernel
        for layout in (kernel.params, kernel.shared, kernel.local):
            if name in layout.place:
                return layout.place[name][0]
        raise PtxError(f"{name} is not known")

    # ---- memory

    def _place(self, ins: Instruction, address: Address, lanes: np.ndarray) -> tuple[str, np.ndarray]:
        """The space, and int64 addresses in it."""
        space = next((m for m in ins.modifiers if m in WINDOWS), None)
        base = self.value(address.base, "u64")[lanes].astype(np.int64) + address.offset
        if space is not None:
            return space, base
        for name in ("param", "local", "shared", "global"):  # from the highest window down
            inside = base >= WINDOWS[name]
            if inside.all():
                return name, base - WINDOWS[name]
            if inside.any():
                raise PtxError(f"one access to several spaces is not known: {ins.text}")
        raise PtxError(f"global access out of bounds: {ins.text}")

    def _access(self, ins: Instruction, address: Address, lanes: np.ndarray, width: int):
        """The space and the bytes [lanes, width] of the access, after all checks."""
        space, base = self._place(ins, address, lanes)
        instance = {"shared": self.block, "local": self.lane}.get(space, np.zeros_like(self.lane))[lanes]
        index = self.spaces[space].index(instance, base, width, ins.text)
        if (owners := self.spaces[space].owners) is not None:
            shared = space == "shared"
            agent = (self.warp if shared else self.block)[lanes]
            epoch = self.epoch[self.block[lanes]] if shared else np.zeros_like(agent)
            getattr(owners, {"ld": "load", "st": "store"}[ins.name])(index, agent, epoch, ins.text)
        self.statistics.accesses[ins.name, space, width] += len(lanes)
        if space == "global":
            first, last = base // 32, (base + width - 1) // 32
            touched = np.concatenate([self.warp[lanes] << 40 | sector for sector in (first, last)])
            self.statistics.sectors[ins.name, space] += len(np.unique(touched))
        return self.spaces[space], index

    def _load(self, ins: Instruction, lanes: np.ndarray) -> None:
        target, address = ins.operands
        targets = target.items if isinstance(target, Group) else (target,)
        width = SIZES[ins.type]
        space, index = self._access(ins, address, lanes, width * len(targets))
        data = space.load(index, ins.text)
        for number, item in enumerate(targets):
            part = np.ascontiguousarray(data[:, number * width : (number + 1) * width])
            self.assign(item, part.view(_memory_dtype(ins.type))[:, 0], lanes)

    def _store(self, ins: Instruction, lanes: np.ndarray) -> None:
        address, source = ins.operands
        sources = source.items if isinstance(source, Group) else (source,)
        width = SIZES[ins.type]
        space, index = self._access(ins, address, lanes, width * len(sources))
        parts = [self.value(item, ins.type)[lanes].view(np.uint8).reshape(-1, width) for item in sources]
        space.store(index, np.concatenate(parts, axis=1))

    # ---- control

    def _branch(self, ins: Instruction, lanes: np.ndarray) -> bool:
        self.at[lanes] = self.kernel.labels[ins.operands[0].name]
        return True

    def _branch_by_table(self, ins: Instruction, lanes: np.ndarray) -> bool:
        choice, table = ins.operands
        places = np.array([self.kernel.labels[label] for label in self.kernel.tables[table.name]])
        self.at[lanes] = places[self.value(choice, "u32")[lanes]]
        return True

    def _end(self, ins: Instruction, lanes: np.ndarray) -> bool:
        self.at[lanes] = len(self.kernel.code)
        collective.release_barriers(self)  # the others of the block may have waited for these alone
        return True

    def _meet(self, ins: Instruction, lanes: np.ndarray) -> bool:
        self.waiting[lanes] = True
        collective.meet(self, ins, lanes)
        return True

    # ---- the rest: from registers to registers

    def _compute(self, ins: Instruction, lanes: np.ndarray) -> None:
        target, *sources = ins.operands
        if ins.name == "mov" and isinstance(target, Group):
            return self._unpack(ins, lanes)
        if ins.name == "setp":
            return self._compare(ins, lanes)
        if ins.name == "selp":
            picked = np.where(self.value(sources[2], "pred"), *(self.value(s, ins.type) for s in sources[:2]))
            return self.assign(target, picked[lanes], lanes)
        if ins.name == "activemask":
            return self.assign(target, collective.masks(self, lanes), lanes)
        if ins.name == "mov" and isinstance(sources[0], Group):
            return self.assign(target, self._packed(ins)[lanes], lanes)
        self.assign(target, self._result(ins, sources, lanes), lanes)

    def _result(self, ins: Instruction, sources: list[Operand], lanes: np.ndarray) -> np.ndarray:
        kinds = [ins.type] * len(sources)
        if ins.name in ("shl", "shr", "shf", "bfe"):
            kinds[2 if ins.name == "shf" else 1 :] = ["u32"] * len(kinds[2 if ins.name == "shf" else 1 :])
        if ins.name == "mad" and "wide" in ins.modifiers:
            kinds[2] = f"{ins.type[0]}{int(ins.type[1:]) * 2}"
        values = [self.value(source, kind)[lanes] for source, kind in zip(sources, kinds, strict=True)]
        if ins.name == "cvt":
            with np.errstate(all="ignore"):
                return arithmetic.convert(ins, *values)
        result = arithmetic.compute(ins, *values)
        if ins.name == "cvta":
            window = next(WINDOWS[m] for m in ins.modifiers if m in WINDOWS)
            result = result - np.uint64(window) if "to" in ins.modifiers else result + np.uint64(window)
        return result

    def _compare(self, ins: Instruction, lanes: np.ndarray) -> None:
        target, *sources = ins.operands
        values = [self.value(source, ins.type)[lanes] for source in sources[:2]]
        joined = [self.value(source, "pred")[lanes] for source in sources[2:]]
        with np.errstate(all="ignore"):
            result = arithmetic.compare(ins, *values, *joined)
        targets = target.items if isinstance(target, Group) else (target,)
        for item, outcome in zip(targets, (result, ~result), strict=False):
            self.assign(item, outcome, lanes)

    def _unpack(self, ins: Instruction, lanes: np.ndarray) -> None:
        target, source = ins.operands
        width = SIZES[ins.type] // len(target.items)
        parts = self.value(source, f"u{8 * SIZES[ins.type]}")[lanes].view(UNSIGNED[width]).reshape(len(lanes), -1)
        for number, item in enumerate(target.items):
            self.assign(item, parts[:, number], lanes)

    def _packed(self, ins: Instruction) -> np.ndarray:
        items = ins.operands[1].items
        kind = f"u{8 * SIZES[ins.type] // len(items)}"
        parts = np.stack([self.value(item, kind) for item in items], axis=1)
        return parts.view(UNSIGNED[SIZES[ins.type]])[:, 0]


def _memory_dtype(kind: str) -> np.dtype:
    """As a load extends it: by the sign of signed integers alone."""
    return DTYPES[kind] if kind[0] == "s" else np.dtype(UNSIGNED[SIZES[kind]])


def _parameters(kernel: Kernel, arguments) -> Space:
    space = Space("param", 1, kernel.params.size).allow(kernel.params)
    for (start, size), kind, value in zip(kernel.params.place.values(), kernel.param_types, arguments, strict=True):
        data = value if isinstance(value, bytes) else np.array([value], DTYPES[kind]).tobytes()
        if len(data) != size:
            raise PtxError(f"an argument of {len(data)} bytes where {kernel.name} takes {size}")
        space.store(np.arange(start, start + size), np.frombuffer(data, np.uint8))
    return space


def _special_registers(lane, block_of, threads: int, grid, block) -> dict[str, np.ndarray]:
    inside = lane % threads
    places = {"tid": (inside, block), "ctaid": (block_of, grid)}
    special = {"%laneid": lane % 32, "%warpid": inside // 32}
    for name, (number, (x, y, _)) in places.items():
        split = (number % x, number // x % y, number // (x * y))
        special |= {f"%{name}.{axis}": part for axis, part in zip("xyz", split, strict=True)}
    for name, sizes in (("ntid", block), ("nctaid", grid)):
        special |= {f"%{name}.{axis}": np.full(len(lane), size) for axis, size in zip("xyz", sizes, strict=True)}
    return {name: values.astype(np.uint32) for name, values in special.items()}
