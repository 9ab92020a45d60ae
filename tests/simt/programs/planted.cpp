// Kernels with one planted fault each, and sound ones beside them: `planted NAME [seeds]` launches one and says what
// came of it. They show what the simulator finds.
#include <map>

#include "check.h"

namespace {

constexpr int THREADS = 64;
constexpr unsigned ALL = 0xffffffffu;

// ---- sound

// Each thread passes its value to the thread opposite, twice, through one array.
SIMT_KERNEL(THREADS) opposite(float* out) {
  SIMT_SHARED(float, slots, THREADS);
  float sum = 0;
  for (int turn = 0; turn < 2; ++turn) {
    slots[threadIdx.x] = float(threadIdx.x + turn);
    __syncthreads();
    sum += slots[THREADS - 1 - threadIdx.x] - float(THREADS - 1 - threadIdx.x + turn);
    __syncthreads();
  }
  out[threadIdx.x] = sum + 64;
}
SIMT_KERNEL(THREADS) warp_exchange(float* out) {
  SIMT_SHARED(float, slots, THREADS);
  slots[threadIdx.x] = float(threadIdx.x);
  __syncwarp();
  out[threadIdx.x] = slots[threadIdx.x ^ 1] - float(threadIdx.x ^ 1) + 64;
}
// Lanes 0 to 15 and lanes 16 to 31 sum their own halves under masks of their own.
SIMT_KERNEL(THREADS) two_masks(float* out) {
  const unsigned lane = threadIdx.x % 32, mask = lane < 16 ? 0xffffu : 0xffff0000u;
  float sum = 4;
  if (lane < 16) {
    for (int d = 8; d > 0; d /= 2) sum += __shfl_xor_sync(mask, sum, d);
  } else {
    for (int d = 8; d > 0; d /= 2) sum += __shfl_xor_sync(mask, sum, d);
  }
  out[threadIdx.x] = sum;
}
SIMT_KERNEL(THREADS) votes(float* out) {
  const unsigned even = __ballot_sync(ALL, threadIdx.x % 2 == 0);
  const bool right = even == 0x55555555u && __any_sync(ALL, threadIdx.x % 32 == 3) && !__all_sync(ALL, threadIdx.x % 2);
  const int down = __shfl_down_sync(ALL, int(threadIdx.x % 32), 1), up = __shfl_up_sync(ALL, int(threadIdx.x % 32), 1);
  const int lane = int(threadIdx.x % 32);
  out[threadIdx.x] = right && down == std::min(lane + 1, 31) && up == std::max(lane - 1, 0) ? 64 : 0;
}
SIMT_KERNEL(THREADS) count_by_atomics(float* out) { atomicAdd(out, 1.f); }

// ---- faulty

SIMT_KERNEL(THREADS) missing_barrier(float* out) {
  SIMT_SHARED(float, slots, THREADS);
  slots[threadIdx.x] = float(threadIdx.x);
  out[threadIdx.x] = slots[THREADS - 1 - threadIdx.x] + float(threadIdx.x) + 1;
}
SIMT_KERNEL(THREADS) overwritten_too_soon(float* out) {
  SIMT_SHARED(float, slots, THREADS);
  float sum = 0;
  for (int turn = 0; turn < 2; ++turn) {
    slots[threadIdx.x] = float(threadIdx.x + turn);
    __syncthreads();
    sum += slots[THREADS - 1 - threadIdx.x] - float(THREADS - 1 - threadIdx.x + turn);
  }
  out[threadIdx.x] = sum + 64;
}
SIMT_KERNEL(THREADS) global_overrun(float* out) {
  out[threadIdx.x] = 64;
  if (threadIdx.x == 0) out[THREADS] = 64;
}
SIMT_KERNEL(THREADS) shared_overrun(float* out) {
  SIMT_SHARED(float, slots, THREADS - 1);
  slots[threadIdx.x] = 64;
  __syncthreads();
  out[threadIdx.x] = slots[threadIdx.x];
}
SIMT_KERNEL(THREADS) unwritten_shared(float* out) {
  SIMT_SHARED(float, slots, THREADS);
  if (threadIdx.x != 7) slots[threadIdx.x] = 64;
  __syncthreads();
  out[threadIdx.x] = slots[threadIdx.x];
}
SIMT_KERNEL(THREADS) absent_lanes(float* out) {
  float sum = 2;
  if (threadIdx.x % 32 < 16)
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(ALL, sum, d);
  out[threadIdx.x] = sum;
}
SIMT_KERNEL(THREADS) read_beyond_mask(float* out) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_xor_sync(0xffffu, 64.f, 16);
  else out[threadIdx.x] = 64;
}
SIMT_KERNEL(THREADS) not_in_own_mask(float* out) { out[threadIdx.x] = __shfl_sync(0xffu, 64.f, 0); }
SIMT_KERNEL(THREADS) two_barriers(float* out) {
  out[threadIdx.x] = 64;
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
SIMT_KERNEL(THREADS) early_return(float* out) {
  out[threadIdx.x] = 64;
  if (threadIdx.x == 5) return;
  __syncthreads();
}
SIMT_KERNEL(THREADS) shuffle_orders_nothing(float* out) {
  SIMT_SHARED(float, slots, THREADS);
  slots[threadIdx.x] = 64;
  const int neighbour = __shfl_xor_sync(ALL, int(threadIdx.x), 1);
  out[threadIdx.x] = slots[neighbour];
}
// Every block adds to one value.
SIMT_KERNEL(THREADS) cross_block(float* out) {
  if (threadIdx.x == 0) *out += 32;
}
SIMT_KERNEL(THREADS) index_overflow(float* out) {
  const int far = (1 << 30) * int(2 + blockIdx.x);
  out[threadIdx.x] = far < 0 ? 64 : 0;
}

struct Planted {
  void (*kernel)(float*);
  int blocks;
};
const std::map<std::string, Planted> KERNELS = {
    {"opposite", {opposite, 1}},
    {"warp_exchange", {warp_exchange, 1}},
    {"two_masks", {two_masks, 1}},
    {"votes", {votes, 1}},
    {"count_by_atomics", {count_by_atomics, 1}},
    {"missing_barrier", {missing_barrier, 1}},
    {"overwritten_too_soon", {overwritten_too_soon, 1}},
    {"global_overrun", {global_overrun, 1}},
    {"shared_overrun", {shared_overrun, 1}},
    {"unwritten_shared", {unwritten_shared, 1}},
    {"absent_lanes", {absent_lanes, 1}},
    {"read_beyond_mask", {read_beyond_mask, 1}},
    {"not_in_own_mask", {not_in_own_mask, 1}},
    {"two_barriers", {two_barriers, 1}},
    {"early_return", {early_return, 1}},
    {"shuffle_orders_nothing", {shuffle_orders_nothing, 1}},
    {"cross_block", {cross_block, 2}},
    {"index_overflow", {index_overflow, 1}},
};

}  // namespace

// All of them leave 64 in out[0]; most in every element.
int main(int argc, char** argv) {
  if (argc < 2 || !KERNELS.count(argv[1])) return printf("usage: planted NAME [seeds]\n"), 2;
  const Planted& planted = KERNELS.at(argv[1]);
  Report report;
  for (int seed = 1; seed <= (argc > 2 ? atoi(argv[2]) : 5); ++seed) {
    simt::simulator().set_seed(seed);
    Array<float> out(THREADS);
    for (int i = 0; i < THREADS; ++i) out[i] = i == 0 ? 0 : 64;
    try {
      SIMT_LAUNCH((planted.kernel), dim3(planted.blocks), dim3(THREADS), nullptr, out.data());
      report.compare("value", out, std::vector<double>(THREADS, 64), 0);
    } catch (const simt::Error& error) {
      report.fail(error.what());
    }
  }
  return report.finish(argv[1]);
}
