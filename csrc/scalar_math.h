// Scalar functions for float and double under the names that the formulas use; the CPU kernels add the same for their
// vector types. No C++ standard headers here: this is also compiled for one instruction set each (see cpu/kernels.cc),
// and an inline function of theirs must not become the copy that the whole library uses.
#pragma once
#include <math.h>
#include <stdint.h>

#if defined(__CUDACC__)
#define FASTLT_INLINE __host__ __device__ __forceinline__
#else
#define FASTLT_INLINE static inline __attribute__((always_inline))
#endif

namespace fastlt {

FASTLT_INLINE float exponential(float x) { return expf(x); }
FASTLT_INLINE double exponential(double x) { return exp(x); }
FASTLT_INLINE float logarithm(float x) { return logf(x); }
FASTLT_INLINE double logarithm(double x) { return log(x); }
FASTLT_INLINE double log_one_plus(double x) { return log1p(x); }
FASTLT_INLINE float absolute(float x) { return fabsf(x); }
FASTLT_INLINE double absolute(double x) { return fabs(x); }
FASTLT_INLINE float larger(float x, float y) { return x > y ? x : y; }
FASTLT_INLINE double larger(double x, double y) { return x > y ? x : y; }

// 1 / x to one unit in the last place; of a subnormal x it may be infinite.
FASTLT_INLINE float reciprocal(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));  // a division proper takes eight instructions more
  return y;
#else
  return 1.f / x;
#endif
}
FASTLT_INLINE double reciprocal(double x) { return 1. / x; }

// x > limit, or x is NaN: what is wrong shall stay visible.
FASTLT_INLINE bool exceeds(float x, float limit) { return !(x <= limit); }
FASTLT_INLINE bool exceeds(double x, double limit) { return !(x <= limit); }

// where ? x : y, and where ? x : 0
FASTLT_INLINE float pick(bool where, float x, float y) { return where ? x : y; }
FASTLT_INLINE double pick(bool where, double x, double y) { return where ? x : y; }
FASTLT_INLINE float keep(bool where, float x) { return where ? x : 0.f; }
FASTLT_INLINE double keep(bool where, double x) { return where ? x : 0.; }

// log(1 + e) for e in [0, 1], where 1 / (1 + e) is known: the logarithm of the rounded sum, and what rounding took.
FASTLT_INLINE float log_one_plus(float e, float inverse) {
  const float sum = 1.f + e;
  return logarithm(sum) + (e - (sum - 1.f)) * inverse;
}
FASTLT_INLINE double log_one_plus(double e, double) { return log_one_plus(e); }

// sigmoid(t), sigmoid(-t), each to full relative accuracy, and softplus(t) = log(1 + e^t).
template <class V>
struct Sigmoid {
  V q, u, softplus;
};
template <class V>
FASTLT_INLINE Sigmoid<V> sigmoid_softplus(V t) {
  const V e = exponential(-absolute(t)), near = reciprocal(V(1) + e), far = e * near;
  const bool up = t >= V(0);
  return {pick(up, near, far), pick(up, far, near), keep(up, t) + log_one_plus(e, near)};
}

// The same without the logarithm; near and far are the larger and the smaller of the two.
template <class V>
struct SigmoidPair {
  V q, u, near, far;
};
template <class V>
FASTLT_INLINE SigmoidPair<V> sigmoid_pair(V t) {
  const V e = exponential(-absolute(t)), near = reciprocal(V(1) + e), far = e * near;
  const bool up = t >= V(0);
  return {pick(up, near, far), pick(up, far, near), near, far};
}

// -log(v) where c = 1 - v is known to full relative accuracy too, and 1 / divisor: vector types share one division.
template <class V>
struct LogInverse {
  V minus_log, inverse;
};
// What rounding took from v counts where v is near 1; one way for all threads of a warp, as two would both be gone.
FASTLT_INLINE LogInverse<float> minus_log_and_inverse(float v, float c, float divisor) {
  const float lost = pick(c < 0.5f, ((1.f - v) - c) * reciprocal(v), 0.f);
  return {-(logarithm(v) + lost), reciprocal(divisor)};
}
FASTLT_INLINE LogInverse<double> minus_log_and_inverse(double v, double c, double divisor) {
  return {c < 0.5 ? -log_one_plus(-c) : -logarithm(v), 1. / divisor};
}

}  // namespace fastlt
