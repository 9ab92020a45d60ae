// What the kernels of one instruction set offer to pictures.cpp, which explains the operator. Plain structs, as in kernels.h.
#pragma once
#include <stdint.h>

namespace fastlt {

// Which source rows (or columns) an output row (or column) is the weighted mean of: `taps` of them in a row, all inside
// the picture. From first[k] < 0 on nothing is shown: a black pixel.
struct Axis {
  const int32_t* first;  // [output size]
  const float* weights;  // [output size, taps]
  int32_t taps;
};

enum Finish { AS_IT_IS, ROUNDED };  // ROUNDED: to whole numbers in 0..255 before `scale` and `shift`
enum PictureStorage { PICTURE_FLOAT32, PICTURE_BFLOAT16, PICTURE_FLOAT16, PICTURE_UINT8, PICTURE_STORAGES };

struct Picture {
  const uint8_t* pixels;  // [height, width, 3], rows `pitch` bytes apart
  int64_t pitch;
  int32_t height, width;
  bool unresized;          // width and height are those of the output, and there is no matrix: then
  int32_t offset[2];       // these two say what `rows` and `columns` would, which are not set
  bool mirrored;
  Axis rows, columns;
  bool upside_down;        // the first row of `rows` goes into the last of the output
  const float* matrix;     // [3, 3] of RGB, row by row, or null
  float before[2][3];      // every channel times before[0] plus before[1], after the matrix
  Finish finish;
  float after[2][3];       // ROUNDED: the same once more
  int32_t erased[4];       // top, left, height, width in the output, inside it: zeros
  void* output;            // [out_height, out_width, 3]
  bool large;              // shall be written past the caches
  int32_t out_height, out_width;
};

// Floats of scratch, enough for any instruction set: a group of source rows widened to floats, and the latest rows that
// were resized to the width of the output.
constexpr int64_t LARGEST_LANES = 16, LARGEST_GROUP = LARGEST_LANES / 4;
constexpr int64_t row_floats(int64_t width) {  // whole blocks of three vectors, and one store of four beyond the last pixel
  return (3 * width + 4 + 3 * LARGEST_LANES - 1) / (3 * LARGEST_LANES) * (3 * LARGEST_LANES);
}
constexpr int32_t ring_rows(int32_t taps) { return taps + (int32_t)LARGEST_GROUP; }
constexpr int64_t scratch_floats(int64_t source_width, int32_t taps, int64_t width) {
  return source_width * LARGEST_LANES + (ring_rows(taps) + 2) * row_floats(width) + 2 * taps + 2 * LARGEST_LANES;
}

// The same for an unresized picture: bytes of a row and of its mirror image, and before and after each so many more, for
// vectors read and write whole blocks.
constexpr int64_t SPARE = 64;
constexpr int64_t unresized_floats(int64_t width) { return (6 * width + 4 * SPARE + 3) / 4; }

int instruction_set_in_use();  // of all kernels: 0 baseline, 1 AVX2, 2 AVX-512

struct PictureKernels {
  void (*show[PICTURE_STORAGES])(const Picture&, float* scratch);
};

extern const PictureKernels picture_kernels_avx512, picture_kernels_avx2, picture_kernels_baseline;

}  // namespace fastlt
