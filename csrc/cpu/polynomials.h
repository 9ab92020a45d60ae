// exp, log and the sigmoid on vectors for processors without AVX-512: polynomials and one division for two inverses.
#pragma once
#include "vector.h"

namespace fastlt {
namespace FASTLT_ISA {

// e^x for x <= 0; 0 below -87.3, where it would no longer be a normal number; NaN for what arithmetic makes of invalid
// operations (a NaN with other bits set may come out as something else). x = whole log 2 + r, with log 2 in two parts
// so that whole times the first is exact; the coefficients are those of Cephes' expf.
FASTLT_INLINE Floats exponential(Floats x) {
  const Floats shifted = x * 1.44269504f + 12582912.f, whole = shifted - 12582912.f;  // round(x / log 2)
  const Floats r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f, r2 = r * r;
  const Floats a = r * 1.6666665459e-1f + 5.0000001201e-1f, b = r * 8.3334519073e-3f + 4.1665795894e-2f,
               c = r * 1.9875691500e-4f + 1.3981999507e-3f;
  const Floats result = ((c * r2 + b) * r2 + a) * r2 + r + 1.f;
  return pick(x < -87.3f, Floats(0.f), as_floats(as_ints(result) + (as_ints(shifted) << 23)));
}

// log(1 + e) = 2 atanh(q), q = e / (2 + e), for e in [0, 1].
FASTLT_INLINE Floats twice_atanh(Floats q) {
  const Floats q2 = q * q;
  const Floats c = (q2 * 0.281782985f + 0.279606104f) * (q2 * q2) + (q2 * 0.400249094f + 0.666663170f);
  return q * (c * q2 + 2.f);
}

// 1 / a and 1 / b, for finite numbers of a usual size.
struct Inverses {
  Floats a, b;
};
// One division for both, and its roundings taken away again where that is cheap.
FASTLT_INLINE Floats inverse(Floats x) { return 1.f / x; }
FASTLT_INLINE Inverses inverses(Floats a, Floats b) {
  const Floats both = 1.f / (a * b);
#if defined(__FMA__)
  const Floats rough = b * both;
  return {rough + rough * (1.f - a * rough), a * both};
#else
  return {1.f / a, a * both};
#endif
}

FASTLT_INLINE Sigmoid<Floats> sigmoid_softplus(Floats t) {
  const Floats e = exponential(-absolute(t));
  const Inverses per = inverses(1.f + e, 2.f + e);
  const Floats near = per.a, far = e * near;
  const Mask up = t >= 0.f;
  return {pick(up, near, far), pick(up, far, near), keep(up, t) + twice_atanh(e * per.b)};
}
FASTLT_INLINE SigmoidPair<Floats> sigmoid_pair(Floats t) {
  const Floats e = exponential(-absolute(t)), near = inverse(1.f + e), far = e * near;
  const Mask up = t >= 0.f;
  return {pick(up, near, far), pick(up, far, near), near, far};
}
// v in (0, 1]: one exponent is split off; with none, 1 - v itself goes into the series, so no digits are lost.
FASTLT_INLINE LogInverse<Floats> minus_log_and_inverse(Floats v, Floats c, Floats divisor) {
  const Ints k = (as_ints(v) - 0x3f3504f3) >> 23;
  const Floats w = pick(k == 0, -c, as_floats(as_ints(v) - (k << 23)) - 1.f);
  const Inverses per = inverses(divisor, 2.f + w);
  const Floats s = w * per.b, s2 = s * s;
  Floats series = s2 * 0.29933399f + 0.399745077f;
  series = series * s2 + 0.666668177f;
  series = series * s2 + 2.f;
  return {to_floats(k) * -0.693147181f - s * series, per.a};
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
