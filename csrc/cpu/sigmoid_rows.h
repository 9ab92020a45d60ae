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

// Which lanes count, where not all do: others have no loss and no gradient, whatever their logits are.
template <class Mask>
struct Counted {
  bool all;
  Mask lanes;
};

// Loss of each lane into `loss`; returns d loss / d logit times scale.
template <class V, Form FORM, bool VECTORS, class Mask, class Lanes, class R>
FASTLT_INLINE V entries(V x, Mask positive, Mask unknown, Counted<Lanes> counted, const SigmoidSettings<R>& s,
                        const Columns<V>& c, bool sums, V scale, V& loss) {
  const auto counted_term = [&](V t) FASTLT_LAMBDA {
    const Term<V> term = sigmoid_term<FORM>(flip_sign(positive, t), positive, unknown, s);
    return counted.all ? term : Term<V>{keep(counted.lanes, term.loss), keep(counted.lanes, term.slope)};
  };
  if constexpr (!VECTORS) {
    const Term<V> term = counted_term(x);
    loss = term.loss;
    return flip_sign(positive, term.slope * scale);
  } else {
    const V slant = pick(positive, c.vector(SCALE_P), c.vector(SCALE_N));
    const V shift = pick(positive, c.vector(SHIFT_P), c.vector(SHIFT_N));
    const V weight = pick(positive, c.vector(WEIGHT_P), c.vector(WEIGHT_N));
    const Term<V> term = counted_term(x * slant + shift);
    loss = weight * term.loss;
    const V dz = flip_sign(positive, weight * (scale * term.slope));
    if (sums) {
      const V dx = counted.all ? dz * x : keep(counted.lanes, dz * x);
      const V dx_positive = keep(positive, dx), dz_positive = keep(positive, dz);
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

// One vector of entries. `weight` is that of the entries where they are `weighted`; `some` of them may not count at all.
template <class V, Form FORM, bool VECTORS, class R>
FASTLT_INLINE V vector_of_entries(V x, const int8_t* targets, bool weighted, V weight,
                                  Counted<typename Vector<V>::Mask> some, const SigmoidSettings<R>& s,
                                  const Columns<V>& c, bool sums, R scale, V& loss) {
  const Targets kind = kind_of<V>(targets);
  if (kind == Targets::UNKNOWN && s.ignore_unknown) return loss = V(R(0));
  const V factor = weighted ? weight * V(scale) : V(scale);
  V gradient;
  if (kind == Targets::NEGATIVE) {
    gradient = entries<V, FORM, VECTORS>(x, Never{}, Never{}, some, s, c, sums, factor, loss);
  } else {
    const auto y = Vector<V>::load_bytes(targets);
    using Mask = typename Vector<V>::Mask;
    const Mask positive = y > 0, unknown = y < 0, known = y >= 0;
    if (s.ignore_unknown) some = {false, some.all ? known : Mask(some.lanes & known)};
    gradient = entries<V, FORM, VECTORS>(x, positive, unknown, some, s, c, sums, factor, loss);
  }
  if (weighted) loss = loss * weight;
  return gradient;
}

template <class R>
FASTLT_INLINE SigmoidSettings<R> settings_of(const SigmoidRows& a) {
  return {power_of<R>(a.gammas[0]), power_of<R>(a.gammas[1]), power_of<R>(a.gammas[2]),
          (R)a.margin,              a.detach_focus,           a.ignore_unknown};
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
  const SigmoidSettings<R> s = settings_of<R>(a);
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
        for (int k = 0; sums && k < 4; ++k) c.sums[k] = sums + k * step + j;
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
        if (n < W) {
          __builtin_memcpy(copy, targets, n);
          targets = copy;
        }
        using Mask = typename Vector<V>::Mask;
        Counted<Mask> some = {n == W, Vector<V>::first(n)};
        if (a.weight && a.weight_is_bytes) some = {false, Mask(some.lanes & (weight > V(R(0))))};
        const V gradient = vector_of_entries<V, FORM, VECTORS>(Vector<V>::load(x + j, n, T{}), targets, a.weight, weight,
                                                               some, s, columns(j), sums, scale, loss);
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
  const Form form = form_of(settings_of<typename Vector<V>::Real>(a));
  const auto run = [&](auto* with_vectors, auto* without) {
    (a.vectors[0] ? with_vectors : without)(a, begin, end, sums);
  };
  if (form == PLAIN) run(sigmoid_rows_as<V, T, PLAIN, true>, sigmoid_rows_as<V, T, PLAIN, false>);
  if (form == FOCUSED) run(sigmoid_rows_as<V, T, FOCUSED, true>, sigmoid_rows_as<V, T, FOCUSED, false>);
  if (form == MARGIN) run(sigmoid_rows_as<V, T, MARGIN, true>, sigmoid_rows_as<V, T, MARGIN, false>);
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
