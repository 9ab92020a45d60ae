// From row losses to what the caller asked for.
#pragma once
#include "device.h"
#include "sums.cuh"

namespace fastlt::gpu {

// out [] = the sum of rows [B] times the factors.
inline void sum_into(const Tensor& rows, double factor, const std::optional<Tensor>& device_factor, const Tensor& out) {
  with_type(rows.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_same_v<T, Wide<T>>)
      launch_sum_rows(input<T>(rows), rows.size(0), factor, input<T>(device_factor), output<T>(out), stream_of(rows));
  });
}

inline Tensor reduced_rows(const Tensor& rows, int64_t reduction, double factor) {
  if (reduction == ROW) return rows;
  if (rows.size(0) == 0) return zeros(rows, {}, rows.scalar_type());
  const Tensor out = empty(rows, {}, rows.scalar_type());
  sum_into(rows, factor, {}, out);
  return out;
}

}  // namespace fastlt::gpu
