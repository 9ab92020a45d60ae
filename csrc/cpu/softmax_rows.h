// balanced_softmax and dive on rows: up to three softmaxes of one row, kept in first-level cache while it is worked on.
#pragma once
#include "kernels.h"
#include "vector_math.h"

namespace fastlt {
namespace FASTLT_ISA {

// values[j] becomes e^(values[j] - most); returns their sum. Padding holds -infinity and becomes 0.
template <class V, class R>
FASTLT_INLINE double exponentials(R* values, R most, int64_t C) {
  V sum(R(0));
  each_vector<V>(0, C, [&](int64_t j, int) FASTLT_LAMBDA {
    const V power = exponential(Vector<V>::load(values + j) - V(most));
    sum += power;
    Vector<V>::store(values + j, power);
  });
  return total(sum);
}

template <class V, class T, bool DISTIL>
void softmax_rows_as(const SoftmaxRows& a, int64_t begin, int64_t end, void* scratch) {
  using R = typename Vector<V>::Real;
  const int64_t C = a.classes, step = padded(C);
  R *const student = (R*)scratch, *const cool = student + step, *const taught = cool + step;
  const R* prior = (const R*)a.log_prior;
  const R lowest = R(-3e38), per_student = R(1 / a.temperature), per_teacher = R(a.power / a.temperature);
  const double kept = 1 - a.alpha, distilled = a.alpha * a.temperature;
  for (int64_t i = begin; i < end; ++i) {
    const T* x = (const T*)a.logits + i * C;
    const T* t = (const T*)a.teacher + i * C;
    V top(lowest), top_cool(lowest), top_taught(lowest);
    each_vector<V>(0, C, [&](int64_t j, int n) FASTLT_LAMBDA {
      const V value = Vector<V>::load(x + j, n, T{}), adjusted = value + Vector<V>::load(prior + j);
      Vector<V>::store(student + j, adjusted);
      top = larger(adjusted, top);
      if constexpr (DISTIL) {
        const V cooled = value * V(per_student), target = Vector<V>::load(t + j, n, T{}) * V(per_teacher);
        Vector<V>::store(cool + j, cooled);
        Vector<V>::store(taught + j, target);
        if (n < Vector<V>::width)
          for (int k = n; k < Vector<V>::width; ++k) cool[j + k] = taught[j + k] = lowest;
        top_cool = larger(Vector<V>::load(cool + j), top_cool);
        top_taught = larger(Vector<V>::load(taught + j), top_taught);
      }
    });
    const int64_t label = a.labels[i];
    const R most = largest(top), most_cool = largest(top_cool), most_taught = largest(top_taught);
    const double own = (double)student[label] - most;
    const double sum_student = exponentials<V>(student, most, C);
    double loss = kept * (log(sum_student) - own), sum_cool = 1, sum_taught = 1;
    if constexpr (DISTIL) {
      V sum(R(0)), sum_t(R(0)), difference(R(0));
      each_vector<V>(0, C, [&](int64_t j, int) FASTLT_LAMBDA {
        const V below = Vector<V>::load(cool + j) - V(most_cool), below_t = Vector<V>::load(taught + j) - V(most_taught);
        const V power = exponential(below), power_t = exponential(below_t);
        sum += power;
        sum_t += power_t;
        difference += power_t * (below_t - below);
        Vector<V>::store(cool + j, power);
        Vector<V>::store(taught + j, power_t);
      });
      sum_cool = total(sum), sum_taught = total(sum_t);
      const double divergence = total(difference) / sum_taught - log(sum_taught) + log(sum_cool);
      loss += a.alpha * a.temperature * a.temperature * divergence;
    }
    a.row_loss[i] = loss;
    if (!a.grad_logits) continue;
    T* g = (T*)a.grad_logits + i * C;
    const double scale = scale_of<R>(a.scaling, i);
    const V per_sum(R(kept * scale / sum_student)), per_cool(R(distilled * scale / sum_cool)),
        per_taught(R(distilled * scale / sum_taught));
    const R at_label = R(kept * scale);
    each_vector<V>(0, C, [&](int64_t j, int n) FASTLT_LAMBDA {
      V gradient = Vector<V>::load(student + j) * per_sum;
      if (label >= j && label < j + n) {
        R values[Vector<V>::width];
        Vector<V>::store(values, gradient);
        values[label - j] -= at_label;
        gradient = Vector<V>::load(values);
      }
      if constexpr (DISTIL)
        gradient = gradient + (Vector<V>::load(cool + j) * per_cool - Vector<V>::load(taught + j) * per_taught);
      Vector<V>::store(g + j, gradient, n);
    });
  }
}

template <class V, class T>
void softmax_rows(const SoftmaxRows& a, int64_t begin, int64_t end, void* scratch) {
  (a.teacher ? softmax_rows_as<V, T, true> : softmax_rows_as<V, T, false>)(a, begin, end, scratch);
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
