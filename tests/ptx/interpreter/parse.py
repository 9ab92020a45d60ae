"""PTX text -> kernels: instructions with their operands, labels, and the layout of params, shared and local memory."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .errors import PtxError

SIZES = {"pred": 1, "bf16x2": 4, "f16x2": 4, "bf16": 2, "f16": 2}
SIZES |= {f"{kind}{bits}": bits // 8 for kind in "busf" for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Register:
    name: str
    type: str


@dataclass(frozen=True)
class Negated:
    """!%p1"""

    register: Register


@dataclass(frozen=True)
class Special:
    """%tid.x and its like."""

    name: str


@dataclass(frozen=True)
class Immediate:
    bits: int


@dataclass(frozen=True)
class Symbol:
    """The place of a parameter, a shared or a local array in its space; or a label."""

    name: str


@dataclass(frozen=True)
class Address:
    base: Operand
    offset: int


@dataclass(frozen=True)
class Group:
    """{a, b} of a vector access or of packing, a|b of two results."""

    items: tuple[Operand, ...]


Operand = Register | Negated | Special | Immediate | Symbol | Address | Group


@dataclass(frozen=True)
class Instruction:
    name: str  # "ld" of ld.global.v4.f32
    modifiers: tuple[str, ...]  # ("global", "v4")
    type: str  # "f32"; "" where there is none
    operands: tuple[Operand, ...]
    guard: Register | None
    negated: bool
    text: str


@dataclass
class Layout:
    """Where each array of one memory space begins. Arrays of a space that is written are kept apart by a red zone."""

    gap: int = 0
    place: dict[str, tuple[int, int]] = field(default_factory=dict)  # offset, size
    size: int = 0

    def add(self, name: str, size: int, align: int) -> None:
        start = -(-self.size // align) * align
        self.place[name] = (start, size)
        self.size = start + size + self.gap


@dataclass
class Kernel:
    name: str
    params: Layout = field(default_factory=Layout)
    param_types: list[str] = field(default_factory=list)
    shared: Layout = field(default_factory=lambda: Layout(gap=64))
    local: Layout = field(default_factory=lambda: Layout(gap=64))
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    tables: dict[str, list[str]] = field(default_factory=dict)  # of brx.idx
    dynamic_shared: str | None = None

    @property
    def shared_bytes(self) -> int:
        """Of static shared memory, as the compiler counts it: without red zones."""
        return sum(size for _, size in self.shared.place.values())


ENTRY = re.compile(r"\.entry\s+([\w$]+)\s*\(([^)]*)\)[^{]*\{")
ARRAY = re.compile(r"(\.extern\s+)?\.(shared|local)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)\s*(?:\[(\d*)\])?")
REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.*)", re.S)
STATEMENT = re.compile(r"(?:@(!?)([%\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)", re.S)
LABEL = re.compile(r"([\w$]+):(?!:)\s*")
OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,\s]+")
DIGITS = re.compile(r"%[\w$]*?(\d+)$")


def parse(text: str, wanted: Callable[[str], bool] = bool) -> dict[str, Kernel]:
    """The wanted kernels of one PTX file, by their mangled names."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    spans = [(found, _closing_brace(text, found.end())) for found in ENTRY.finditer(text)]
    outside, last = "", 0
    for found, end in spans:
        outside, last = outside + text[last : found.start()], end
    declared = filter(None, map(ARRAY.search, (outside + text[last:]).split(";")))
    common = list({found[5]: found for found in declared}.values())  # in several files of PTX joined
    return {
        found[1]: _kernel(found[1], found[2], text[found.end() : end - 1], common)
        for found, end in spans
        if wanted(found[1])
    }


def _kernel(name: str, params: str, body: str, common: list[re.Match]) -> Kernel:
    kernel = Kernel(name)
    for declaration in filter(str.strip, params.split(",")):
        _param(kernel, declaration.split())
    for found in common:
        if found[5] in body:
            _array(kernel, found)
    reader = _Reader(kernel)
    for statement in _statements(body):
        reader.add(statement)
    return kernel


def _param(kernel: Kernel, words: list[str]) -> None:
    """.param .u64 .ptr .global .align 4 name; .param .align 8 .b8 name[80]"""
    name, _, count = words[-1].rstrip("]").partition("[")
    place = next(n for n, word in enumerate(words) if word[1:] in SIZES)
    kind = words[place][1:]
    align = int(words[place - 1]) if words[place - 1].isdigit() else SIZES[kind]
    kernel.params.add(name, SIZES[kind] * int(count or 1), align)
    kernel.param_types.append("struct" if count else kind)


