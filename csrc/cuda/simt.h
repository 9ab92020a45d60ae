// One spelling of a kernel for two builds: nvcc, and g++ with -DFASTLT_SIM, where tests/simt/simt_cpu.h runs the
// threads as fibers and watches them.
#pragma once

#ifdef FASTLT_SIM
#include "simt_cpu.h"
#else
#include <cuda_runtime.h>

// SIMT_KERNEL(most threads of a block[, blocks that shall fit on a multiprocessor])
#define SIMT_KERNEL(...) __global__ void __launch_bounds__(__VA_ARGS__)
#define SIMT_DEV __device__ __forceinline__
#define SIMT_UNROLL _Pragma("unroll")
#define SIMT_SHARED(T, name, count) __shared__ T name[count]
#define SIMT_LAUNCH(kernel, grid, block, stream, ...) kernel<<<(grid), (block), 0, (stream)>>>(__VA_ARGS__)
#endif
