// Shows pictures in arrays of exactly the size that pictures.h promises, for the sanitizers to watch; prints how many.
// Built for one instruction set, -DKERNELS=picture_kernels_avx2 or so.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../../csrc/cpu/axis_table.h"

using namespace fastlt;

const int64_t BYTES[PICTURE_STORAGES] = {4, 2, 2, 1};
int shown = 0;

template <class T>
T* exactly(int64_t count) {  // what is beyond belongs to nobody, and nothing of it is zero
  T* values = static_cast<T*>(std::malloc(count * sizeof(T)));
  std::memset(values, 0x55, count * sizeof(T));
  return values;
}

void show(int storage, int32_t height, int32_t width, int32_t out_height, int32_t out_width, int steps) {
  static const float matrix[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  AxisTable rows, columns;
  const int32_t offset = steps & 1 ? out_height / 2 - 3 : 0;
  Picture p{};
  p.unresized = height == out_height && width == out_width && !(steps & 2);
  p.offset[0] = offset, p.offset[1] = -offset, p.mirrored = steps & 1;
  if (!p.unresized) rows.make(height, out_height, offset, false), columns.make(width, out_width, -offset, steps & 1);
  uint8_t* const pixels = exactly<uint8_t>(3 * (int64_t)height * width);
  p.pixels = pixels, p.pitch = 3 * (int64_t)width, p.height = height, p.width = width;
  p.rows = rows.axis(), p.columns = columns.axis(), p.upside_down = steps & 1, p.large = steps & 6;
  if (steps & 2) p.matrix = matrix, p.finish = ROUNDED;
  if (steps & 1) p.erased[0] = out_height - 1, p.erased[1] = out_width - 1, p.erased[2] = p.erased[3] = 1;
  p.output = exactly<char>(3 * (int64_t)out_height * out_width * BYTES[storage]);
  p.out_height = out_height, p.out_width = out_width;
  const int64_t floats = p.unresized ? unresized_floats(width) : scratch_floats(width, p.rows.taps, out_width);
  float* const scratch = exactly<float>(floats);
  KERNELS.show[storage](p, scratch);
  std::free(pixels), std::free(p.output), std::free(scratch);
  ++shown;
}

int main() {
  const int32_t sides[] = {1, 2, 3, 5, 6, 7, 9, 10, 16, 17, 31, 33, 64, 100, 225};
  for (int storage = 0; storage < PICTURE_STORAGES; ++storage)
    for (int steps = 0; steps < 8; ++steps) {
      for (int32_t side : sides)
        for (int32_t out : sides) {
          show(storage, side, 5, out, 32, steps);
          show(storage, 5, side, 7, out, steps);
          show(storage, side, side, out, out, steps);
        }
      show(storage, 3000, 2, 3, 5, steps);
      show(storage, 2, 3000, 5, 3, steps);
    }
  std::printf("%d pictures\n", shown);
  return 0;
}
