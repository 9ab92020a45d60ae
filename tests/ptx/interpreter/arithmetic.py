"""What instructions compute from values: numpy arrays of one element a lane, typed as the instruction is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import PtxError
from .parse import SIZES, Instruction

DTYPES = {f"{kind}{bits}": np.dtype(f"{np_kind}{bits // 8}") for kind, np_kind in (("b", "u"), ("u", "u"), ("s", "i"))
          for bits in (8, 16, 32, 64)}  # fmt: skip
DTYPES |= {"f32": np.dtype("f4"), "f16": np.dtype("f2"), "pred": np.dtype(bool)}
DTYPES |= {"bf16": np.dtype("u2"), "bf16x2": np.dtype("u4"), "f16x2": np.dtype("u4")}  # as their bits
TINY = np.float32(2.0**-126)  # the least normal number


def flushed(x: np.ndarray) -> np.ndarray:
    """.ftz: numbers below the normal ones become zero."""
    return np.where(np.abs(x) < TINY, np.copysign(np.float32(0), x), x)


def exact_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 a + b rounded to odd, so that rounding it once more, to float32, is as rounding the exact sum."""
    total = a + b
    kept = total - a
    error = (a - (total - kept)) + (b - kept)
    even = (total.view(np.int64) & 1) == 0
    toward = np.where(error > 0, np.inf, -np.inf)
    return np.where((error != 0) & even & np.isfinite(total), np.nextafter(total, toward), total)


def to_float32(x: np.ndarray, mode: str) -> np.ndarray:
    """float64 -> float32 in the rounding mode rn, rz, rm or rp."""
    near = x.astype(np.float32)
    wide = near.astype(np.float64)
    if mode == "rn":
        return near
    low = np.where(wide > x, np.nextafter(near, np.float32(-np.inf)), near)
    high = np.where(wide < x, np.nextafter(near, np.float32(np.inf)), near)
    return {"rm": low, "rp": high, "rz": np.where(x < 0, high, low)}[mode]


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 -> the bits of the nearest bfloat16."""
    bits = x.view(np.uint32)
    return np.where(np.isnan(x), 0x7FFF, (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _refuse_double(ins: Instruction) -> None:
    if ins.type == "f64" or "f64" in ins.modifiers:
        raise PtxError(f"double precision is not known: {ins.text}")


def _mode(ins: Instruction) -> str:
    return next((m for m in ins.modifiers if m in ("rn", "rz", "rm", "rp")), "rn")


def _float(ins: Instruction, *x: np.ndarray) -> np.ndarray:
    """Rounded arithmetic in float32."""
    if "ftz" in ins.modifiers:
        x = tuple(flushed(value) for value in x)
    wide = [value.astype(np.float64) for value in x]
    exact = {
        "add": lambda: exact_sum(wide[0], wide[1]),
        "sub": lambda: exact_sum(wide[0], -wide[1]),
        "mul": lambda: wide[0] * wide[1],
        "fma": lambda: exact_sum(wide[0] * wide[1], wide[2]),
        "mad": lambda: exact_sum(wide[0] * wide[1], wide[2]),
        "div": lambda: wide[0] / wide[1],
        "rcp": lambda: 1 / wide[0],
        "sqrt": lambda: np.sqrt(wide[0]),
        "rsqrt": lambda: 1 / np.sqrt(wide[0]),
        "ex2": lambda: np.exp2(wide[0]),
        "lg2": lambda: np.log2(wide[0]),
        "tanh": lambda: np.tanh(wide[0]),
        "sin": lambda: np.sin(wide[0]),
        "cos": lambda: np.cos(wide[0]),
    }
    result = to_float32(exact[ins.name](), _mode(ins))
    if "sat" in ins.modifiers:
        result = np.where(np.isnan(result), np.float32(0), np.clip(result, 0, 1))
    return flushed(result) if "ftz" in ins.modifiers else result


def _multiply(ins: Instruction, a, b, c=None):
    """mul and mad of integers: .lo, .hi, .wide"""
    if "wide" in ins.modifiers:
        wide = np.dtype(f"{a.dtype.kind}{2 * a.itemsize}")
        product = a.astype(wide) * b.astype(wide)
    elif "hi" in ins.modifiers:
        product = ((a.astype(object) * b.astype(object)) >> (8 * a.itemsize)).astype(a.dtype)
    else:
        product = a * b
    return product if c is None else product + c.view(product.dtype)


def _divide(ins: Instruction, a, b):
    """Integers, truncated; a division by zero is undefined, here it is refused by numpy's warning being an error."""
    if (b == 0).any():
        raise PtxError(f"division by zero: {ins.text}")
    quotient = np.abs(a.astype(object)) // np.abs(b.astype(object)) * np.where((a < 0) != (b < 0), -1, 1)
    return (quotient if ins.name == "div" else a.astype(object) - quotient * b).astype(a.dtype)


