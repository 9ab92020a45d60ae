// Vectors of floats for one instruction set, their masks, and how they are loaded and stored.
//
// GCC's vector types instead of auto-vectorised loops: with int8 targets in a loop the vectoriser takes four registers
// for a value and spills; here the width is fixed. Two vectors lie side by side, because the chain exp -> division -> log
// is some 150 cycles long and one of them alone leaves the processor waiting. Rounding by adding 1.5 * 2^23 needs the
// compiler to keep the order of additions: never -ffast-math.
#pragma once
#include "../scalar_math.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define FASTLT_METHOD inline __attribute__((always_inline))
// For loops whose constants shall have registers of their own.
#define FASTLT_APART static __attribute__((noinline))

namespace fastlt {
namespace FASTLT_ISA {  // so that no name means two things in one library

using fastlt::absolute;
using fastlt::exceeds;
using fastlt::keep;
using fastlt::larger;
using fastlt::pick;

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr int SIDE_BY_SIDE = 2, WIDTH = SIDE_BY_SIDE * LANES;

typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef float LooseLanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t IntLanes __attribute__((vector_size(4 * LANES)));
typedef int8_t ByteLanes __attribute__((vector_size(LANES)));
typedef int8_t LooseByteLanes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef uint16_t ShortLanes __attribute__((vector_size(2 * LANES)));
typedef uint16_t LooseShortLanes __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint32_t WordLanes __attribute__((vector_size(4 * LANES)));

#define FASTLT_EACH(Type, expression) \
  Type out;                           \
  for (int j = 0; j < SIDE_BY_SIDE; ++j) out.part[j] = expression; \
  return out;

struct Ints {
  IntLanes part[SIDE_BY_SIDE];
};
// What a comparison gives: the processor's own masks, or -1 where true and 0 where false.
#if defined(__AVX512F__)
typedef __mmask16 MaskLanes;
#else
typedef IntLanes MaskLanes;
#endif
struct Mask {
  MaskLanes part[SIDE_BY_SIDE];
};
struct Floats {
  Lanes part[SIDE_BY_SIDE];
  Floats() = default;
  FASTLT_METHOD explicit Floats(float value) {
    for (int j = 0; j < SIDE_BY_SIDE; ++j) part[j] = Lanes{} + value;
  }
};
// A comparison that is known to be false, or true, everywhere.
struct Never {};
struct Always {};
// What is kept of a number where the comparison is false.
struct Nothing {};

#define FASTLT_ARITHMETIC(op)                                                                       \
  FASTLT_INLINE Floats operator op(Floats x, Floats y) { FASTLT_EACH(Floats, x.part[j] op y.part[j]) } \
  FASTLT_INLINE Floats operator op(Floats x, float y) { FASTLT_EACH(Floats, x.part[j] op y) }          \
  FASTLT_INLINE Floats operator op(float x, Floats y) { FASTLT_EACH(Floats, x op y.part[j]) }
FASTLT_ARITHMETIC(+)
FASTLT_ARITHMETIC(-)
FASTLT_ARITHMETIC(*)
FASTLT_ARITHMETIC(/)
#if defined(__AVX512F__)
#define FASTLT_COMPARE(x, op, y, how) _mm512_cmp_ps_mask((__m512)(x), (__m512)(y), how)
#define FASTLT_COMPARE_INTS(x, op, y, how) _mm512_cmp_epi32_mask((__m512i)(x), (__m512i)(y), how)
#else
#define FASTLT_COMPARE(x, op, y, how) (x) op (y)
#define FASTLT_COMPARE_INTS(x, op, y, how) (x) op (y)
#endif
#define FASTLT_COMPARISON(op, floats, ints)                                      \
  FASTLT_INLINE Mask operator op(Floats x, Floats y) {                           \
    FASTLT_EACH(Mask, FASTLT_COMPARE(x.part[j], op, y.part[j], floats))          \
  }                                                                              \
  FASTLT_INLINE Mask operator op(Floats x, float y) { return x op Floats(y); }   \
  FASTLT_INLINE Mask operator op(Ints x, int32_t y) {                            \
    FASTLT_EACH(Mask, FASTLT_COMPARE_INTS(x.part[j], op, IntLanes{} + y, ints))  \
  }
FASTLT_COMPARISON(>, _CMP_GT_OQ, _MM_CMPINT_NLE)
FASTLT_COMPARISON(<, _CMP_LT_OQ, _MM_CMPINT_LT)
FASTLT_COMPARISON(>=, _CMP_GE_OQ, _MM_CMPINT_NLT)
FASTLT_COMPARISON(<=, _CMP_LE_OQ, _MM_CMPINT_LE)
FASTLT_COMPARISON(==, _CMP_EQ_OQ, _MM_CMPINT_EQ)
FASTLT_INLINE Mask operator&(Mask x, Mask y) { FASTLT_EACH(Mask, (MaskLanes)(x.part[j] & y.part[j])) }
FASTLT_INLINE Mask operator|(Mask x, Mask y) { FASTLT_EACH(Mask, (MaskLanes)(x.part[j] | y.part[j])) }
FASTLT_INLINE Mask operator~(Mask x) { FASTLT_EACH(Mask, (MaskLanes)~x.part[j]) }
#define FASTLT_BITWISE(op)                                                                     \
  FASTLT_INLINE Ints operator op(Ints x, Ints y) { FASTLT_EACH(Ints, x.part[j] op y.part[j]) } \
  FASTLT_INLINE Ints operator op(Ints x, int32_t y) { FASTLT_EACH(Ints, x.part[j] op y) }
FASTLT_BITWISE(&)
FASTLT_BITWISE(|)
FASTLT_BITWISE(+)
FASTLT_BITWISE(-)
FASTLT_BITWISE(<<)
FASTLT_BITWISE(>>)
FASTLT_INLINE Floats operator-(Floats x) { FASTLT_EACH(Floats, -x.part[j]) }
FASTLT_INLINE Floats& operator+=(Floats& x, Floats y) { return x = x + y; }

FASTLT_INLINE Floats as_floats(Ints x) { FASTLT_EACH(Floats, (Lanes)x.part[j]) }  // the same bits
FASTLT_INLINE Ints as_ints(Floats x) { FASTLT_EACH(Ints, (IntLanes)x.part[j]) }
FASTLT_INLINE Floats to_floats(Ints x) { FASTLT_EACH(Floats, __builtin_convertvector(x.part[j], Lanes)) }

#if defined(__AVX512F__)
FASTLT_INLINE Floats pick(Mask where, Floats x, Floats y) {
  FASTLT_EACH(Floats, (Lanes)_mm512_mask_blend_ps(where.part[j], (__m512)y.part[j], (__m512)x.part[j]))
}
FASTLT_INLINE Floats keep(Mask where, Floats x) {
  FASTLT_EACH(Floats, (Lanes)_mm512_maskz_mov_ps(where.part[j], (__m512)x.part[j]))
}
FASTLT_INLINE Floats flip_sign(Mask where, Floats x) {
  FASTLT_EACH(Floats, (Lanes)_mm512_mask_xor_ps((__m512)x.part[j], where.part[j], (__m512)x.part[j], _mm512_set1_ps(-0.f)))
}
FASTLT_INLINE bool any(Mask x) { return (x.part[0] | x.part[1]) != 0; }
#else
FASTLT_INLINE Floats pick(Mask where, Floats x, Floats y) { FASTLT_EACH(Floats, where.part[j] ? x.part[j] : y.part[j]) }
FASTLT_INLINE Floats keep(Mask where, Floats x) {
  FASTLT_EACH(Floats, (Lanes)(where.part[j] & (IntLanes)x.part[j]))
}
FASTLT_INLINE Floats flip_sign(Mask where, Floats x) {
  FASTLT_EACH(Floats, (Lanes)((IntLanes)x.part[j] ^ (where.part[j] & (int32_t)0x80000000)))
}
FASTLT_INLINE bool any(Mask x) {
  const IntLanes both = x.part[0] | x.part[1];
#if defined(__AVX2__)
  return _mm256_movemask_epi8((__m256i)both);
#else
  int32_t found = 0;
  for (int i = 0; i < LANES; ++i) found |= both[i];
  return found;
#endif
}
#endif
FASTLT_INLINE Floats absolute(Floats x) { return as_floats(as_ints(x) & 0x7fffffff); }
FASTLT_INLINE Mask exceeds(Floats x, Floats limit) { return ~(x <= limit); }
#if defined(__AVX512F__)
FASTLT_INLINE Floats larger(Floats x, Floats y) {
  FASTLT_EACH(Floats, (Lanes)_mm512_max_ps((__m512)x.part[j], (__m512)y.part[j]))
}
#else
FASTLT_INLINE Floats larger(Floats x, Floats y) { return pick(x > y, x, y); }
#endif
FASTLT_INLINE float total(Floats x) {
  float sum = 0;
  for (int j = 0; j < SIDE_BY_SIDE; ++j)
    for (int i = 0; i < LANES; ++i) sum += x.part[j][i];
  return sum;
}
FASTLT_INLINE float largest(Floats x) {
  float most = x.part[0][0];
  for (int j = 0; j < SIDE_BY_SIDE; ++j)
    for (int i = 0; i < LANES; ++i) most = most > x.part[j][i] ? most : x.part[j][i];
  return most;
}

FASTLT_INLINE Floats pick(Never, Floats, Floats y) { return y; }
FASTLT_INLINE Floats pick(Always, Floats x, Floats) { return x; }
FASTLT_INLINE Nothing keep(Never, Floats) { return {}; }
FASTLT_INLINE Floats keep(Always, Floats x) { return x; }
FASTLT_INLINE Floats operator+(Floats x, Nothing) { return x; }
FASTLT_INLINE Floats flip_sign(Never, Floats x) { return x; }
FASTLT_INLINE Floats flip_sign(Always, Floats x) { return -x; }
FASTLT_INLINE Never operator&(Never, Mask) { return {}; }
FASTLT_INLINE Mask operator&(Always, Mask x) { return x; }
FASTLT_INLINE Mask operator|(Mask x, Never) { return x; }
FASTLT_INLINE Always operator|(Mask, Always) { return {}; }

// ---- memory: float, bfloat16 and float16 as they lie there

struct Bf16 {
  uint16_t bits;
};
struct Fp16 {
  uint16_t bits;
};

// Whole numbers between widths; for vectors of these sizes gcc takes the lanes of __builtin_convertvector one by one.
#if defined(__AVX512F__)
FASTLT_INLINE IntLanes widen_bytes(const int8_t* p) {
  return (IntLanes)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p));
}
FASTLT_INLINE WordLanes widen_shorts(const uint16_t* p) {
  return (WordLanes)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
}
FASTLT_INLINE void narrow_words(uint16_t* p, WordLanes x) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16((__m512i)x));
}
#elif defined(__AVX2__)
FASTLT_INLINE IntLanes widen_bytes(const int8_t* p) {
  return (IntLanes)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p));
}
FASTLT_INLINE WordLanes widen_shorts(const uint16_t* p) {
  return (WordLanes)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
}
FASTLT_INLINE void narrow_words(uint16_t* p, WordLanes x) {  // x < 2^16
  const __m256i packed = _mm256_packus_epi32((__m256i)x, (__m256i)x);
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}
#else
FASTLT_INLINE IntLanes widen_bytes(const int8_t* p) {
  return __builtin_convertvector((ByteLanes)(*(const LooseByteLanes*)p), IntLanes);
}
FASTLT_INLINE WordLanes widen_shorts(const uint16_t* p) {
  return __builtin_convertvector((ShortLanes)(*(const LooseShortLanes*)p), WordLanes);
}
FASTLT_INLINE void narrow_words(uint16_t* p, WordLanes x) {
  *(LooseShortLanes*)p = __builtin_convertvector(x, ShortLanes);
}
#endif

