"""The PTX interpreter itself, on small programs: what it computes, what it refuses, what it counts."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from interpreter import Heap, PtxError, arithmetic, launch, parse
from interpreter.parse import Instruction

HEAD = """
.visible .entry run(.param .u64 .ptr .align 1 x, .param .u64 y, .param .u32 n)
{
    .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<20>; .reg .f32 %f<20>; .reg .b64 %rd<9>;
    .shared .align 4 .b8 part[256];
    ld.param.u64 %rd1, [x]; ld.param.u64 %rd2, [y]; ld.param.u32 %r1, [n];
    mov.u32 %r2, %tid.x; mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x;
    mad.lo.s32 %r5, %r3, %r4, %r2;        // the global number of the thread
    mul.wide.u32 %rd3, %r5, 4; add.s64 %rd1, %rd1, %rd3; add.s64 %rd2, %rd2, %rd3;
"""


def run(body, x, like=None, n=None, grid=1, block=32, offset=0):
    """The output, shaped like `like` or x, and the statistics, of a body whose threads have x in %rd1, y in %rd2."""
    x = np.asarray(x)
    like = x if like is None else like
    heap = Heap(1 << 16)
    source, target = heap.put(x, offset), heap.reserve(like.nbytes)
    kernel = parse(HEAD + body + "ret;\n}\n")["run"]
    stats = launch(kernel, grid, block, heap, [source, target, x.size if n is None else n])
    return heap.get(target, like), stats


def floats(count, seed=0):
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


# ---- values


def test_a_tail_is_left_out():
    x = floats(70)
    body = """setp.ge.u32 %p1, %r5, %r1; @%p1 bra $end;
        ld.global.f32 %f1, [%rd1]; fma.rn.f32 %f2, %f1, 0f40000000, 0f3F800000; st.global.f32 [%rd2], %f2; $end:"""
    out, stats = run(body, x, grid=3)
    np.testing.assert_allclose(out, 2 * x + 1, rtol=1e-6)
    assert stats.bytes("ld") == stats.bytes("st") == 4 * 70
    assert stats.warps["ld"] == 3 * 3 + 3  # three parameters, once x


def test_loops_whose_lanes_end_at_different_times():
    body = """mov.u32 %r6, 0; mov.u32 %r7, 0;
        $top: add.s32 %r7, %r7, %r6; add.s32 %r6, %r6, 1; setp.le.u32 %p1, %r6, %r2; @%p1 bra $top;
        st.global.u32 [%rd2], %r7;"""
    out, _ = run(body, np.zeros(32, np.uint32))
    assert out.tolist() == [n * (n + 1) // 2 for n in range(32)]


@pytest.mark.parametrize(
    ("shuffle", "source"),
    [
        ("bfly.b32 %r7, %r6, 5, 31", lambda n: n ^ 5),
        ("down.b32 %r7, %r6, 3, 31", lambda n: n + 3 if n + 3 < 32 else n),
        ("up.b32 %r7, %r6, 3, 0", lambda n: n - 3 if n >= 3 else n),
        ("idx.b32 %r7|%p1, %r6, 9, 31", lambda n: 9),
        ("bfly.b32 %r7, %r6, 1, 0x1c1f", lambda n: n ^ 1),
    ],
)
def test_shuffles(shuffle, source):
    x = np.arange(64, dtype=np.uint32) * 10
    body = f"ld.global.u32 %r6, [%rd1]; shfl.sync.{shuffle}, -1; st.global.u32 [%rd2], %r7;"
    out, _ = run(body, x, block=64)
    assert out.tolist() == [10 * (n // 32 * 32 + source(n % 32)) for n in range(64)]


def test_votes_and_reductions():
    body = """setp.gt.u32 %p1, %r2, 29; vote.sync.ballot.b32 %r6, %p1, -1; vote.sync.any.pred %p2, !%p1, -1;
        redux.sync.max.u32 %r7, %r2, -1; selp.b32 %r8, 1, 0, %p2; add.s32 %r7, %r7, %r8; xor.b32 %r6, %r6, %r7;
        st.global.u32 [%rd2], %r6;"""
    out, _ = run(body, np.zeros(32, np.uint32))
    assert set(out.tolist()) == {(3 << 30) ^ 32}


def test_inner_scopes_and_packing_of_halves():
    """As cuda_fp16.h and cuda_bf16.h write them."""
    x = np.array([1.5, -2.0] * 32, np.float16).view(np.uint32)
    body = """ld.global.u32 %r6, [%rd1];
        { .reg .b16 low,high; mov.b32 {low,high}, %r6; cvt.f32.f16 %f1, low; }
        { .reg .b16 low,high; mov.b32 {low,high}, %r6; cvt.f32.f16 %f2, high; }
        { cvt.rn.f16x2.f32 %r7, %f1, %f2; } st.global.u32 [%rd2], %r7;"""
    out, _ = run(body, x)
    assert out.view(np.float16)[:2].tolist() == [-2.0, 1.5]


def test_signs_of_narrow_loads():
    x = np.array([-3, 5, -128, 127] * 32, np.int8)
    body = """ld.global.v4.s8 {%rs1, %rs2, %rs3, %rs4}, [%rd1]; ld.global.u8 %rs5, [%rd1];
        cvt.s16.s8 %rs6, %rs5; add.s16 %rs1, %rs1, %rs3; add.s16 %rs1, %rs1, %rs6; cvt.s32.s16 %r6, %rs1;
        st.global.u32 [%rd2], %r6;"""
    out, stats = run(body, x, np.zeros(32, np.int32))
    assert set(out.tolist()) == {-3 - 128 - 3}
    assert stats.widest("ld") == 4


def test_structures_branch_tables_and_dynamic_shared_memory():
    text = """.extern .shared .align 16 .b8 room[];
    .visible .entry run(.param .align 8 .b8 s[16])
    { .reg .b32 %r<9>; .reg .b64 %rd<4>; .reg .pred %p<2>;
    ld.param.u64 %rd1, [s]; ld.param.u32 %r1, [s+8]; mov.u32 %r2, %tid.x; and.b32 %r3, %r2, 1;
    mov.u32 %r5, room; shl.b32 %r6, %r2, 2; add.s32 %r5, %r5, %r6; st.shared.u32 [%r5], %r2;
    $brx: .branchtargets $even, $odd;
    brx.idx %r3, $brx;
    $even: mov.u32 %r4, %r1; bra.uni $done;
    $odd: ld.shared.u32 %r4, [%r5];
    $done: mul.wide.u32 %rd2, %r2, 4; add.s64 %rd1, %rd1, %rd2; st.global.u32 [%rd1], %r4; ret; }"""
    heap, out = Heap(1 << 14), np.zeros(32, np.uint32)
    target = heap.reserve(out.nbytes)
    launch(parse(text)["run"], 1, 32, heap, [struct.pack("<QIxxxx", target, 77)], dynamic_shared=128)
    assert heap.get(target, out).tolist() == [n if n % 2 else 77 for n in range(32)]


def instruction(name, *modifiers, kind="f32"):
    return Instruction(name, modifiers, kind, (), None, False, name)


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_rounding_is_exact(mode):
    """Against rational numbers; the nearest float64 of a sum rounded again would be wrong now and then."""
    rng = np.random.default_rng(1)
    a, b, c = (
        rng.standard_normal(3000).astype(np.float32) * np.float32(2.0) ** rng.integers(-30, 30) for _ in range(3)
    )
    got = arithmetic.compute(instruction("fma", mode), a, b, c)
    for x, y, z, value in zip(a.tolist(), b.tolist(), c.tolist(), got.tolist(), strict=True):
        exact, found = Fraction(x) * Fraction(y) + Fraction(z), Fraction(value)
        below, above = (Fraction(float(np.nextafter(np.float32(value), np.float32(d)))) for d in (-np.inf, np.inf))
        if mode == "rn":
            assert abs(found - exact) <= min(abs(below - exact), abs(above - exact))
        elif mode == "rm" or (mode == "rz" and exact > 0):
            assert found <= exact < above
        else:
            assert below < exact <= found


def test_conversions_of_every_half():
    bits = np.arange(1 << 16).astype(np.uint16)
    wide = arithmetic.convert(instruction("cvt", "f32", kind="bf16"), bits)
    kept = ~np.isnan(wide)
    again = arithmetic.convert(instruction("cvt", "rn", "bf16"), wide)
    assert (again[kept] == bits[kept]).all()
    torch = pytest.importorskip("torch")
    x = (floats(5000) * 1e3).astype(np.float32)
    rounded = torch.from_numpy(x).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert (arithmetic.convert(instruction("cvt", "rn", "bf16"), x) == rounded).all()


@pytest.mark.parametrize(
    ("name", "modifiers", "kind", "values", "expected"),
    [
        ("div", (), "s64", (-7, 2), -3),
        ("rem", (), "s64", (-7, 2), -1),
        ("mul", ("hi",), "u32", (1 << 31, 6), 3),
        ("shr", (), "s32", (-8, 40), -1),
        ("shl", (), "b32", (1, 32), 0),
        ("min", (), "f32", (np.nan, 2.0), 2.0),
        ("prmt", (), "b32", (0x44332211, 0x88776655, 0x5410), 0x66552211),
        ("lop3", ("b32",), "b32", (0b1100, 0b1010, 0b0110, 0x96), 0b0000),
        ("popc", (), "b32", (0xF0F,), 8),
        ("clz", (), "b32", (1,), 31),
        ("bfe", (), "u32", (0xABCD, 4, 8), 0xBC),
        ("ex2", ("approx", "ftz"), "f32", (-140.0,), 0.0),
    ],
)
def test_single_instructions(name, modifiers, kind, values, expected):
    arrays = [np.array([value], arithmetic.DTYPES[kind]) for value in values]
    assert arithmetic.compute(instruction(name, *modifiers, kind=kind), *arrays).tolist() == [expected]


# ---- what no program may do

STORE = "st.global.u32 [%rd2], %r2;"
BAD = {
    "out of bounds": "ld.global.f32 %f1, [%rd1+4]; " + STORE,
    "misaligned": "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1]; " + STORE,
    "before anything is written": "ld.shared.f32 %f1, [part]; " + STORE,
    "out of bounds: st.shared": "mov.u32 %r6, part; st.shared.u32 [%r6+256], %r2; " + STORE,
    "outside the mask": "shfl.sync.bfly.b32 %r6, %r2, 1, 31, 65535; " + STORE,
    "never come": "setp.gt.u32 %p1, %r2, 7; @%p1 bra $out; shfl.sync.bfly.b32 %r6, %r2, 1, 31, -1; $out: " + STORE,
    "divergent barrier": "setp.gt.u32 %p1, %r2, 7; @%p1 bra $b; bar.sync 0; bra.uni $c; $b: bar.sync 0; $c: " + STORE,
    "not written": "setp.gt.u32 %p1, %r2, 7; @%p1 bra $out; " + STORE + "$out: ",
    "race: a block writes": "sub.s64 %rd2, %rd2, %rd3; " + STORE,
    "read before it is written": "add.s32 %r6, %r7, 1; " + STORE,
    "not known": "red.global.add.u32 [%rd2], %r2;",
    "double precision": ".reg .b64 %fd<3>; cvt.f64.f32 %fd1, 0f00000000; " + STORE,
}


@pytest.mark.parametrize("message", BAD)
def test_faults_are_refused(message):
    grid = 2 if "block" in message else 1
    with pytest.raises(PtxError, match=message):
        run(BAD[message], np.zeros(32 * grid, np.uint32), grid=grid)


EXCHANGE = """mov.u32 %r6, part; shl.b32 %r7, %r2, 2; add.s32 %r7, %r6, %r7; st.shared.u32 [%r7], %r2;
    {barrier} xor.b32 %r8, %r2, 32; shl.b32 %r8, %r8, 2; add.s32 %r8, %r6, %r8; ld.shared.u32 %r9, [%r8];
    {again} st.global.u32 [%rd2], %r9;"""


def test_a_missing_barrier_is_a_race_between_warps():
    x = np.zeros(64, np.uint32)
    out, _ = run(EXCHANGE.format(barrier="bar.sync 0;", again=""), x, block=64)
    assert out.tolist() == [n ^ 32 for n in range(64)]
    with pytest.raises(PtxError, match="race: a warp reads what another warp writes"):
        run(EXCHANGE.format(barrier="", again=""), x, block=64)
    with pytest.raises(PtxError, match="race: a warp overwrites what another warp reads"):
        run(EXCHANGE.format(barrier="bar.sync 0;", again="st.shared.u32 [%r7], %r2;"), x, block=64)


def test_threads_that_left_are_not_awaited_at_a_barrier():
    body = "setp.gt.u32 %p1, %r2, 31; @%p1 ret; bar.sync 0; " + STORE
    out, _ = run(body, np.zeros(64, np.uint32), np.zeros(32, np.uint32), block=64)
    assert out.tolist() == list(range(32))


# ---- counts


def test_vectors_and_sectors_are_counted():
    x = floats(128)
    body = """mul.wide.u32 %rd4, %r5, 12; add.s64 %rd1, %rd1, %rd4; add.s64 %rd2, %rd2, %rd4;
        ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1]; st.global.v4.f32 [%rd2], {%f4, %f3, %f2, %f1};"""
    out, stats = run(body, x)
    assert out.tolist() == x.reshape(-1, 4)[:, ::-1].ravel().tolist()
    assert stats.widest("ld") == stats.widest("st") == 16
    assert stats.accesses["ld", "global", 16] == 32
    assert stats.requested == stats.moved == 2 * 512


def test_scattered_accesses_move_whole_sectors():
    x = np.zeros(32 * 32, np.uint32)
    body = (
        "mul.wide.u32 %rd4, %r5, 124; add.s64 %rd1, %rd1, %rd4; ld.global.u32 %r6, [%rd1]; st.global.u32 [%rd2], %r6;"
    )
    _, stats = run(body, x, np.zeros(32, np.uint32))
    assert stats.sectors["ld", "global"] == 32
    assert stats.sectors["st", "global"] == 4