def _shift(ins: Instruction, a, amount):
    bits = 8 * a.itemsize
    if ins.name == "shl":
        return np.where(amount >= bits, 0, a << np.minimum(amount, bits - 1).astype(a.dtype)).astype(a.dtype)
    far = np.where(a < 0, -1, 0)
    return np.where(amount >= bits, far, a >> np.minimum(amount, bits - 1).astype(a.dtype)).astype(a.dtype)


def _funnel(ins: Instruction, low, high, amount):
    """shf: the upper (l) or the lower (r) half of high:low shifted."""
    amount = (amount & 31 if "wrap" in ins.modifiers else np.minimum(amount, 32)).astype(np.uint64)
    both = high.astype(np.uint64) << np.uint64(32) | low
    shifted = (both << amount) >> np.uint64(32) if "l" in ins.modifiers else both >> amount
    return shifted.astype(np.uint32)


def _lookup(ins: Instruction, a, b, c, table):
    """lop3: any function of three bits."""
    result = np.zeros_like(a)
    for number in range(8):
        if int(table[0]) >> number & 1:
            terms = [value if number >> place & 1 else ~value for value, place in ((a, 2), (b, 1), (c, 0))]
            result |= terms[0] & terms[1] & terms[2]
    return result


def _permute(ins: Instruction, a, b, selector):
    """prmt in its default mode: four bytes chosen from b:a, the top bit of a choice repeats the byte's sign."""
    both = (b.astype(np.uint64) << np.uint64(32)) | a
    result = np.zeros_like(a)
    for place in range(4):
        choice = selector >> np.uint32(4 * place) & np.uint32(15)
        byte = (both >> (8 * (choice & 7)).astype(np.uint64)).astype(np.uint32) & np.uint32(255)
        byte = np.where(choice & 8, np.where(byte & 128, 255, 0), byte).astype(np.uint32)
        result |= byte << np.uint32(8 * place)
    return result


def _field(ins: Instruction, a, start, length):
    """bfe of unsigned numbers."""
    start, length = (value.astype(np.uint64) & np.uint64(255) for value in (start, length))
    mask = (np.uint64(1) << np.minimum(length, 63)) - np.uint64(1)
    return ((a.astype(np.uint64) >> np.minimum(start, 63)) & mask).astype(a.dtype)


def _extreme(ins: Instruction, a, b):
    if a.dtype.kind != "f":
        return np.minimum(a, b) if ins.name == "min" else np.maximum(a, b)
    if "NaN" in ins.modifiers:
        return np.minimum(a, b) if ins.name == "min" else np.maximum(a, b)
    return np.fmin(a, b) if ins.name == "min" else np.fmax(a, b)


