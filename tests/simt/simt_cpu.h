// CUDA's spelling for kernels that run on the CPU under the simulator. It finds: wrong results under any schedule,
// missing barriers (random schedules; with -fsanitize=thread every unordered pair of accesses, across blocks too),
// barriers that not all threads reach, warp collectives with absent lanes, reads of unwritten shared memory (NaN), and
// accesses out of bounds (with -fsanitize=address). Build with -fno-strict-aliasing: kernels read packs by casts.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "simulator/launch.h"

#define SIMT_KERNEL(...) inline void
#define SIMT_DEV inline
#define SIMT_UNROLL
#define __restrict__ __restrict

#define SIMT_TEXT(x) #x
#define SIMT_LINE(x) SIMT_TEXT(x)
#define SIMT_SITE __FILE__ ":" SIMT_LINE(__LINE__)

#define SIMT_SHARED(T, name, count)                             \
  static char name##_key;                                       \
  T* const name = simt::shared_array<T>(&name##_key, (count))
#define SIMT_LAUNCH(kernel, grid, block, stream, ...) \
  ((void)(stream), simt::launch((grid), (block), [&] { kernel(__VA_ARGS__); }))

#define threadIdx (simt::Block::lane->index)
#define blockIdx (simt::simulator().block_index)
#define blockDim (simt::simulator().block)
#define gridDim (simt::simulator().grid)

#define __syncthreads() simt::sync_threads(SIMT_SITE)
#define __syncwarp(...) simt::sync_warp(SIMT_SITE __VA_OPT__(, ) __VA_ARGS__)
#define __shfl_sync(mask, value, source) simt::shuffle((mask), (value), (source), SIMT_SITE)
#define __shfl_xor_sync(mask, value, bits) simt::shuffle((mask), (value), simt::lane_number() ^ (bits), SIMT_SITE)
#define __shfl_down_sync(mask, value, by) simt::shuffle_to((mask), (value), simt::lane_number() + (by), SIMT_SITE)
#define __shfl_up_sync(mask, value, by) simt::shuffle_to((mask), (value), simt::lane_number() - (by), SIMT_SITE)
#define __ballot_sync(mask, vote) simt::ballot((mask), (vote), SIMT_SITE)
#define __any_sync(mask, vote) (simt::ballot((mask), (vote), SIMT_SITE) != 0)
#define __all_sync(mask, vote) (simt::ballot((mask), (vote), SIMT_SITE) == (mask))

namespace simt {

inline unsigned lane_number() { return Block::lane->in_warp(); }

inline void sync_threads(const char* site) {
  Quiet quiet;
  Block::current->barrier(site);
}
inline void sync_warp(const char* site, uint32_t mask = 0xffffffffu) {
  Quiet quiet;
  Block::current->collective({Collective::SYNC, mask, 0, 0}, site);
}
inline uint32_t ballot(uint32_t mask, bool vote, const char* site) {
  Quiet quiet;
  return uint32_t(Block::current->collective({Collective::BALLOT, mask, vote, 0}, site));
}
template <class T>
T shuffle(uint32_t mask, T value, unsigned source, const char* site) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  Quiet quiet;
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = Block::current->collective({Collective::SHUFFLE, mask, bits, source % LANES}, site);
  memcpy(&value, &bits, sizeof(T));
  return value;
}
// Beyond the ends of the warp a lane reads itself.
template <class T>
T shuffle_to(uint32_t mask, T value, unsigned source, const char* site) {
  return shuffle(mask, value, source < LANES ? source : lane_number(), site);
}

template <class T>
T* shared_array(const void* key, size_t count) {
  Quiet quiet;
  return static_cast<T*>(Block::current->shared_array(key, sizeof(T) * count));
}

}  // namespace simt

// Fibers share one thread of the host, so a load and a store are one step; the race check sees two atomic accesses.
template <class T>
T atomicAdd(T* at, T more) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  static_assert(sizeof(T) == sizeof(Bits));
  Bits bits = __atomic_load_n(reinterpret_cast<Bits*>(at), __ATOMIC_RELAXED);
  T before;
  memcpy(&before, &bits, sizeof(T));
  const T after = before + more;
  memcpy(&bits, &after, sizeof(T));
  __atomic_store_n(reinterpret_cast<Bits*>(at), bits, __ATOMIC_RELAXED);
  return before;
}

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "simulated"; }
