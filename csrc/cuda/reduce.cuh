// Reductions over a block in a fixed order: the same bits in every run. A state has none() and merge().
#pragma once
#include <cstring>

#include "../scalar_math.h"
#include "storage.cuh"

namespace fastlt::gpu {

constexpr int WARP = 32, BLOCK = 256, WARPS = BLOCK / WARP;  // BLOCK: most threads of a block
constexpr unsigned ALL_LANES = 0xffffffffu;

template <class R>
struct Sum {
  R total;
  static SIMT_DEV Sum none() { return {R(0)}; }
  SIMT_DEV void merge(const Sum& other) { total += other.total; }
};

// log of a sum of exponentials as exp(top) * sum; top is the largest so far, so nothing overflows.
template <class R>
struct LogSum {
  R top, sum;
  static SIMT_DEV LogSum none() { return {-INF<R>, R(0)}; }
  // What may be subtracted from top and from every value below it.
  static SIMT_DEV R pivot(R top) { return top == -INF<R> ? R(0) : top; }
  SIMT_DEV void merge(const LogSum& other) {
    const R joint = larger(top, other.top), p = pivot(joint);
    sum = sum * exponential(top - p) + other.sum * exponential(other.top - p);
    top = joint;
  }
  template <int N>
  SIMT_DEV void add(const Pack<R, N>& values) {
    R joint = top;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) joint = larger(joint, values[k]);
    const R p = pivot(joint);
    sum *= exponential(top - p);
    top = joint;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) sum += exponential(values[k] - p);
  }
  SIMT_DEV R value() const { return top + logarithm(sum); }
  // value() - x; the difference to top is taken first, so that digits survive where x is the top.
  SIMT_DEV R above(R x) const { return logarithm(sum) + (top - x); }
};

// The state of the lane whose number differs in the bits of `distance`.
template <class S>
SIMT_DEV S state_across(const S& state, int distance) {
  constexpr int WORDS = sizeof(S) / sizeof(unsigned);
  unsigned words[WORDS];
  memcpy(words, &state, sizeof(S));
  SIMT_UNROLL
  for (int k = 0; k < WORDS; ++k) words[k] = __shfl_xor_sync(ALL_LANES, words[k], distance);
  S other;
  memcpy(&other, words, sizeof(S));
  return other;
}

template <int LANES, class S>
SIMT_DEV void merge_lanes(S& state) {
  SIMT_UNROLL
  for (int distance = LANES / 2; distance > 0; distance /= 2) state.merge(state_across(state, distance));
}

// The merged state of all threads, for all threads; also a barrier. Every thread calls it, once a kernel for each type
// of state: nothing keeps a second call from overwriting what slow warps have still to read.
template <class S>
SIMT_DEV S block_reduce(S state) {
  SIMT_SHARED(S, of_warp, WARPS);
  const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  merge_lanes<WARP>(state);
  if (lane == 0) of_warp[threadIdx.x / WARP] = state;
  __syncthreads();
  state = lane % WARPS < warps ? of_warp[lane % WARPS] : S::none();
  merge_lanes<WARPS>(state);
  return state;
}

}  // namespace fastlt::gpu
