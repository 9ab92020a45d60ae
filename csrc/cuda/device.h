// The host's side of a launch: device, stream, pointers, errors. Built with -DFASTLT_SIM the same operators are CPU
// operators of the library fastlt_sim, and the simulator runs the kernels.
#pragma once
#include <torch/csrc/stable/accelerator.h>

#include <tuple>

#include "../arguments.h"
#include "rows.cuh"

#ifdef FASTLT_SIM
#define FASTLT_CUDA_OPERATORS(m) STABLE_TORCH_LIBRARY_IMPL(fastlt_sim, CPU, m)
#else
#define FASTLT_CUDA_OPERATORS(m) STABLE_TORCH_LIBRARY_IMPL(fastlt, CUDA, m)
#endif

namespace fastlt::gpu {

#ifdef FASTLT_SIM
struct OnDevice {
  explicit OnDevice(const Tensor&) {}
};
inline cudaStream_t stream_of(const Tensor&) { return nullptr; }
#else
// While it lives, launches and allocations go to the tensor's device.
struct OnDevice {
  torch::stable::accelerator::DeviceGuard guard;
  explicit OnDevice(const Tensor& x) : guard(x.get_device_index()) {}
};
inline cudaStream_t stream_of(const Tensor& x) {
  return static_cast<cudaStream_t>(torch::stable::accelerator::getCurrentStream(x.get_device_index()).nativeHandle());
}
#endif

template <class T>
const T* input(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}
template <class T>
const T* input(const std::optional<Tensor>& x) {
  return x ? input<T>(*x) : nullptr;
}
template <class T>
T* output(const Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

inline void check_size(const char* op, int64_t rows, int64_t columns) {
  require(rows <= MOST_ROWS && columns <= MOST_COLUMNS, op, ": at most ", MOST_ROWS, " rows and ", MOST_COLUMNS,
                  " columns are possible on CUDA, not [", rows, ", ", columns, "]");
}
inline void check_launches(const char* op) {
  const cudaError_t error = cudaGetLastError();
  require(error == cudaSuccess, op, ": CUDA refused a launch: ", cudaGetErrorString(error));
}

inline Tensor zeros(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
  Tensor x = empty(like, sizes, type);
  return torch::stable::zero_(x);
}

template <class R>
Upstream<R> unit_upstream(double factor) {
  return {nullptr, false, R(factor), nullptr};
}
template <class R>
Upstream<R> upstream_of(const Tensor& values, double factor) {
  return {input<R>(values), values.dim() == 1, R(factor), nullptr};
}

}  // namespace fastlt::gpu
