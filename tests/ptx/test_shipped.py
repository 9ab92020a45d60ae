"""The PTX that ships in the library, run: values, bounds, races, and the bytes that threads ask for.

Kernels in double precision are the same text and are not run here; tests/simt runs them.
"""

import re
from functools import lru_cache

import interpreter
import pytest
import shipped
import toolkit
from gates import BYTES, TABLE_SHAPE
from interpreter import PtxError
from shipped import Shape

TYPES = ("fp32", "bf16", "fp16")
# A thread takes 16 bytes where the columns are a multiple of that and all arrays are aligned, otherwise one element.
WIDE = [Shape(2, 1040, dressed=1), Shape(3, 80)]
SINGLE = [Shape(3, 37, dressed=1, offset=True), Shape(2, 300)]
MORE_WIDE = [*WIDE, Shape(5, 88, dressed=2), Shape(1, 16)]
MORE_SINGLE = [*SINGLE, Shape(1, 1), Shape(5, 37, dressed=2), Shape(1, 257, dressed=1)]
ONLY_SINGLE_PRECISION = {"inverse_norm_rows", "prototype_rows", "supervised_rows", "anchor_rows", "sum_rows"}
ONLY_SINGLE_PRECISION |= {"sum_partials"}


@lru_cache
def text() -> str:
    try:
        return toolkit.shipped_ptx()
    except toolkit.Missing as error:
        pytest.skip(str(error))


@lru_cache
def names() -> dict[str, shipped.Name]:
    """Mangled -> Name of what runs here."""
    known = shipped.identify(re.findall(r"\.entry\s+([\w$]+)", text()))
    return {mangled: name for mangled, name in known.items() if not name.double}


@lru_cache
def kernels(family: str) -> dict[shipped.Name, interpreter.Kernel]:
    wanted = {mangled: name for mangled, name in names().items() if name.family == family}
    parsed = interpreter.parse(text(), wanted.__contains__)
    return {wanted[mangled]: kernel for mangled, kernel in parsed.items()}


def chosen(family: str, kind: str, wide: bool) -> dict[shipped.Name, interpreter.Kernel]:
    found = {n: k for n, k in kernels(family).items() if n.type == kind and (n.width > 1) == wide}
    if not found:
        pytest.skip("there is no such kernel")
    return found


def cases():
    for family in shipped.CASES:
        for kind in TYPES[:1] if family in ONLY_SINGLE_PRECISION else TYPES:
            if family != "sum_partials":
                yield family, kind, False
            if family not in ("sum_rows", "anchor_rows"):
                yield family, kind, True


CASES = list(cases())


def test_every_kernel_has_a_case():
    assert {name.family for name in names().values()} == set(shipped.CASES)
    ran = {(family, kind, wide) for family, kind, wide in CASES}
    assert {(name.family, name.type, name.width > 1) for name in names().values()} == ran


@pytest.mark.parametrize(("family", "kind", "wide"), CASES)
def test_values(family, kind, wide):
    """Of the narrow types one shape: the same text, but for how values lie in memory."""
    shapes = WIDE if wide else SINGLE
    _compare(family, kind, wide, shapes if kind == "fp32" else shapes[:1])


@pytest.mark.slow
@pytest.mark.parametrize(("family", "kind", "wide"), CASES)
def test_more_values(family, kind, wide):
    _compare(family, kind, wide, MORE_WIDE if wide else MORE_SINGLE)


def _compare(family, kind, wide, shapes):
    for name, kernel in chosen(family, kind, wide).items():
        for shape in shapes:
            shipped.run(name, kernel, shape).check()


@pytest.mark.parametrize("family", BYTES)
def test_bytes_asked_for(family):
    """Vectors of 128 bits, as few bytes as gates.py allows, and warps that ask for whole sectors."""
    for name, kernel in chosen(family, "fp32", True).items():
        outcome = shipped.run(name, kernel, TABLE_SHAPE)
        assert outcome.ratio <= BYTES[family], f"{name}: {outcome.ratio:.2f}"
        assert outcome.statistics.widest("ld") == 16
        # int64 labels take two loads of 16 bytes, each of which touches half of its sectors
        assert outcome.statistics.moved <= 1.5 * outcome.statistics.requested, str(name)


# ---- the same text with a fault in it: what the runs above would notice

FAULTS = {
    "race": lambda text: re.sub(r"bar\.sync\s+0;", "", text, count=1),
    "not written": lambda text: re.sub(r"\n\s*(@%p\d+ )?st\.global[^\n]*", "", text, count=1),
    "out of bounds": lambda text: re.sub(r"(ld\.global\.v4\.f32[^\[]*\[%rd\d+)\]", r"\1+4096]", text, count=1),
    "misaligned": lambda text: re.sub(r"(ld\.global\.v4\.f32[^\[]*\[%rd\d+)\]", r"\1+4]", text, count=1),
    "outside the mask": lambda text: re.sub(r"(shfl\.sync[^;]*, )[^,;]+;", r"\g<1>255;", text, count=1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_would_be_noticed(fault):
    mangled, name = next(item for item in names().items() if str(item[1]) == "normalise_rows<fp32, 4>")
    start = text().index(f".entry {mangled}(")
    broken = text()[:start] + FAULTS[fault](text()[start:])
    kernel = interpreter.parse(broken, {mangled}.__contains__)[mangled]
    with pytest.raises(PtxError, match=fault):
        shipped.run(name, kernel, Shape(3, 512)).check()
