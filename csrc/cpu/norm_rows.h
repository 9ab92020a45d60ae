// Batch norm, residual and ReLU in as few passes over memory as there can be: one for the moments and one for the output,
// one for the sums of the backward pass and one for the gradient. What is cheap to compute is computed again, not stored.
#pragma once
#include "norm.h"
#include "vector.h"

namespace fastlt {
namespace FASTLT_ISA {

// Sums go down the columns, four vectors side by side (each alone would wait for itself), over as many rows at a time as
// a processor follows in memory; then they rest where they are kept.
constexpr int STRIP = 4;
constexpr int64_t TOGETHER = 2048, LEAST_TOGETHER = 4;

// Calls with the first row, the number of rows, the first column and the number of values in its last vector, of
// rows x columns values; `call` has the number of vectors as its template argument.
template <class V, class F>
FASTLT_INLINE void each_strip(int64_t rows, int64_t columns, const F& call) {
  constexpr int width = Vector<V>::width;
  const int64_t fitting = TOGETHER / columns, together = fitting < LEAST_TOGETHER ? LEAST_TOGETHER : fitting;
  for (int64_t row = 0; row < rows; row += together) {
    const int64_t count = rows - row < together ? rows - row : together;
    int64_t j = 0;
    for (; j + STRIP * width <= columns; j += STRIP * width) call.template operator()<STRIP>(row, count, j, width);
    for (; j < columns; j += width)
      call.template operator()<1>(row, count, j, columns - j < width ? (int)(columns - j) : width);
  }
}

// (x - mean) scale + bias [+ residual], before the ReLU; in every pass the same operations, so that masks agree.
template <class V, class T>
FASTLT_INLINE V normalised(const NormRows& of, V x, int64_t column, int count, const T* residual) {
  using R = typename Vector<V>::Real;
  const auto own = [&](const void* values) FASTLT_LAMBDA { return Vector<V>::load((const R*)values + column); };
  const V value = (x - own(of.columns.mean)) * own(of.columns.scale) + own(of.columns.bias);
  return residual ? value + Vector<V>::load(residual, count, T{}) : value;
}

template <class V>
FASTLT_INLINE V rectified(V x) { return larger(V(0), x); }  // NaN stays NaN

// Calls with each vector of the values: its place, its column and the values in it.
template <class V, class F>
FASTLT_INLINE void each_place(int64_t begin, int64_t end, int64_t stride, const F& call) {
  for (int64_t row = begin; row < end; row += stride) {
    const int64_t columns = end - row < stride ? end - row : stride;
    each_vector<V>(0, columns, [&](int64_t column, int count) FASTLT_LAMBDA { call(row + column, column, count); });
  }
}

template <class V, class T>
void norm_moments(const void* x, int64_t rows, int64_t columns, int64_t stride, void* mean, void* squares) {
  using R = typename Vector<V>::Real;
  constexpr int width = Vector<V>::width;
  R *const means = (R*)mean, *const sums = (R*)squares;
  const auto value = [&](int64_t row, int64_t column, int count) FASTLT_LAMBDA {
    return Vector<V>::load((const T*)x + row * stride + column, count, T{});
  };
  for (int64_t j = 0; j < columns; ++j) means[j] = sums[j] = 0;
  each_strip<V>(rows, columns, [&]<int N>(int64_t first, int64_t height, int64_t column, int count) FASTLT_LAMBDA {
    V sum[N];
    for (int k = 0; k < N; ++k) sum[k] = Vector<V>::load(means + column + k * width, count, R{});
    for (int64_t row = first; row < first + height; ++row)
      for (int k = 0; k < N; ++k) sum[k] += value(row, column + k * width, count);
    for (int k = 0; k < N; ++k) Vector<V>::store(means + column + k * width, sum[k], count);
  });
  for (int64_t j = 0; j < columns; ++j) means[j] /= (R)rows;
  each_strip<V>(rows, columns, [&]<int N>(int64_t first, int64_t height, int64_t column, int count) FASTLT_LAMBDA {
    V middle[N], sum[N];
    for (int k = 0; k < N; ++k) middle[k] = Vector<V>::load(means + column + k * width, count, R{});
    for (int k = 0; k < N; ++k) sum[k] = Vector<V>::load(sums + column + k * width, count, R{});
    for (int64_t row = first; row < first + height; ++row)
      for (int k = 0; k < N; ++k) {
        const V apart = value(row, column + k * width, count) - middle[k];
        sum[k] += apart * apart;
      }
    for (int k = 0; k < N; ++k) Vector<V>::store(sums + column + k * width, sum[k], count);
  });
}

template <class V, class T>
void norm_forward(const NormRows& of, int64_t begin, int64_t end, int64_t stride) {
  const T *const x = (const T*)of.x, *const residual = (const T*)of.residual;
  each_place<V>(begin, end, stride, [&](int64_t i, int64_t column, int count) FASTLT_LAMBDA {
    const V value = Vector<V>::load(x + i, count, T{});
    Vector<V>::store((T*)of.y + i, rectified(normalised(of, value, column, count, residual ? residual + i : nullptr)), count);
  });
}

template <class V, class T>
void norm_sums(const NormRows& of, int64_t begin, int64_t rows, int64_t columns, int64_t stride, void* grads,
               void* products) {
  using R = typename Vector<V>::Real;
  constexpr int width = Vector<V>::width;
  R *const sums = (R*)grads, *const centred_sums = (R*)products;
  for (int64_t j = 0; j < columns; ++j) sums[j] = centred_sums[j] = 0;
  each_strip<V>(rows, columns, [&]<int N>(int64_t first, int64_t height, int64_t column, int count) FASTLT_LAMBDA {
    V sum[N], product[N];
    for (int k = 0; k < N; ++k) sum[k] = Vector<V>::load(sums + column + k * width, count, R{});
    for (int k = 0; k < N; ++k) product[k] = Vector<V>::load(centred_sums + column + k * width, count, R{});
    for (int64_t row = first; row < first + height; ++row)
      for (int k = 0; k < N; ++k) {
        const int64_t at = column + k * width, i = begin + row * stride + at;
        const V x = Vector<V>::load((const T*)of.x + i, count, T{});
        const T* const residual = of.residual ? (const T*)of.residual + i : nullptr;
        const V y = of.y ? Vector<V>::load((const T*)of.y + i, count, T{}) : normalised<V, T>(of, x, at, count, residual);
        const V grad = keep(exceeds(y, V(0)), Vector<V>::load((const T*)of.grad + i, count, T{}));
        if (of.grad_masked) Vector<V>::store((T*)of.grad_masked + i, grad, count);
        sum[k] += grad;
        product[k] += grad * (x - Vector<V>::load((const R*)of.columns.mean + at));
      }
    for (int k = 0; k < N; ++k) Vector<V>::store(sums + column + k * width, sum[k], count);
    for (int k = 0; k < N; ++k) Vector<V>::store(centred_sums + column + k * width, product[k], count);
  });
}

template <class V, class T>
void norm_backward(const NormRows& of, int64_t begin, int64_t end, int64_t stride) {
  using R = typename Vector<V>::Real;
  const T* const from = (const T*)(of.grad_masked ? of.grad_masked : of.grad);
  each_place<V>(begin, end, stride, [&](int64_t i, int64_t column, int count) FASTLT_LAMBDA {
    const auto own = [&](const void* values) FASTLT_LAMBDA { return Vector<V>::load((const R*)values + column); };
    const V x = Vector<V>::load((const T*)of.x + i, count, T{});
    V grad = Vector<V>::load(from + i, count, T{});
    if (!of.grad_masked) grad = keep(exceeds(normalised<V, T>(of, x, column, count, nullptr), V(0)), grad);
    const V centred = x - own(of.columns.mean);
    Vector<V>::store((T*)of.grad_x + i,
                     own(of.columns.scale) * grad + own(of.columns.of_centred) * centred + own(of.columns.of_ones), count);
  });
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