def _array(kernel: Kernel, found: re.Match) -> None:
    _, space, align, kind, name, count = found.groups()
    if count == "":
        kernel.dynamic_shared = name
    else:
        getattr(kernel, space).add(name, SIZES[kind] * int(count or 1), int(align or SIZES[kind]))


def _closing_brace(text: str, start: int) -> int:
    depth, at = 1, start
    while depth:
        at = min(place for place in (text.find("{", at), text.find("}", at)) if place >= 0) + 1
        depth += 1 if text[at - 1] == "{" else -1
    return at


def _statements(body: str) -> Iterator[str]:
    """Labels, "{" and "}" of scopes, and what ends with a semicolon."""
    at, size = 0, len(body)
    while at < size:
        if body[at].isspace() or body[at] == ";":
            at += 1
        elif body[at] in "{}":
            yield body[at]
            at += 1
        elif label := LABEL.match(body, at):
            yield label[1] + ":"
            at = label.end()
        else:
            end = body.index(";", at)
            yield " ".join(body[at:end].split())
            at = end + 1


class _Reader:
    """Statements -> instructions; knows which names are registers. Inner scopes may declare names of their own."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.scopes: list[tuple[str, dict[str, str]]] = [("", {})]  # with what tells their names apart
        self.opened = 0

    def add(self, statement: str) -> None:
        kernel = self.kernel
        if statement == "{":
            self.opened += 1
            self.scopes.append((f"@{self.opened}", {}))
        elif statement == "}":
            self.scopes.pop()
        elif statement.endswith(":"):
            kernel.labels[statement[:-1]] = len(kernel.code)
        elif statement.startswith(".branchtargets"):
            table = next(name for name, place in reversed(kernel.labels.items()) if place == len(kernel.code))
            kernel.tables[table] = [label.strip() for label in statement.split(maxsplit=1)[1].split(",")]
        elif found := REGISTERS.match(statement):
            self._declare(found[1], found[2])
        elif found := ARRAY.match(statement):
            _array(kernel, found)
        elif not statement.startswith("."):
            kernel.code.append(self._instruction(statement))

    def _declare(self, kind: str, names: str) -> None:
        for name in names.split(","):
            self.scopes[-1][1][name.strip()] = kind

    def _instruction(self, statement: str) -> Instruction:
        found = STATEMENT.fullmatch(statement)
        if found is None:
            raise PtxError(f"no instruction: {statement}")
        negated, guard, operation, rest = found.groups()
        name, *parts = operation.replace("::", ".").split(".")
        kind = parts.pop() if parts and parts[-1] in SIZES else ""
        operands = tuple(self._operand(item) for item in OPERAND.findall(rest))
        held = self._operand(guard) if guard else None
        return Instruction(name, tuple(parts), kind, operands, held, bool(negated), statement)

    def _operand(self, text: str) -> Operand:
        if text.startswith("{"):
            return Group(tuple(self._operand(item) for item in OPERAND.findall(text[1:-1])))
        if text.startswith("["):
            base, sign, offset = re.fullmatch(r"\[\s*([^+\s-]+)\s*([+-]?)\s*(-?\w+)?\s*\]", text).groups()
            return Address(self._operand(base), int(f"{sign}{offset or 0}".replace("+-", "-"), 0))
        if text.startswith("!"):
            return Negated(self._operand(text[1:]))
        if "|" in text:
            return Group(tuple(self._operand(item) for item in text.split("|")))
        if text[:2] in ("0f", "0F", "0d", "0D"):
            return Immediate(int(text[2:], 16))
        if re.match(r"-?\d", text):
            return Immediate(_number(text))
        return self._name(text)

    def _name(self, text: str) -> Operand:
        for suffix, scope in reversed(self.scopes):
            if kind := _declared(scope, text):
                return Register(text + suffix, kind)
        return Special(text) if text.startswith("%") else Symbol(text)


def _declared(scope: dict[str, str], name: str) -> str | None:
    """The type of a register: %f12 is declared by %f<1033>."""
    if name in scope:
        return scope[name]
    found = DIGITS.match(name)
    prefix = name[: found.start(1)] if found else None
    return next((kind for key, kind in scope.items() if prefix and key.startswith(prefix + "<")), None)


def _number(text: str) -> int:
    text = text.rstrip("U")
    return struct.unpack("<Q", struct.pack("<d", float(text)))[0] if "." in text else int(text, 0)