FASTLT_INLINE Lanes widen(const float* p) { return *(const LooseLanes*)p; }
FASTLT_INLINE void narrow(float* p, Lanes x) { *(LooseLanes*)p = x; }
FASTLT_INLINE Lanes widen(const Bf16* p) {
  return (Lanes)(widen_shorts(&p->bits) << 16);
}
FASTLT_INLINE void narrow(Bf16* p, Lanes x) {
  const WordLanes bits = (WordLanes)x, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest even
  const WordLanes is_nan = (WordLanes)(x != x);
  narrow_words(&p->bits, (is_nan & 0x7fc0) | (~is_nan & rounded));
}
#if defined(__AVX512F__)
FASTLT_INLINE Lanes widen(const Fp16* p) { return (Lanes)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
FASTLT_INLINE void narrow(Fp16* p, Lanes x) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)x, 0)); }
#elif defined(__AVX2__)
FASTLT_INLINE Lanes widen(const Fp16* p) { return (Lanes)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
FASTLT_INLINE void narrow(Fp16* p, Lanes x) { _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)x, 0)); }
#else
// Exponents are moved by a multiplication, which also makes subnormals right.
FASTLT_INLINE Lanes widen(const Fp16* p) {
  const WordLanes h = widen_shorts(&p->bits);
  const Lanes magnitude = (Lanes)((h & 0x7fff) << 13) * 0x1p112f;
  const WordLanes special = (WordLanes)((h & 0x7c00) == 0x7c00) & 0x7f800000;
  return (Lanes)((WordLanes)magnitude | special | ((h & 0x8000) << 16));
}
FASTLT_INLINE void narrow(Fp16* p, Lanes x) {
  const WordLanes bits = (WordLanes)x, sign = bits & 0x80000000, size = bits ^ sign;
  const WordLanes rebased = size - 0x38000000u;  // exponent 127 -> 15
  const WordLanes normal = (rebased + 0xfff + ((size >> 13) & 1)) >> 13;
  const WordLanes small = (WordLanes)((Lanes)size + 0.5f) - 0x3f000000u;  // the addition rounds at 2^-24
  WordLanes half = size < 0x38800000u ? small : normal;
  half = size >= 0x477ff000u ? WordLanes{} + 0x7c00u : half;              // rounds to infinity
  half = size > 0x7f800000u ? WordLanes{} + 0x7e00u : half;               // NaN
  narrow_words(&p->bits, half | (sign >> 16));
}
#endif

