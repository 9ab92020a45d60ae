// The row pass of the contrastive losses (contrastive.h): dots of a tile become losses, and their own gradients in place.
#pragma once
#include "kernels.h"
#include "vector_math.h"

namespace fastlt {
namespace FASTLT_ISA {

// row[j] times `scale` (one for all where `each` is null); the largest of all columns but `skipped`.
template <class V, class R>
FASTLT_INLINE R scale_row(R* row, const R* each, R scale, int64_t skipped, int64_t columns) {
  V top(R(-3e38));
  const auto pass = [&](int64_t j, int n) FASTLT_LAMBDA {
    const V value = Vector<V>::load(row + j, n, R(0)) * (each ? Vector<V>::load(each + j, n, R(0)) : V(scale));
    Vector<V>::store(row + j, value, n);
    top = n == Vector<V>::width ? larger(value, top) : larger(Vector<V>::load(row + j, n, R(-3e38)), top);
  };
  each_vector_but<V>(skipped, columns, pass);
  return largest(top);
}

// row[j] becomes e^(row[j] - most) in all columns but `skipped`; returns their sum.
template <class V, class R>
FASTLT_INLINE R exponentials_of_row(R* row, R most, int64_t skipped, int64_t columns) {
  V sum(R(0));
  each_vector_but<V>(skipped, columns, [&](int64_t j, int n) FASTLT_LAMBDA {
    const V power = exponential(Vector<V>::load(row + j, n, R(-3e38)) - V(most));
    sum += power;
    Vector<V>::store(row + j, power, n);
  });
  return total(sum);
}

template <class V>
void prototype_rows(const ContrastiveRows& a, int64_t begin, int64_t end) {
  using R = typename Vector<V>::Real;
  const R* scale = (const R*)a.scale;
  const int64_t C = a.columns;
  for (int64_t i = begin; i < end; ++i) {
    R* row = (R*)a.tile + i * C;
    const int64_t label = a.labels[i], skipped = a.positive_in_denominator ? -1 : label;
    const R own = row[label] * scale[label];
    const R most = scale_row<V, R>(row, scale, 0, skipped, C);
    const R sum = exponentials_of_row<V, R>(row, most, skipped, C);
    a.row_loss[i] = (double)most + log((double)sum) - own;
    if (!a.gradient) continue;
    const R weight = scale_of<R>(a.scaling, a.first + i);
    const V per_sum(weight / sum);
    const R in_sum = a.positive_in_denominator ? row[label] * (weight / sum) : R(0);
    each_vector<V>(0, C, [&](int64_t j, int n) FASTLT_LAMBDA {
      Vector<V>::store(row + j, Vector<V>::load(row + j, n, R(0)) * per_sum * Vector<V>::load(scale + j, n, R(0)), n);
    });
    row[label] = (in_sum - weight) * scale[label];
  }
}

template <class V>
void supervised_rows(const ContrastiveRows& a, int64_t begin, int64_t end) {
  using R = typename Vector<V>::Real;
  const int64_t N = a.columns;
  const R per_temperature = R(1 / a.temperature);
  for (int64_t i = begin; i < end; ++i) {
    R* row = (R*)a.tile + i * N;
    const int64_t self = a.first + i;
    const int32_t label = a.labels[self];
    const R most = scale_row<V, R>(row, nullptr, per_temperature, self, N);
    V alike(R(0)), count(R(0));
    each_vector_but<V>(self, N, [&](int64_t j, int n) FASTLT_LAMBDA {
      const auto same = Vector<V>::load_ints(a.labels + j, n, -1) == label;
      alike += keep(same, Vector<V>::load(row + j, n, R(0)) - V(most));
      count += keep(same, V(R(1)));
    });
    const R positives = total(count);
    if (positives == 0) {
      a.row_loss[i] = 0;
      for (int64_t j = 0; a.gradient && j < N; ++j) row[j] = 0;
      continue;
    }
    const R sum = exponentials_of_row<V, R>(row, most, self, N);
    a.row_loss[i] = log((double)sum) - (double)total(alike) / positives;
    if (!a.gradient) continue;
    const R weight = scale_of<R>(a.scaling, self) * per_temperature;
    const V per_sum(weight / sum), per_positive(weight / positives);
    each_vector_but<V>(self, N, [&](int64_t j, int n) FASTLT_LAMBDA {
      const auto same = Vector<V>::load_ints(a.labels + j, n, -1) == label;
      Vector<V>::store(row + j, Vector<V>::load(row + j, n, R(0)) * per_sum - keep(same, per_positive), n);
    });
    row[self] = 0;
  }
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
