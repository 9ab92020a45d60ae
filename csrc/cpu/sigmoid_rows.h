// sigmoid_loss on rows: one pass over logits and targets gives losses, gradients and the sums of the class gradients.
#pragma once
#include "../sigmoid_term.h"
#include "kernels.h"
#include "positives.h"
#include "vector_math.h"

namespace fastlt {
namespace FASTLT_ISA {

// Lanes of several kinds: each kind's power where there may be such lanes, then lane by lane.
using fastlt::focus_of_kind;
FASTLT_INLINE Focus<Floats> focus_of_kind(Floats q, Never, Never, const SigmoidSettings<float>& s) {
  return focus(q, s.negative, s.detach_focus);
}
FASTLT_INLINE Focus<Floats> focus_of_kind(Floats q, Always, Never, const SigmoidSettings<float>& s) {
  return focus(q, s.positive, s.detach_focus);
}
FASTLT_INLINE Focus<Floats> focus_of_kind(Floats q, Mask positive, Mask unknown, const SigmoidSettings<float>& s) {
  const Focus<Floats> n = focus(q, s.negative, s.detach_focus), p = focus(q, s.positive, s.detach_focus);
  Focus<Floats> f = {pick(positive, p.factor, n.factor), pick(positive, p.slope, n.slope)};
  if (s.ignore_unknown) return f;
  const Focus<Floats> u = focus(q, s.unknown, s.detach_focus);
  return {pick(unknown, u.factor, f.factor), pick(unknown, u.slope, f.slope)};
}
FASTLT_INLINE Focus<double> focus_of_kind(double q, Never, Never, const SigmoidSettings<double>& s) {
  return focus(q, s.negative, s.detach_focus);
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

// The class vectors and class sums from some column on. They stay in memory, where the first-level cache has them: in ten
// variables they would only spill.
template <class V>
struct Columns {
  using R = typename Vector<V>::Real;
  const R* vectors[6] = {};
  R* sums[4] = {};
  int count = Vector<V>::width;  // of columns: class vectors end there, class sums are padded
  FASTLT_METHOD Columns from(int64_t j, int n = Vector<V>::width) const {
    Columns later;
    later.count = n;
    for (int k = 0; k < 6; ++k) later.vectors[k] = vectors[k] + j;
    for (int k = 0; k < 4; ++k) later.sums[k] = sums[k] + j;
    return later;
  }
  FASTLT_METHOD V vector(int k) const { return Vector<V>::load(vectors[k], count, R(0)); }
  FASTLT_METHOD void add(int k, V value) const { Vector<V>::store(sums[k], Vector<V>::load(sums[k]) + value); }
};

enum { SCALE_P, SHIFT_P, SCALE_N, SHIFT_N, WEIGHT_P, WEIGHT_N };

// Which lanes count, where not all do: others have no loss and no gradient, whatever their logits are.
template <class Mask>
struct Counted {
  bool all;
  Mask lanes;
};

// Vectors whose values stay in the first-level cache between two passes.
constexpr int TILE = 32;
// Vectors of a row whose losses are added up as floats. Where positives are worked on by themselves, several tiles make
// fuller vectors of them; but class vectors and sums shall stay in the first-level cache until then.
template <bool VECTORS>
constexpr int BLOCK = LANES < 16 || VECTORS ? TILE : 4 * TILE;

// The logit that the formula is of.
template <bool VECTORS, class V, class Positive>
FASTLT_INLINE V compensated(V x, Positive positive, const Columns<V>& c) {
  if constexpr (!VECTORS) return x;
  const V slant = pick(positive, c.vector(SCALE_P), c.vector(SCALE_N));
  return x * slant + pick(positive, c.vector(SHIFT_P), c.vector(SHIFT_N));
}

// Loss of each lane into `loss`; returns d loss / d logit times scale. `term` is of the compensated logit, away from the
// right answer.
template <bool VECTORS, class V, class Positive, class Lanes>
FASTLT_INLINE V gradient_of(Term<V> term, V x, Positive positive, Counted<Lanes> counted, const Columns<V>& c, bool sums,
                            V scale, V& loss) {
  if (!counted.all) term.loss = keep(counted.lanes, term.loss), term.slope = keep(counted.lanes, term.slope);
  if constexpr (!VECTORS) {
    loss = term.loss;
    return flip_sign(positive, term.slope * scale);
  } else {
    const V weight = pick(positive, c.vector(WEIGHT_P), c.vector(WEIGHT_N));
    loss = weight * term.loss;
    const V dz = flip_sign(positive, weight * (scale * term.slope));
    if (sums) {
      const V dx = counted.all ? dz * x : keep(counted.lanes, dz * x);
      if constexpr (__is_same(Positive, Never) || __is_same(Positive, Always)) {
        constexpr int SCALE = __is_same(Positive, Never) ? SCALE_N : SCALE_P;
        c.add(SCALE, dx);
        c.add(SCALE + 1, dz);
      } else {
        const V dx_positive = keep(positive, dx), dz_positive = keep(positive, dz);
        c.add(SCALE_P, dx_positive);
        c.add(SHIFT_P, dz_positive);
        c.add(SCALE_N, dx - dx_positive);
        c.add(SHIFT_N, dz - dz_positive);
      }
    }
    return dz * pick(positive, c.vector(SCALE_P), c.vector(SCALE_N));
  }
}

template <class V, Form FORM, bool VECTORS, class Positive, class Unknown, class Lanes, class R>
FASTLT_INLINE V entries(V x, Positive positive, Unknown unknown, Counted<Lanes> counted, const SigmoidSettings<R>& s,
                        const Columns<V>& c, bool sums, V scale, V& loss) {
  const V t = flip_sign(positive, compensated<VECTORS>(x, positive, c));
  return gradient_of<VECTORS>(sigmoid_term<FORM>(t, positive, unknown, s), x, positive, counted, c, sums, scale, loss);
}

// One vector of entries. `weight` is that of the entries where they are `weighted`; `some` of them may not count.
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

// One block of a row: gradient may be null, `at` is the place of its first entry in [B, C].
template <class T, class R>
struct Block {
  const T* logits;
  const int8_t* targets;
  T* gradient;
  int64_t at;
  int size;
  R scale;
};

// Lines of the logits and the gradient that will be wanted AHEAD bytes later: the processor's own guesses end with a page.
template <int AHEAD, class V, class T, class R>
FASTLT_INLINE void fetch_ahead(const Block<T, R>& block, int64_t j) {
  constexpr int LINE = 64, BYTES = Vector<V>::width == 1 ? 0 : Vector<V>::width * sizeof(T);
  for (int k = 0; k < BYTES; k += LINE) {
    __builtin_prefetch((const char*)(block.logits + j) + AHEAD + k);
    if (block.gradient) __builtin_prefetch((const char*)(block.gradient + j) + AHEAD + k, 1);
  }
}
constexpr int HALF_A_PAGE = 2048;

// Lanes of all kinds.
template <class V, Form FORM, bool VECTORS, class T, class R>
FASTLT_APART V mixed_block(const Block<T, R>& block, const SigmoidRows& a, const SigmoidSettings<R>& s,
                           const Columns<V>& columns, bool sums) {
  using Mask = typename Vector<V>::Mask;
  constexpr int W = Vector<V>::width;
  V total_loss(R(0));
  each_vector<V>(0, block.size, [&](int64_t j, int n) FASTLT_LAMBDA {
    fetch_ahead<HALF_A_PAGE, V>(block, j);
    int8_t copy[W] = {};
    const int8_t* targets = block.targets + j;
    V weight(R(1)), loss;
    if (a.weight) weight = load_weight<V>(a, block.at + j, n);
    if (n < W) targets = (const int8_t*)__builtin_memcpy(copy, targets, n);
    Counted<Mask> some = {n == W, Vector<V>::first(n)};
    if (a.weight && a.weight_is_bytes) some = {false, Mask(some.lanes & (weight > V(R(0))))};
    const V gradient =
        vector_of_entries<V, FORM, VECTORS>(Vector<V>::load(block.logits + j, n, T{}), targets, a.weight, weight, some,
                                            s, columns.from(j, n), sums, block.scale, loss);
    if (block.gradient) Vector<V>::store(block.gradient + j, gradient, n);
    total_loss += loss;
  });
  return total_loss;
}

#if defined(__AVX512F__)
// The sigmoids of a tile, in the first-level cache. From a logit to its gradient with a margin are some 150 cycles, and
// a processor looks only so many operations ahead: in two passes of half the length it works on twice as many vectors.
template <class V>
struct SigmoidsOfTile {
  using R = typename Vector<V>::Real;
  alignas(64) R q[TILE * Vector<V>::width], u[TILE * Vector<V>::width];
  FASTLT_METHOD void put(int64_t j, SigmoidPair<V> p) { Vector<V>::store(q + j, p.q), Vector<V>::store(u + j, p.u); }
  FASTLT_METHOD SigmoidPair<V> get(int64_t j) const {
    const V near = Vector<V>::load(q + j), far = Vector<V>::load(u + j);
    return {near, far, larger(near, far), smaller(near, far)};
  }
};

// Few positives, known ones: all lanes are taken for negatives first, under masks, which cost nothing here, and the
// positives after them. Telling the vectors that have positives from others would be guessed wrong time and again.
// They are listed on the way, since whole numbers have ports of their own. Copies are passed: what is stored could change
// what references refer to.
template <class V, Form FORM, bool VECTORS, bool UNKNOWN, class T, class R, class Found>
FASTLT_APART V negatives_of_block(Block<T, R> block, Found& positives, SigmoidSettings<R> s, Columns<V> columns,
                                  bool sums) {
  using Mask = typename Vector<V>::Mask;
  constexpr int TILE_COLUMNS = TILE * Vector<V>::width;
  constexpr int AHEAD = FORM == MARGIN ? TILE_COLUMNS * sizeof(T) : HALF_A_PAGE;
  const bool all = !sums && !UNKNOWN;  // what stands where positives are is written over later
  const auto negatives = [&](int64_t j, int n) FASTLT_LAMBDA { return Vector<V>::zeros(block.targets + j, n); };
  SigmoidsOfTile<V> sigmoids;
  V tile_loss;
  const auto begin_vector = [&](int64_t j, int n) FASTLT_LAMBDA {
    positives.list(j);
    if (UNKNOWN && !any(negatives(j, n))) return;
    const V x = Vector<V>::load(block.logits + j, n, T{});
    sigmoids.put(j % TILE_COLUMNS, sigmoid_pair(compensated<VECTORS>(x, Never{}, columns.from(j, n))));
  };
  const auto end_vector = [&](int64_t j, int n) FASTLT_LAMBDA {
    if constexpr (FORM != MARGIN) positives.list(j);
    fetch_ahead<AHEAD, V>(block, j);
    const Mask negative = negatives(j, n);
    if (UNKNOWN && !any(negative)) {
      if (block.gradient) Vector<V>::store(block.gradient + j, V(R(0)), n);
      return;
    }
    const V x = Vector<V>::load(block.logits + j, n, T{});
    const Columns<V> here = columns.from(j, n);
    Term<V> term;
    if constexpr (FORM == MARGIN) term = margin_term(x, sigmoids.get(j % TILE_COLUMNS), Never{}, Never{}, s);
    else term = sigmoid_term<FORM>(compensated<VECTORS>(x, Never{}, here), Never{}, Never{}, s);
    V loss;
    const V gradient =
        gradient_of<VECTORS>(term, x, Never{}, Counted<Mask>{all, negative}, here, sums, V(block.scale), loss);
    if (block.gradient) Vector<V>::store(block.gradient + j, gradient, n);
    tile_loss = pick(negative, tile_loss + loss, tile_loss);
  };
  V total_loss(R(0));
  for (int tile = 0; tile < block.size; tile += TILE_COLUMNS) {
    const int end = block.size - tile < TILE_COLUMNS ? block.size : tile + TILE_COLUMNS;
    tile_loss = V(R(0));
    if constexpr (FORM == MARGIN) each_vector<V>(tile, end, begin_vector);
    each_vector<V>(tile, end, end_vector);
    total_loss += tile_loss;
  }
  return total_loss;
}

// The positives gathered, worked on as vectors, and scattered: `at` are their columns. One loop for all that is gathered,
// since the end of each loop is guessed wrong.
template <class V, Form FORM, bool VECTORS, class T, class R>
FASTLT_APART V positives_of_block(const Block<T, R>& block, const uint16_t* at, int count, const SigmoidSettings<R>& s,
                                  const Columns<V>& columns, bool sums) {
  constexpr int W = Vector<V>::width, PLACES = VECTORS ? W : 1;
  V total_loss(R(0));
  for (int k = 0; k < count; k += W, at += W) {
    const int n = count - k < W ? count - k : W;
    T values[W] = {};
    R scales[PLACES] = {}, shifts[PLACES] = {}, weights[PLACES] = {}, scale_sums[PLACES] = {}, shift_sums[PLACES] = {};
    for (int i = 0; i < n; ++i) {
      values[i] = block.logits[at[i]];
      if constexpr (VECTORS) {
        scales[i] = columns.vectors[SCALE_P][at[i]];
        shifts[i] = columns.vectors[SHIFT_P][at[i]];
        weights[i] = columns.vectors[WEIGHT_P][at[i]];
      }
    }
    const Columns<V> gathered = {{scales, shifts, scales, shifts, weights, weights}, {scale_sums, shift_sums}};
    V loss;
    const Counted<typename Vector<V>::Mask> some = {n == W, Vector<V>::first(n)};
    const V gradient = entries<V, FORM, VECTORS>(Vector<V>::load(values), Always{}, Never{}, some, s, gathered, sums,
                                                 V(block.scale), loss);
    Vector<V>::store(values, gradient);
    total_loss += loss;
    for (int i = 0; block.gradient && i < n; ++i) {
      block.gradient[at[i]] = values[i];
      if (VECTORS && sums) {
        columns.sums[SCALE_P][at[i]] += scale_sums[i];
        columns.sums[SHIFT_P][at[i]] += shift_sums[i];
      }
    }
  }
  return total_loss;
}
#endif

template <class V, Form FORM, bool VECTORS, class T, class R>
FASTLT_INLINE V block_of_row(const Block<T, R>& block, const SigmoidRows& a, const SigmoidSettings<R>& s,
                             const Columns<V>& columns, bool sums) {
#if defined(__AVX512F__)
  if constexpr (Vector<V>::width > 1) {
    Positives<BLOCK<VECTORS>, Vector<V>::width> positives(block.targets, block.size);
    if (!a.weight && positives.few && (s.ignore_unknown || !positives.any_unknown)) {
      const V loss = positives.any_unknown
                         ? negatives_of_block<V, FORM, VECTORS, true>(block, positives, s, columns, sums)
                         : negatives_of_block<V, FORM, VECTORS, false>(block, positives, s, columns, sums);
      return loss + positives_of_block<V, FORM, VECTORS>(block, positives.at, positives.count, s, columns, sums);
    }
  }
#endif
  return mixed_block<V, FORM, VECTORS>(block, a, s, columns, sums);
}

template <class V, class T, Form FORM, bool VECTORS>
void sigmoid_rows_as(const SigmoidRows& a, int64_t begin, int64_t end, void* class_sums) {
  using R = typename Vector<V>::Real;
  constexpr int COLUMNS = BLOCK<VECTORS> * Vector<V>::width;
  const SigmoidSettings<R> s = settings_of<R>(a);
  const int64_t C = a.classes;
  Columns<V> columns;
  if constexpr (VECTORS) {
    for (int k = 0; k < 6; ++k) columns.vectors[k] = (const R*)a.vectors[k];
    for (int k = 0; class_sums && k < 4; ++k) columns.sums[k] = (R*)class_sums + k * padded(C);
  }
  for (int64_t i = begin; i < end; ++i) {
    double sum = 0;
    for (int64_t b = 0; b < C; b += COLUMNS) {  // lanes add up a block, doubles the blocks
      const int64_t at = i * C + b;
      const Block<T, R> block = {(const T*)a.logits + at,
                                 a.targets + at,
                                 a.grad_logits ? (T*)a.grad_logits + at : nullptr,
                                 at,
                                 (int)(C - b < COLUMNS ? C - b : COLUMNS),
                                 scale_of<R>(a.scaling, i)};
      sum += total(block_of_row<V, FORM, VECTORS>(block, a, s, columns.from(b), class_sums));
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
