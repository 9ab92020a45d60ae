// lsep on rows: log(1 + sum over negatives v and positives u of e^(x_v - x_u)) = softplus(LSE_neg(x) + LSE_pos(-x)).
#pragma once
#include "kernels.h"
#include "vector_math.h"

namespace fastlt {
namespace FASTLT_ISA {

template <class V, class T>
void lsep_rows(const LsepRows& a, int64_t begin, int64_t end, void* scratch) {
  using R = typename Vector<V>::Real;
  using Mask = typename Vector<V>::Mask;
  const R lowest = R(-3e38);
  const int64_t C = a.classes;
  R* const e = (R*)scratch;  // exponentials of the row
  for (int64_t i = begin; i < end; ++i) {
    const T* x = (const T*)a.logits + i * C;
    const int8_t* y = a.targets + i * C;
    V top_positive(lowest), top_negative(lowest);
    Mask any_positive = V(R(0)) > V(R(0)), any_negative = any_positive;
    each_vector<V>(0, C, [&](int64_t j, int n) FASTLT_LAMBDA {
      const V value = Vector<V>::load(x + j, n, T{});
      const auto target = Vector<V>::load_bytes(y + j, n, -1);
      const Mask positive = target > 0, negative = target == 0;
      any_positive = any_positive | positive;
      any_negative = any_negative | negative;
      top_positive = pick(positive, larger(-value, top_positive), top_positive);
      top_negative = pick(negative, larger(value, top_negative), top_negative);
    });
    const R most_positive = largest(top_positive), most_negative = largest(top_negative);
    const bool has_both = any(any_positive) && any(any_negative);
    V sum_positive(R(0)), sum_negative(R(0));
    if (has_both) each_vector<V>(0, C, [&](int64_t j, int n) FASTLT_LAMBDA {
      const V value = Vector<V>::load(x + j, n, T{});
      const auto target = Vector<V>::load_bytes(y + j, n, -1);
      const Mask positive = target > 0;
      const V power = exponential(flip_sign(positive, value) - pick(positive, V(most_positive), V(most_negative)));
      sum_positive += keep(positive, power);
      sum_negative += keep(target == 0, power);
      Vector<V>::store(e + j, power);
    });
    const R total_positive = has_both ? total(sum_positive) : 1, total_negative = has_both ? total(sum_negative) : 1;
    const double exponent =
        (double)most_positive + most_negative + log((double)total_positive) + log((double)total_negative);
    const Sigmoid<double> outer = sigmoid_softplus(has_both ? exponent : 0.);
    a.row_loss[i] = has_both ? outer.softplus : 0;
    if (!a.grad_logits) continue;
    T* g = (T*)a.grad_logits + i * C;
    const R scale = has_both ? scale_of<R>(a.scaling, i) * (R)outer.q : 0;
    const V to_positive(-scale / total_positive), to_negative(scale / total_negative);
    each_vector<V>(0, C, [&](int64_t j, int n) FASTLT_LAMBDA {
      const auto target = Vector<V>::load_bytes(y + j, n, -1);
      const V power = has_both ? Vector<V>::load(e + j) : V(R(0));
      Vector<V>::store(g + j, pick(target < 0, V(R(0)), power * pick(target > 0, to_positive, to_negative)), n);
    });
  }
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
