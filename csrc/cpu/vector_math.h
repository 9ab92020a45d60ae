// The functions of scalar_math.h on vectors.
#pragma once
#if defined(__AVX512F__)
#include "tables_avx512.h"
#else
#include "polynomials.h"
#endif

namespace fastlt {
namespace FASTLT_ISA {

using fastlt::exponential;
using fastlt::logarithm;
using fastlt::minus_log_and_inverse;
using fastlt::sigmoid_pair;
using fastlt::sigmoid_softplus;

// For normal positive numbers up to 1.
FASTLT_INLINE Floats logarithm(Floats x) {
  return -minus_log_and_inverse(x, 1.f - x, Floats(1.f)).minus_log;
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
