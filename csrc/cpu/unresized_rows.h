// A picture that already has the size of the output, which small ones mostly have: moved, mirrored and normalised only.
//
// The bits are those of the general way (picture_rows.h), whose weights are all 1 here. A row is laid out in bytes first,
// zeros where nothing is shown, and then widened: pixels need not be taken apart.
#pragma once
#include "picture_output.h"

namespace fastlt {
namespace FASTLT_ISA {

#if defined(__AVX512F__)
FASTLT_INLINE Lanes widen_pixels(const uint8_t* p) {
  return (Lanes)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
#elif defined(__AVX2__)
FASTLT_INLINE Lanes widen_pixels(const uint8_t* p) {
  return (Lanes)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
#else
FASTLT_INLINE Lanes widen_pixels(const uint8_t* p) {
  Lanes wide;
  for (int i = 0; i < LANES; ++i) wide[i] = (float)p[i];
  return wide;
}
#endif

// The last pixel first. Five pixels at a time: 16 bytes of `to`, of which the first is overwritten by the next five.
FASTLT_INLINE void mirror_row(const uint8_t* from, uint8_t* to, int64_t width) {
#if defined(__AVX2__)
  const __m128i order = _mm_setr_epi8(15, 12, 13, 14, 9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2);
  for (int64_t x = 0; x < width; x += 5) {
    const __m128i five = _mm_loadu_si128((const __m128i*)(from + 3 * x));
    _mm_storeu_si128((__m128i*)(to + 3 * (width - x) - 16), _mm_shuffle_epi8(five, order));
  }
#else
  for (int64_t x = 0; x < width; ++x)
    for (int c = 0; c < 3; ++c) to[3 * (width - 1 - x) + c] = from[3 * x + c];
#endif
}

template <class T>
void show_unresized(const Picture& p, float* scratch) {
  const int64_t count = 3 * (int64_t)p.out_width;
  uint8_t *const straight = (uint8_t*)scratch + SPARE, *const mirrored = straight + count + 2 * SPARE;
  const uint8_t* const row = p.mirrored ? mirrored : straight;
  // Columns [begin, end) show the picture, as rows do that exist; in 64 bits, for an offset may be anything.
  const int64_t top = p.offset[0], left = p.offset[1], width = p.out_width;
  const int64_t begin = left < 0 ? (left < -width ? width : -left) : 0, end = left > 0 ? width - left : width;
  const PerChannel own(p.before);
  __builtin_memset(straight - SPARE, 0, count + 2 * SPARE);
  for (int32_t y = 0; y < p.out_height; ++y) {
    const int64_t from = y + top;
    const bool there = from >= 0 && from < p.height && begin < end;
    if (there) __builtin_memcpy(straight + 3 * begin, p.pixels + from * p.pitch + 3 * (begin + left), 3 * (end - begin));
    else __builtin_memset(straight, 0, count);
    if (p.mirrored) mirror_row(straight, mirrored, width);
    const int32_t place = p.upside_down ? p.out_height - 1 - y : y;
    T* const out = (T*)p.output + place * count;
    const bool streamed = is_streamed(out, count, p.large);
    for (int64_t i = 0; i < count; i += BLOCK * LANES) {
      Lanes value[BLOCK];
      for (int j = 0; j < BLOCK; ++j) value[j] = widen_pixels(row + i + j * LANES) * own.factor[j] + own.summand[j];
      store_block(out + i, value, count - i, streamed);
    }
    erase(p, place, out);
  }
  if (p.large) end_of_stream();
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
