// NVIDIA's own calculator, header only, to check occupancy.py by. Standard input: lines of
// "major minor threads_per_sm shared_per_sm registers shared threads"; output: resident blocks, one a line.
#include <cuda_occupancy.h>

#include <iostream>

int main() {
  int major, minor, resident, shared_of_sm, registers, shared, threads;
  while (std::cin >> major >> minor >> resident >> shared_of_sm >> registers >> shared >> threads) {
    cudaOccDeviceProp device{};
    device.computeMajor = major, device.computeMinor = minor;
    device.maxThreadsPerBlock = 1024, device.maxThreadsPerMultiprocessor = resident;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 48 << 10, device.sharedMemPerMultiprocessor = shared_of_sm;
    device.numSms = 132;
    device.sharedMemPerBlockOptin = shared_of_sm - 1024, device.reservedSharedMemPerBlock = 1024;
    cudaOccFuncAttributes kernel{};
    kernel.maxThreadsPerBlock = 1024, kernel.numRegs = registers, kernel.sharedSizeBytes = shared;
    kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
    cudaOccDeviceState state{};
    cudaOccResult result;
    const auto error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, 0);
    std::cout << (error == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : -int(error)) << '\n';
  }
}