#if defined(__AVX512F__)
// The processor's own mask of the first `count` lanes, which may be less than none or more than all.
FASTLT_INLINE __mmask16 lane_bits(int count) {
  return (__mmask16)(count <= 0 ? 0 : count >= LANES ? 0xffff : (1 << count) - 1);
}
#endif

// How kernels see a vector type: Floats (any storage) or double (double alone, one lane).
template <class V>
struct Vector;
template <>
struct Vector<Floats> {
  using Real = float;
  using Mask = FASTLT_ISA::Mask;
  static constexpr int width = WIDTH;
  template <class T>
  static FASTLT_METHOD Floats load(const T* p) { FASTLT_EACH(Floats, widen(p + j * LANES)) }
  template <class T>
  static FASTLT_METHOD void store(T* p, Floats x) {
    for (int j = 0; j < SIDE_BY_SIDE; ++j) narrow(p + j * LANES, x.part[j]);
  }
  static FASTLT_METHOD Ints load_bytes(const int8_t* p) {
    FASTLT_EACH(Ints, widen_bytes(p + j * LANES))
  }
  // Which of the first `count` bytes are zero.
  static FASTLT_METHOD Mask zeros(const int8_t* p, int count) {
    int8_t copy[width];
    if (count < width) {
      __builtin_memset(copy, 1, width);
      __builtin_memcpy(copy, p, count);
      p = copy;
    }
#if defined(__AVX512F__)
    FASTLT_EACH(Mask, _mm_testn_epi8_mask(_mm_loadu_si128((const __m128i*)p + j), _mm_set1_epi8(-1)))
#else
    return load_bytes(p) == 0;
#endif
  }
  static FASTLT_METHOD Ints load_ints(const int32_t* p, int count, int32_t fill) {
    int32_t values[width];
    if (count < width) {
      for (int k = 0; k < width; ++k) values[k] = fill;
      __builtin_memcpy(values, p, count * sizeof(int32_t));
      p = values;
    }
    FASTLT_EACH(Ints, (IntLanes)(*(const LooseLanes*)((const float*)p + j * LANES)))
  }
  // True in the first `count` lanes.
  static FASTLT_METHOD Mask first(int count) {
#if defined(__AVX512F__)
    FASTLT_EACH(Mask, lane_bits(count - j * LANES))
#else
    Ints lane;
    for (int j = 0; j < SIDE_BY_SIDE; ++j)
      for (int i = 0; i < LANES; ++i) lane.part[j][i] = j * LANES + i;  // a constant
    return lane < count;
#endif
  }
  // The first `count` values, the rest filled up; through a copy where that is not a whole vector.
  template <class T>
  static FASTLT_METHOD Floats load(const T* p, int count, T fill) {
    if (count == width) return load(p);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
      FASTLT_EACH(Floats, (Lanes)_mm512_mask_loadu_ps((__m512)(Lanes{} + fill), lane_bits(count - j * LANES), p + j * LANES))
    }
#endif
    T values[width];
    for (int k = 0; k < width; ++k) values[k] = fill;
    __builtin_memcpy(values, p, count * sizeof(T));
    return load(values);
  }
  static FASTLT_METHOD Ints load_bytes(const int8_t* p, int count, int8_t fill) {
    if (count == width) return load_bytes(p);
    int8_t values[width];
    for (int k = 0; k < width; ++k) values[k] = fill;
    __builtin_memcpy(values, p, count);
    return load_bytes(values);
  }
  template <class T>
  static FASTLT_METHOD void store(T* p, Floats x, int count) {
    if (count == width) return store(p, x);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
      for (int j = 0; j < SIDE_BY_SIDE; ++j)
        _mm512_mask_storeu_ps(p + j * LANES, lane_bits(count - j * LANES), (__m512)x.part[j]);
      return;
    }
