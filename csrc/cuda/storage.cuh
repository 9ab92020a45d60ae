// How values lie in memory: packs of N that one instruction moves, widened for the arithmetic.
#pragma once
#include <cstdint>
#include <limits>
#include <type_traits>

#include "simt.h"

namespace fastlt::gpu {

// The type of the arithmetic, of losses and of per-class values.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class R>
constexpr R INF = std::numeric_limits<R>::infinity();
template <class R>
constexpr R NOT_A_NUMBER = std::numeric_limits<R>::quiet_NaN();

// So many values of T fill a 16-byte load. fp64 is for checking, and is left scalar: its kernels are large.
template <class T>
constexpr int VECTOR = std::is_same_v<T, double> ? 1 : 16 / sizeof(T);

template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T values[N];
  SIMT_DEV T& operator[](int k) { return values[k]; }
  SIMT_DEV const T& operator[](int k) const { return values[k]; }
};

template <int N, class T>
SIMT_DEV Pack<T, N> load(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <int N, class T>
SIMT_DEV Pack<Wide<T>, N> load_wide(const T* from) {
  const Pack<T, N> raw = load<N>(from);
  Pack<Wide<T>, N> wide;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) wide[k] = static_cast<Wide<T>>(raw[k]);
  return wide;
}

// A vector that may be absent stands for a constant.
template <int N, class R>
SIMT_DEV Pack<R, N> load_or(const R* from, int column, R constant) {
  if (from) return load<N>(from + column);
  Pack<R, N> pack;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) pack[k] = constant;
  return pack;
}

// To any storage type; R is what was computed in.
template <class T, class R, int N>
SIMT_DEV void store(T* to, const Pack<R, N>& wide) {
  Pack<T, N> raw;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) raw[k] = static_cast<T>(wide[k]);
  *reinterpret_cast<Pack<T, N>*>(to) = raw;
}

// Whether packs of N may be read at p; an absent array is never read.
template <int N, class T>
bool aligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % alignof(Pack<T, N>) == 0;
}

// Calls with N, the width of the packs, as a constant: full where every row of every array starts at a multiple of it.
template <class T, class Call, class... P>
void with_width(int64_t columns, const Call& call, const P*... arrays) {
  constexpr int N = VECTOR<T>;
  if (N > 1 && columns % N == 0 && (aligned<N>(arrays) && ...)) call(std::integral_constant<int, N>{});
  else call(std::integral_constant<int, 1>{});
}

}  // namespace fastlt::gpu
