// exp, log and the sigmoid on vectors with AVX-512: a table of 16 values lies in one register, so that one permutation
// looks up all lanes, and the polynomial that is left is short. Exponents have instructions of their own.
//
// Two ports do all the arithmetic on 512 bits, so what counts is the number of operations: 10 for an exponential, 14 for
// a logarithm. A division is three of them, as many as an estimate of 1 / x without its step of Newton's.
#pragma once
#include "vector.h"

namespace fastlt {
namespace FASTLT_ISA {

typedef float Table __attribute__((vector_size(64)));
// 2^(i / 16)
constexpr Table POWERS = {1.0f,       1.04427373f, 1.09050775f, 1.13878858f, 1.18920708f, 1.24185777f,
                          1.29683959f, 1.35425556f, 1.41421354f, 1.4768262f,  1.54221082f, 1.61049032f,
                          1.68179286f, 1.75625217f, 1.83400810f, 1.91520655f};
// 1 / (1 + i / 15), and minus the logarithm of these floats
constexpr Table INVERSES_TO_TWO = {1.0f,         0.9375f,      0.882352949f, 0.833333313f, 0.789473712f, 0.75f,
                                   0.714285731f, 0.681818187f, 0.652173936f, 0.625f,       0.600000024f, 0.576923072f,
                                   0.555555582f, 0.535714269f, 0.517241359f, 0.5f};
constexpr Table LOGS_TO_TWO = {0.0f,         0.0645385236f, 0.125163138f, 0.182321578f, 0.236388743f, 0.287682086f,
                               0.336472213f, 0.382992238f,  0.427443981f, 0.470003635f, 0.510825574f, 0.550046325f,
                               0.587786615f, 0.624154329f,  0.65924567f,  0.693147182f};
// 1 / m for m in the middle of each 16th of [1, 2), of m / 2 from 1.5 on (1 itself in the last), by the first four bits
// after the point; and the logarithm of these floats, less log 2 from 1.5 on
constexpr Table INVERSES = {0.969696999f, 0.914285719f, 0.864864886f, 0.820512831f, 0.780487776f, 0.744186044f,
                            0.711111128f, 0.680851042f, 1.30612242f, 1.25490201f, 1.20754719f, 1.16363633f,
                            1.12280703f, 1.08474576f, 1.04918027f, 1.0f};
constexpr Table LOGS = {-0.030771628f, -0.0896121562f, -0.145181984f, -0.19782573f, -0.247836202f, -0.295464218f,
                        -0.340926558f, -0.384411722f, -0.426084429f, -0.466089696f, -0.504556f, -0.541597307f,
                        -0.577315331f, -0.611801565f, -0.645138025f, -0.693147182f};

FASTLT_INLINE Floats look_up(const Table& table, Ints last_four_bits) {
  FASTLT_EACH(Floats, (Lanes)_mm512_permutexvar_ps((__m512i)last_four_bits.part[j], (__m512)table))
}
// value * 2^floor(exponent)
FASTLT_INLINE Floats scaled(Floats value, Floats exponent) {
  FASTLT_EACH(Floats, (Lanes)_mm512_scalef_ps((__m512)value.part[j], (__m512)exponent.part[j]))
}
FASTLT_INLINE Floats floor_of_log2(Floats x) { FASTLT_EACH(Floats, (Lanes)_mm512_getexp_ps((__m512)x.part[j])) }
// where ? x - y z : 0
FASTLT_INLINE Floats keep_less_product(Mask where, Floats x, Floats y, float z) {
  FASTLT_EACH(Floats, (Lanes)_mm512_maskz_fnmadd_ps(where.part[j], (__m512)y.part[j], _mm512_set1_ps(z), (__m512)x.part[j]))
}
// x * 2^k within [0.75, 1.5)
FASTLT_INLINE Floats mantissa(Floats x) {
  FASTLT_EACH(Floats, (Lanes)_mm512_getmant_ps((__m512)x.part[j], _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src))
}
FASTLT_INLINE Floats smaller(Floats x, Floats y) {
  FASTLT_EACH(Floats, (Lanes)_mm512_min_ps((__m512)x.part[j], (__m512)y.part[j]))
}

FASTLT_INLINE Floats minus_absolute(Floats x) { return as_floats(as_ints(x) | (int32_t)0x80000000); }

// e^x where its result is a normal number. x = n / 16 log 2 + r: log 2 as a float is good to 2.8e-9 of itself, so the
// result to that times x. Adding 1.5 * 2^19 rounds to n / 16 and leaves n in the last bits.
FASTLT_INLINE Floats exponential_in_range(Floats x) {
  const Floats shifted = x * 1.44269504f + 786432.f, sixteenths = shifted - 786432.f;
  const Floats r = x - sixteenths * 0.693147182f;
  const Floats power = look_up(POWERS, as_ints(shifted)), small = (r * 0.16667039f + 0.50001652f) * (r * r) + r;
  return scaled(small * power + power, sixteenths);
}
// e^x for x <= 0; 0 below -87.3, where it would no longer be a normal number.
FASTLT_INLINE Floats exponential(Floats x) { return keep(~(x < -87.3f), exponential_in_range(x)); }

// -log(1 - s) for |s| <= 1 / 30
FASTLT_INLINE Floats minus_log_near_one(Floats s) { return ((s * 0.25026215f + 0.33351756f) * s + 0.5f) * (s * s) + s; }

FASTLT_INLINE Sigmoid<Floats> sigmoid_softplus(Floats t) {
  const Floats e = exponential(minus_absolute(t)), near = 1.f / (1.f + e), far = e * near;
  const Ints at = as_ints(e * 15.f + 12582912.f);
  const Floats c = look_up(INVERSES_TO_TWO, at);  // log(1 + e) = -log c - log(1 - s), s = 1 - (1 + e) c
  const Floats log_one_plus = look_up(LOGS_TO_TWO, at) - minus_log_near_one((1.f - c) - e * c);
  const Mask up = t >= 0.f;
  return {pick(up, near, far), pick(up, far, near), pick(up, log_one_plus + t, log_one_plus)};
}
// Beyond |t| = 86 both stay what they are there: 4.5e-38 and 1.
FASTLT_INLINE SigmoidPair<Floats> sigmoid_pair(Floats t) {
  const Floats limit(86.f), e = exponential_in_range(larger(-limit, smaller(limit, t)));  // a NaN stays one
  const Floats u = 1.f / (1.f + e), q = e * u;
  return {q, u, larger(q, u), smaller(q, u)};
}
// v in (0, 1]. Next to 1 the series is of c = 1 - v itself, so no digits are lost.
FASTLT_INLINE LogInverse<Floats> minus_log_and_inverse(Floats v, Floats c, Floats divisor) {
  const Mask away = v < 0.96875f;
  const Ints at = as_ints(v) >> 19;
  const Floats s = pick(away, 1.f - mantissa(v) * look_up(INVERSES, at), c);
  const Floats table = keep_less_product(away, look_up(LOGS, at), floor_of_log2(v), 0.693147182f);
  return {table + minus_log_near_one(s), 1.f / divisor};
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
