// sigmoid_loss on rows: one pass over logits and targets gives losses, gradients and the sums of the class gradients.
#pragma once
#include "../sigmoid_term.h"
#include "kernels.h"
#include "vector.h"

namespace fastlt {
namespace FASTLT_ISA {

// Lanes of several kinds: each kind's power where there may be such lanes, then lane by lane.
using fastlt::focus_of_kind;
FASTLT_INLINE Focus<Floats> focus_of_kind(Floats q, Never, Never, const SigmoidSettings<float>& s) {
  return focus(q, s.negative);
}
FASTLT_INLINE Focus<Floats> focus_of_kind(Floats q, Ints positive, Ints unknown, const SigmoidSettings<float>& s) {
  const Focus<Floats> n = focus(q, s.negative), p = focus(q, s.positive);
  Focus<Floats> f = {pick(positive, p.factor, n.factor), pick(positive, p.slope, n.slope)};
  if (s.ignore_unknown) return f;
  const Focus<Floats> u = focus(q, s.unknown);
  return {pick(unknown, u.factor, f.factor), pick(unknown, u.slope, f.slope)};
}
FASTLT_INLINE Focus<double> focus_of_kind(double q, Never, Never, const SigmoidSettings<double>& s) {
  return focus(q, s.negative);
}

// Targets are sparse: most vectors are all negative (or all unknown), and those need no masks.
enum class Targets { NEGATIVE, UNKNOWN, MIXED };
template <class V>
FASTLT_INLINE Targets kind_of(const int8_t* targets) {
  if (Vector<V>::width == 1) return *targets == 0 ? Targets::NEGATIVE : *targets < 0 ? Targets::UNKNOWN : Targets::MIXED;
  uint64_t any = 0, all = ~0ull;
  for (int i = 0; i < Vector<V>::width; i += 8) {
    uint64_t eight;
    __builtin_memcpy(&eight, targets + i, 8);
    any |= eight;
    all &= eight;
  }
  return any == 0 ? Targets::NEGATIVE : all == ~0ull ? Targets::UNKNOWN : Targets::MIXED;
}

// The class vectors and class sums of one vector of columns. They stay in memory, where the first-level cache has them: in
// ten variables they would only spill.
template <class V>
struct Columns {
  using R = typename Vector<V>::Real;
  const R* vectors[6];
  R* sums[4];
  FASTLT_METHOD V vector(int k) const { return Vector<V>::load(vectors[k]); }
  FASTLT_METHOD void add(int k, V value) const { Vector<V>::store(sums[k], Vector<V>::load(sums[k]) + value); }
};

enum { SCALE_P, SHIFT_P, SCALE_N, SHIFT_N, WEIGHT_P, WEIGHT_N };

// Loss of each lane into `loss`; returns d loss / d logit times scale. `counted` is the element weight.
template <class V, Form FORM, bool VECTORS, class Mask, class R>
FASTLT_INLINE V entries(V x, Mask positive, Mask unknown, const SigmoidSettings<R>& s, const Columns<V>& c, bool sums,
                        V scale, V& loss) {
  if constexpr (!VECTORS) {
    const Term<V> term = sigmoid_term<FORM>(flip_sign(positive, x), positive, unknown, s);
    loss = term.loss;
    return flip_sign(positive, term.slope * scale);
  } else {
    const V slant = pick(positive, c.vector(SCALE_P), c.vector(SCALE_N));
    const V shift = pick(positive, c.vector(SHIFT_P), c.vector(SHIFT_N));
    const V weight = pick(positive, c.vector(WEIGHT_P), c.vector(WEIGHT_N));
    const Term<V> term = sigmoid_term<FORM>(flip_sign(positive, x * slant + shift), positive, unknown, s);
    loss = weight * term.loss;
    const V dz = flip_sign(positive, weight * (scale * term.slope));
    if (sums) {
      const V dx = dz * x, dx_positive = keep(positive, dx), dz_positive = keep(positive, dz);
      if constexpr (!__is_same(Mask, Never)) {
        c.add(SCALE_P, dx_positive);
        c.add(SHIFT_P, dz_positive);
      }
      c.add(SCALE_N, dx - dx_positive);
      c.add(SHIFT_N, dz - dz_positive);
    }
    return dz * slant;
  }
}

// One vector of entries; `weight` times each (1 if there is none, 0 past the end of a row).
template <class V, Form FORM, bool VECTORS, class R>
FASTLT_INLINE V vector_of_entries(V x, const int8_t* targets, bool weighted, V weight, const SigmoidSettings<R>& s,
                                  const Columns<V>& c, bool sums, R scale, V& loss) {
  const Targets kind = kind_of<V>(targets);
  if (kind == Targets::UNKNOWN && s.ignore_unknown) return loss = V(R(0));
  const V factor = weighted ? weight * V(scale) : V(scale);
  V gradient;
  if (kind == Targets::NEGATIVE) {
    gradient = entries<V, FORM, VECTORS>(x, Never{}, Never{}, s, c, sums, factor, loss);
  } else {
    const auto y = Vector<V>::load_bytes(targets);
    const typename Vector<V>::Mask positive = y > 0, unknown = y < 0;
    const V known = s.ignore_unknown ? pick(unknown, V(R(0)), factor) : factor;
    gradient = entries<V, FORM, VECTORS>(x, positive, unknown, s, c, sums, known, loss);
    if (s.ignore_unknown) loss = pick(unknown, V(R(0)), loss);
  }
  if (weighted) loss = loss * weight;
  return gradient;
}

template <class V>
FASTLT_INLINE V load_weight(const SigmoidRows& a, int64_t at, int count) {
  using R = typename Vector<V>::Real;
  if (!a.weight_is_bytes) return Vector<V>::load((const R*)a.weight + at, count, R(0));
  if constexpr (Vector<V>::width == 1) return ((const int8_t*)a.weight)[at];
  else return to_floats(Vector<V>::load_bytes((const int8_t*)a.weight + at, count, 0));
}
template <class V, class T, Form FORM, bool VECTORS>
void sigmoid_rows_as(const SigmoidRows& a, int64_t begin, int64_t end, void* class_sums) {
  using R = typename Vector<V>::Real;
  constexpr int W = Vector<V>::width, BLOCK = 32 * W;
  const SigmoidSettings<R> s = {power_of<R>(a.gammas[0]), power_of<R>(a.gammas[1]), power_of<R>(a.gammas[2]),
                                (R)a.margin, a.detach_focus, a.ignore_unknown};
  const int64_t C = a.classes, step = padded(C);
  R* const sums = (R*)class_sums;
  for (int64_t i = begin; i < end; ++i) {
    const T* x = (const T*)a.logits + i * C;
    const int8_t* y = a.targets + i * C;
    T* g = a.grad_logits ? (T*)a.grad_logits + i * C : nullptr;
    const R scale = scale_of<R>(a.scaling, i);
    const auto columns = [&](int64_t j) {
      Columns<V> c;
      if constexpr (VECTORS) {
        for (int k = 0; k < 6; ++k) c.vectors[k] = (const R*)a.vectors[k] + j;
        for (int k = 0; k < 4; ++k) c.sums[k] = sums + k * step + j;
      }
      return c;
    };
    double sum = 0;
    for (int64_t b = 0; b < C; b += BLOCK) {  // lanes add up a block, doubles the blocks
      V block(R(0));
      each_vector<V>(b, b + BLOCK < C ? b + BLOCK : C, [&](int64_t j, int n) FASTLT_LAMBDA {
        int8_t copy[W] = {};
        const int8_t* targets = y + j;
        V weight(R(1)), loss;
        if (a.weight) weight = load_weight<V>(a, i * C + j, n);
        if (n < W) {  // what lies past the last column has weight 0
          __builtin_memcpy(copy, targets, n);
          targets = copy;
          weight = keep(Vector<V>::first(n), weight);
        }
        const V gradient = vector_of_entries<V, FORM, VECTORS>(Vector<V>::load(x + j, n, T{}), targets, a.weight || n < W,
                                                               weight, s, columns(j), sums, scale, loss);
        if (g) Vector<V>::store(g + j, gradient, n);
        block += loss;
      });
      sum += total(block);
    }
    a.row_loss[i] = sum;
  }
}

template <class V, class T>
void sigmoid_rows(const SigmoidRows& a, int64_t begin, int64_t end, void* sums) {
  using R = typename Vector<V>::Real;
  const Form form = form_of(SigmoidSettings<R>{power_of<R>(a.gammas[0]), power_of<R>(a.gammas[1]), power_of<R>(a.gammas[2]),
                                               (R)a.margin, a.detach_focus, a.ignore_unknown});
  const bool vectors = a.vectors[0];
  if (form == PLAIN) (vectors ? sigmoid_rows_as<V, T, PLAIN, true> : sigmoid_rows_as<V, T, PLAIN, false>)(a, begin, end, sums);
  if (form == FOCUSED) (vectors ? sigmoid_rows_as<V, T, FOCUSED, true> : sigmoid_rows_as<V, T, FOCUSED, false>)(a, begin, end, sums);
  if (form == MARGIN) (vectors ? sigmoid_rows_as<V, T, MARGIN, true> : sigmoid_rows_as<V, T, MARGIN, false>)(a, begin, end, sums);
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