COMPARISONS: dict[str, Callable] = {
    "eq": np.equal, "ne": lambda a, b: (a < b) | (a > b) if a.dtype.kind == "f" else a != b,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
    "equ": lambda a, b: ~((a < b) | (a > b)), "neu": np.not_equal,
    "ltu": lambda a, b: ~(a >= b), "leu": lambda a, b: ~(a > b),
    "gtu": lambda a, b: ~(a <= b), "geu": lambda a, b: ~(a < b),
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)), "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}  # fmt: skip
BOOLEAN = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def compare(ins: Instruction, a, b, with_: np.ndarray | None = None) -> np.ndarray:
    """setp, joined with a predicate where the instruction says so."""
    if "ftz" in ins.modifiers:
        a, b = flushed(a), flushed(b)
    result = COMPARISONS[ins.modifiers[0]](a, b)
    return result if with_ is None else BOOLEAN[ins.modifiers[1]](result, with_)


ROUNDINGS = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def convert(ins: Instruction, x: np.ndarray, low: np.ndarray | None = None) -> np.ndarray:
    """cvt; of two values to packed ones, the first becomes the upper half."""
    target, source = ins.modifiers[-1], ins.type
    _refuse_double(ins)
    if target in ("bf16x2", "f16x2"):
        halves = [to_bfloat16(v) if target == "bf16x2" else v.astype(np.float16).view(np.uint16) for v in (x, low)]
        return halves[0].astype(np.uint32) << np.uint32(16) | halves[1]
    if source == "bf16":
        x, source = from_bfloat16(x), "f32"
    if target == "bf16":
        return to_bfloat16(x.astype(np.float32))
    if "ftz" in ins.modifiers and x.dtype == np.float32:
        x = flushed(x)
    if rounding := next((m for m in ins.modifiers if m in ROUNDINGS), None):
        x = ROUNDINGS[rounding](x)
    if target.startswith("f"):
        if "sat" in ins.modifiers:
            x = np.where(np.isnan(x), 0, np.clip(x, 0, 1))
        wide_integer = x.dtype.kind in "iu" and x.itemsize == 8
        return (
            x.astype(DTYPES[target]) if _mode(ins) == "rn" or wide_integer else to_float32(x.astype("f8"), _mode(ins))
        )
    if x.dtype.kind == "f":
        limits = np.iinfo(DTYPES[target])
        x = np.clip(np.where(np.isnan(x), 0, x).astype(np.float64), limits.min, limits.max)
    elif "sat" in ins.modifiers:
        x = np.clip(x, np.iinfo(DTYPES[target]).min, np.iinfo(DTYPES[target]).max)
    return x.astype(DTYPES[target])


PLAIN: dict[str, Callable] = {
    "mul": _multiply, "mad": _multiply, "div": _divide, "rem": _divide, "shl": _shift, "shr": _shift, "shf": _funnel,
    "min": _extreme, "max": _extreme, "prmt": _permute, "lop3": _lookup, "bfe": _field,
    "add": lambda ins, a, b: a + b, "sub": lambda ins, a, b: a - b,
    "and": lambda ins, a, b: a & b, "or": lambda ins, a, b: a | b, "xor": lambda ins, a, b: a ^ b,
    "not": lambda ins, a: ~a, "neg": lambda ins, a: -a, "abs": lambda ins, a: np.abs(a),
    "copysign": lambda ins, sign, x: np.copysign(x, sign),
    "popc": lambda ins, a: np.bitwise_count(a).astype(np.uint32),
    "clz": lambda ins, a: (8 * a.itemsize - np.ceil(np.log2(a.astype("f8") + 1))).astype(np.uint32),
    "mov": lambda ins, a: a, "cvta": lambda ins, a: a,
}  # fmt: skip
ROUNDED = {"add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt", "rsqrt", "ex2", "lg2", "tanh", "sin", "cos"}


def compute(ins: Instruction, *values: np.ndarray) -> np.ndarray:
    """The result of an instruction that neither branches nor touches memory nor other lanes."""
    _refuse_double(ins)
    with np.errstate(all="ignore"):
        if ins.type == "f32" and ins.name in ROUNDED:
            return _float(ins, *values)
        if ins.name not in PLAIN or (ins.type not in DTYPES and ins.type) or SIZES.get(ins.type) is None:
            raise PtxError(f"an instruction that is not known: {ins.text}")
        return PLAIN[ins.name](ins, *values)