#endif
    T values[width];
    store(values, x);
    __builtin_memcpy(p, values, count * sizeof(T));
  }
};
template <>
struct Vector<double> {
  using Real = double;
  using Mask = bool;
  static constexpr int width = 1;
  static FASTLT_METHOD double load(const double* p) { return *p; }
  static FASTLT_METHOD void store(double* p, double x) { *p = x; }
  static FASTLT_METHOD int load_bytes(const int8_t* p) { return *p; }
  static FASTLT_METHOD int load_ints(const int32_t* p, int, int32_t) { return *p; }
  static FASTLT_METHOD bool first(int) { return true; }
  static FASTLT_METHOD double load(const double* p, int, double) { return *p; }
  static FASTLT_METHOD int load_bytes(const int8_t* p, int, int8_t) { return *p; }
  static FASTLT_METHOD void store(double* p, double x, int) { *p = x; }
};

// Calls with the first column and the number of columns of every vector of begin..end; of whole ones it is a constant.
template <class V, class F>
FASTLT_INLINE void each_vector(int64_t begin, int64_t end, const F& call) {
  int64_t j = begin;
  for (; end - j >= Vector<V>::width; j += Vector<V>::width) call(j, Vector<V>::width);
  if (j < end) call(j, (int)(end - j));
}
// All columns but `skipped` (-1: none).
template <class V, class F>
FASTLT_INLINE void each_vector_but(int64_t skipped, int64_t columns, const F& call) {
  each_vector<V>(0, skipped < 0 ? 0 : skipped, call);
  each_vector<V>(skipped + 1, columns, call);
}
#define FASTLT_LAMBDA __attribute__((always_inline))
FASTLT_INLINE double flip_sign(bool where, double x) { return where ? -x : x; }
FASTLT_INLINE bool any(bool x) { return x; }
FASTLT_INLINE double total(double x) { return x; }
FASTLT_INLINE double largest(double x) { return x; }
FASTLT_INLINE double pick(Never, double, double y) { return y; }
FASTLT_INLINE Nothing keep(Never, double) { return {}; }
FASTLT_INLINE double operator+(double x, Nothing) { return x; }
FASTLT_INLINE double flip_sign(Never, double x) { return x; }
FASTLT_INLINE Never operator&(Never, bool) { return {}; }
FASTLT_INLINE bool operator|(bool x, Never) { return x; }

}  // namespace FASTLT_ISA
}  // namespace fastlt
