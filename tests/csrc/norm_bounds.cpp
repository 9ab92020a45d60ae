// Runs every kernel of batch norm on arrays of exactly the size that norm.h promises, for the sanitizers to watch; prints
// how many runs there were. Built for one instruction set, -DKERNELS=norm_kernels_avx2 or so.
#include <cstdio>
#include <vector>

#include "../../csrc/cpu/norm.h"

using namespace fastlt;

const int64_t BYTES[STORAGES] = {4, 2, 2, 8};
int runs = 0;

// Zeros of any type, without room behind them.
struct Array {
  std::vector<char> bytes;
  explicit Array(int64_t size) : bytes(size) { bytes.shrink_to_fit(); }
  void* data() { return bytes.data(); }
};

// `rows` whole rows of `stride` values and `rest` more.
void run(int storage, int64_t stride, int64_t rows, int64_t rest, bool with_residual) {
  const int64_t values = rows * stride + rest, size = values * BYTES[storage], wide = storage == FLOAT64 ? 8 : 4;
  Array x(size), y(size), residual(size), grad(size), grad_x(size), masked(size);
  Array mean(stride * wide), scale(stride * wide), bias(stride * wide), centred(stride * wide), ones(stride * wide);
  Array first(stride * wide), second(stride * wide);
  NormRows given{};
  given.x = x.data(), given.y = y.data();
  if (with_residual) given.residual = residual.data();
  given.columns = {mean.data(), scale.data(), bias.data(), centred.data(), ones.data()};
  KERNELS.forward[storage](given, 0, values, stride);
  given.grad = grad.data(), given.grad_x = grad_x.data();
  given.y = with_residual ? y.data() : nullptr;
  given.grad_masked = with_residual ? masked.data() : nullptr;
  if (rows) {
    KERNELS.moments[storage](x.data(), rows, stride, stride, first.data(), second.data());
    KERNELS.sums[storage](given, 0, rows, stride, stride, first.data(), second.data());
  }
  if (rest) {
    Array some(rest * wide), others(rest * wide);  // as many columns as there are
    const int64_t begin = rows * stride;
    KERNELS.moments[storage](static_cast<char*>(x.data()) + begin * BYTES[storage], 1, rest, stride, some.data(),
                             others.data());
    KERNELS.sums[storage](given, begin, 1, rest, stride, some.data(), others.data());
  }
  KERNELS.backward[storage](given, 0, values, stride);
  ++runs;
}

int main() {
  for (int storage = 0; storage < STORAGES; ++storage)
    for (int64_t stride : {NORM_COLUMNS, 3 * NORM_COLUMNS, 17 * NORM_COLUMNS})
      for (int64_t rows : {0, 1, 3, 20})
        for (int64_t rest : {0, 1, 3, 4, 15, 17, 31, 33, 64, 100, 127})
          for (bool with_residual : {false, true})
            if (rows + rest) run(storage, stride, rows, rest, with_residual);
  std::printf("%d runs\n", runs);
}
