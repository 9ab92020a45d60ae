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
FASTLT_INLINE float log_one_plus(float x) { return log1pf(x); }
FASTLT_INLINE double log_one_plus(double x) { return log1p(x); }
FASTLT_INLINE float absolute(float x) { return fabsf(x); }
FASTLT_INLINE double absolute(double x) { return fabs(x); }
FASTLT_INLINE float larger(float x, float y) { return x > y ? x : y; }
FASTLT_INLINE double larger(double x, double y) { return x > y ? x : y; }

// x > limit, or x is NaN: what is wrong shall stay visible.
FASTLT_INLINE bool exceeds(float x, float limit) { return !(x <= limit); }
FASTLT_INLINE bool exceeds(double x, double limit) { return !(x <= limit); }

// where ? x : y, and where ? x : 0
FASTLT_INLINE float pick(bool where, float x, float y) { return where ? x : y; }
FASTLT_INLINE double pick(bool where, double x, double y) { return where ? x : y; }
FASTLT_INLINE float keep(bool where, float x) { return where ? x : 0.f; }
FASTLT_INLINE double keep(bool where, double x) { return where ? x : 0.; }

// sigmoid(t), sigmoid(-t), each to full relative accuracy, and softplus(t) = log(1 + e^t).
template <class V>
struct Sigmoid {
  V q, u, softplus;
};
template <class V>
FASTLT_INLINE Sigmoid<V> sigmoid_softplus(V t) {
  const V e = exponential(-absolute(t)), near = V(1) / (V(1) + e), far = e * near;
  const bool up = t >= V(0);
  return {pick(up, near, far), pick(up, far, near), keep(up, t) + log_one_plus(e)};
}

// The same without the logarithm; near and far are the larger and the smaller of the two.
template <class V>
struct SigmoidPair {
  V q, u, near, far;
};
template <class V>
FASTLT_INLINE SigmoidPair<V> sigmoid_pair(V t) {
  const V e = exponential(-absolute(t)), near = V(1) / (V(1) + e), far = e * near;
  const bool up = t >= V(0);
  return {pick(up, near, far), pick(up, far, near), near, far};
}

// -log(v) where c = 1 - v is known to full relative accuracy too, and 1 / divisor: vector types share one division.
template <class V>
struct LogInverse {
  V minus_log, inverse;
};
template <class V>
FASTLT_INLINE LogInverse<V> minus_log_and_inverse(V v, V c, V divisor) {
  return {c < V(0.5) ? -log_one_plus(-c) : -logarithm(v), V(1) / divisor};
}

}  // namespace fastlt
