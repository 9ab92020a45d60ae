// One entry of the sigmoid loss family, as one text for every kernel: V is float or double (CUDA, fp64 on the CPU) or
// a vector type of the CPU kernels.
//
// t is the logit of the wrong answer, q = sigmoid(t) its probability, m the margin (negatives only), g the exponent:
//   loss = qm^g * -log(1 - qm),  qm = max(q - m, 0)          slope = d loss / d t
// With m = 0 the logarithm is softplus(t): nothing saturates. g = 0: binary cross-entropy; equal exponents: focal loss
// (Lin et al. 2017); m > 0 and a larger exponent for negatives: asymmetric loss (Ridnik et al. 2021, eq. 4 to 7).
#pragma once
#include "scalar_math.h"

namespace fastlt {

// Exponent of a focusing factor; whole is the exponent if it is one of 0..16, otherwise -1.
template <class R>
struct Power {
  R exponent;
  int whole;
};
template <class R>
FASTLT_INLINE Power<R> power_of(double exponent) {
  const bool whole = exponent >= 0 && exponent <= 16 && exponent == (double)(int)exponent;
  return {(R)exponent, whole ? (int)exponent : -1};
}

template <class R>
struct SigmoidSettings {
  Power<R> positive, negative, unknown;
  R margin;
  bool detach_focus, ignore_unknown;
};

// What a kernel needs of the settings is known before it starts, so it is a template argument.
enum Form { PLAIN, FOCUSED, MARGIN };
template <class R>
FASTLT_INLINE Form form_of(const SigmoidSettings<R>& s) {
  if (s.margin > 0) return MARGIN;
  return s.positive.whole == 0 && s.negative.whole == 0 && (s.ignore_unknown || s.unknown.whole == 0) ? PLAIN : FOCUSED;
}

// base^exponent for a whole exponent > 0.
template <class V>
FASTLT_INLINE V whole_power(V base, int exponent) {
  for (; !(exponent & 1); exponent >>= 1) base = base * base;
  V result = base;
  while (exponent >>= 1) {
    base = base * base;
    if (exponent & 1) result = result * base;
  }
  return result;
}

// q^g and its derivative g q^(g - 1), which is 0 where the factor is detached; 0^0 = 1.
template <class V>
struct Focus {
  V factor, slope;
};
template <class V, class R>
FASTLT_INLINE Focus<V> focus(V q, Power<R> power, bool detached) {
  if (power.whole == 0) return {V(1), V(0)};
  if (power.whole > 0) {
    if (detached) return {whole_power(q, power.whole), V(0)};
    if (power.whole == 1) return {q, V(1)};
    const V below = whole_power(q, power.whole - 1);
    return {below * q, below * V(power.exponent)};
  }
  const V factor = keep(q > V(R(0)), exponential(V(power.exponent) * logarithm(q)));
  return {factor, keep(q > V(R(0)), factor * V(power.exponent) / q)};
}
// Of one entry; the CPU's vector types have their own, since their lanes are of several kinds.
template <class V>
FASTLT_INLINE Focus<V> focus_of_kind(V q, bool positive, bool unknown, const SigmoidSettings<V>& s) {
  return focus(q, positive ? s.positive : unknown ? s.unknown : s.negative, s.detach_focus);
}

template <class V>
struct Term {
  V loss, slope;
};

// The term with a margin, where the two sigmoids of t are known.
template <class V, class Positive, class Unknown, class R>
FASTLT_INLINE Term<V> margin_term(V t, SigmoidPair<V> p, Positive positive, Unknown unknown,
                                  const SigmoidSettings<R>& s) {
  const auto on = exceeds(p.q, V(s.margin));
  // Positives have no margin: -log(right) = softplus(t) comes from the larger of the two sigmoids.
  const V right = pick(positive, V(R(1)), pick(on, p.u + V(s.margin), V(R(1))));
  const V wrong = pick(positive, p.q, keep(on, p.q - V(s.margin)));
  const LogInverse<V> log = minus_log_and_inverse(pick(positive, p.near, right), pick(positive, p.far, wrong), right);
  const V minus_log = log.minus_log + keep(positive & (t > V(R(0))), t);
  const V slope = pick(positive, p.q, keep(on, p.q * p.u * log.inverse));
  const Focus<V> f = focus_of_kind(wrong, positive, unknown, s);
  if (s.detach_focus) return {f.factor * minus_log, f.factor * slope};
  return {f.factor * minus_log, f.factor * slope + keep(on | positive, f.slope * p.q * p.u * minus_log)};
}

template <Form FORM, class V, class Positive, class Unknown, class R>
FASTLT_INLINE Term<V> sigmoid_term(V t, Positive positive, Unknown unknown, const SigmoidSettings<R>& s) {
  if constexpr (FORM == MARGIN) return margin_term(t, sigmoid_pair(t), positive, unknown, s);
  const Sigmoid<V> p = sigmoid_softplus(t);
  if constexpr (FORM == PLAIN) return {p.softplus, p.q};
  const Focus<V> f = focus_of_kind(p.q, positive, unknown, s);
  if (s.detach_focus) return {f.factor * p.softplus, f.factor * p.q};
  return {f.factor * p.softplus, f.factor * p.q + f.slope * p.q * p.u * p.softplus};
}

}  // namespace fastlt
