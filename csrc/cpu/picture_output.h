// How the pixels of a picture are written as they lie in a batch: narrowed to its type, past the caches, erased.
#pragma once
#include "pictures.h"
#include "vector.h"

namespace fastlt {
namespace FASTLT_ISA {

constexpr int BLOCK = 3;  // vectors in which lanes and channels come round

struct Byte {
  uint8_t bits;
};
#if defined(__AVX512F__)
FASTLT_INLINE void narrow(Byte* p, Lanes x) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32((__m512)x)));
}
#elif defined(__AVX2__)
FASTLT_INLINE void narrow(Byte* p, Lanes x) {
  const __m256i words = _mm256_cvtps_epi32((__m256)x);
  const __m128i shorts = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(shorts, shorts));
}
#else
FASTLT_INLINE void narrow(Byte* p, Lanes x) {
  for (int i = 0; i < LANES; ++i) p[i].bits = (uint8_t)x[i];
}
#endif

// A factor and a summand for each channel, lane by lane.
struct PerChannel {
  Lanes factor[BLOCK], summand[BLOCK];
  explicit PerChannel(const float (&of)[2][3]) {
    for (int i = 0; i < BLOCK * LANES; ++i) {
      factor[i / LANES][i % LANES] = of[0][i % 3];
      summand[i / LANES][i % LANES] = of[1][i % 3];
    }
  }
};

// Past the caches, which a large batch would only push others out of; `p` begins with a vector.
FASTLT_INLINE void stream(float* p, Lanes x) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)x);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, (__m256)x);
#else
  narrow(p, x);
#endif
}
FASTLT_INLINE void end_of_stream() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}
FASTLT_INLINE bool begins_with_vector(const void* p) { return (uintptr_t)p % sizeof(Lanes) == 0; }

// Not where rows end within a vector: lines of the cache that are written half past it and half into it cost twice.
template <class T>
FASTLT_INLINE bool is_streamed(const T* out, int64_t count, bool large) {
  return sizeof(T) == sizeof(float) && large && count % LANES == 0 && begins_with_vector(out);
}

// A block, or the `left` values of it that are still wanted.
template <class T>
FASTLT_INLINE void store_block(T* out, const Lanes* block, int64_t left, bool streamed) {
  if (left < BLOCK * LANES) {
    T last[BLOCK * LANES];
    for (int j = 0; j < BLOCK; ++j) narrow(last + j * LANES, block[j]);
    __builtin_memcpy(out, last, left * sizeof(T));
    return;
  }
  if constexpr (sizeof(T) == sizeof(float))
    if (streamed) {
      for (int j = 0; j < BLOCK; ++j) stream(out + j * LANES, block[j]);
      return;
    }
  for (int j = 0; j < BLOCK; ++j) narrow(out + j * LANES, block[j]);
}

template <class T>
FASTLT_INLINE void erase(const Picture& p, int32_t y, T* row) {
  const int32_t top = p.erased[0], left = p.erased[1], height = p.erased[2], width = p.erased[3];
  if (y >= top && y < top + height) __builtin_memset(row + 3 * (int64_t)left, 0, 3 * sizeof(T) * (int64_t)width);
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
