// A picture resized, coloured, normalised and written as it lies in a batch, without a float picture in between.
//
// Rows are resized to the width of the output first, as many side by side as a vector has quarters: a pixel is four
// floats of each, so that neither gathers nor planes are needed. They wait in a ring until the output rows that they are
// part of are written, in a second pass over columns.
#pragma once
#include "picture_output.h"

namespace fastlt {
namespace FASTLT_ISA {

constexpr int GROUP = LANES / 4;  // source rows side by side

// ---- widening: wide[GROUP * 4 * x + 4 * r + c] = channel c of pixel x of row r; the fourth of each pixel is anything

FASTLT_INLINE void widen_pixel(const uint8_t* const* rows, int64_t x, float* wide) {
  for (int r = 0; r < GROUP; ++r)
    for (int c = 0; c < 4; ++c) wide[(GROUP * x + r) * 4 + c] = c < 3 ? (float)rows[r][3 * x + c] : 0.f;
}

#if defined(__AVX2__)
// Four pixels from the 16 bytes at rows[r] + from, in which they begin `skip` bytes late.
template <int SKIP>
FASTLT_INLINE void widen_four(const uint8_t* const* rows, int64_t from, float* wide) {
  constexpr char S = SKIP;
  const __m128i spread = _mm_setr_epi8(S, S + 1, S + 2, -1, S + 3, S + 4, S + 5, -1, S + 6, S + 7, S + 8, -1, S + 9,
                                       S + 10, S + 11, -1);
  const auto load = [&](int r) FASTLT_LAMBDA {
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i*)(rows[r] + from)), spread);
  };
#if defined(__AVX512F__)
  const auto put = [&](int k, __m128i bytes) FASTLT_LAMBDA {
    _mm512_store_ps(wide + 16 * k, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)));
  };
  const __m128i a = load(0), b = load(1), c = load(2), d = load(3);
  const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
  const __m128i ab_high = _mm_unpackhi_epi32(a, b), cd_high = _mm_unpackhi_epi32(c, d);
  put(0, _mm_unpacklo_epi64(ab, cd)), put(1, _mm_unpackhi_epi64(ab, cd));
  put(2, _mm_unpacklo_epi64(ab_high, cd_high)), put(3, _mm_unpackhi_epi64(ab_high, cd_high));
#else
  const auto put = [&](int k, __m128i bytes) FASTLT_LAMBDA {
    _mm256_store_ps(wide + 8 * k, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)));
  };
  const __m128i a = load(0), b = load(1), low = _mm_unpacklo_epi32(a, b), high = _mm_unpackhi_epi32(a, b);
  put(0, low), put(1, _mm_srli_si128(low, 8)), put(2, high), put(3, _mm_srli_si128(high, 8));
#endif
}

FASTLT_INLINE void widen_rows(const uint8_t* const* rows, int64_t width, float* wide) {
  if (width < 6) {  // no 16 bytes in a row to load
    for (int64_t x = 0; x < width; ++x) widen_pixel(rows, x, wide);
    return;
  }
  for (int64_t k = 0; k < width - 4; k += 4) {
    const int64_t x = k < width - 6 ? k : width - 6;  // its 16 bytes end in the row
    widen_four<0>(rows, 3 * x, wide + LANES * x);
  }
  widen_four<4>(rows, 3 * width - 16, wide + LANES * (width - 4));
}
#else
FASTLT_INLINE void widen_rows(const uint8_t* const* rows, int64_t width, float* wide) {
  for (int64_t x = 0; x < width; ++x) widen_pixel(rows, x, wide);
}
#endif

// ---- along rows

// One channel of each pixel in all four of its lanes.
template <int CHANNEL>
FASTLT_INLINE Lanes spread(Lanes x) {
#if defined(__AVX512F__)
  return (Lanes)_mm512_permute_ps((__m512)x, CHANNEL * 0x55);
#elif defined(__AVX2__)
  return (Lanes)_mm256_permute_ps((__m256)x, CHANNEL * 0x55);
#else
  return Lanes{} + x[CHANNEL];
#endif
}

typedef float Four __attribute__((vector_size(16)));
typedef float LooseFour __attribute__((vector_size(16), aligned(4), may_alias));

// The four floats of each row; the last is overwritten by the next pixel.
FASTLT_INLINE void store_pixel(float* const* rows, int64_t x, Lanes value) {
#if defined(__AVX512F__)
  _mm_storeu_ps(rows[0] + 3 * x, _mm512_castps512_ps128((__m512)value));
  _mm_storeu_ps(rows[1] + 3 * x, _mm512_extractf32x4_ps((__m512)value, 1));
  _mm_storeu_ps(rows[2] + 3 * x, _mm512_extractf32x4_ps((__m512)value, 2));
  _mm_storeu_ps(rows[3] + 3 * x, _mm512_extractf32x4_ps((__m512)value, 3));
#elif defined(__AVX2__)
  _mm_storeu_ps(rows[0] + 3 * x, _mm256_castps256_ps128((__m256)value));
  _mm_storeu_ps(rows[1] + 3 * x, _mm256_extractf128_ps((__m256)value, 1));
#else
  *(LooseFour*)(rows[0] + 3 * x) = (Four)value;
#endif
}

// What is done to a pixel after the resize: a matrix, or not, then a factor and a summand for each channel.
template <bool MATRIX>
struct Colouring {
  Lanes columns[3], factor, summand;
  explicit Colouring(const Picture& p) {
    for (int i = 0; i < LANES; ++i) {
      const int c = i % 4;
      for (int k = 0; k < 3; ++k) columns[k][i] = MATRIX && c < 3 ? p.matrix[3 * c + k] * p.before[0][c] : 0.f;
      factor[i] = c < 3 ? p.before[0][c] : 0.f;
      summand[i] = c < 3 ? p.before[1][c] : 0.f;
    }
  }
  FASTLT_METHOD Lanes operator()(Lanes x) const {
    if constexpr (!MATRIX) return x * factor + summand;
    return spread<0>(x) * columns[0] + (spread<1>(x) * columns[1] + (spread<2>(x) * columns[2] + summand));
  }
};

FASTLT_INLINE Lanes load_pixel(const float* wide) { return *(const Lanes*)wide; }

// TAPS 0: as many as the axis says.
template <int TAPS, bool MATRIX>
void along_rows(const float* wide, const Axis& axis, int32_t width, const Colouring<MATRIX>& colour, float* const* out) {
  float* rows[GROUP];
  for (int r = 0; r < GROUP; ++r) rows[r] = out[r];
  const Colouring<MATRIX> own = colour;
  const int taps = TAPS ? TAPS : axis.taps;
  const float* w = axis.weights;
  for (int32_t x = 0; x < width; ++x, w += taps) {
    Lanes sum = {};
    if (axis.first[x] >= 0) {
      const float* from = wide + (int64_t)LANES * axis.first[x];
      if constexpr (TAPS != 0) {
        sum = w[0] * load_pixel(from);
#pragma GCC unroll 4
        for (int k = 1; k < TAPS; ++k) sum += w[k] * load_pixel(from + LANES * k);
      } else {
        Lanes other = {};
        int k = 0;
        for (; k + 1 < taps; k += 2) {
          sum += w[k] * load_pixel(from + LANES * k);
          other += w[k + 1] * load_pixel(from + LANES * (k + 1));
        }
        if (k < taps) sum += w[k] * load_pixel(from + LANES * k);
        sum += other;
      }
    }
    store_pixel(rows, x, own(sum));
  }
}

// ---- along columns

FASTLT_INLINE Lanes rounded(Lanes x) {
  const Lanes low = {}, high = low + 255.f, shifter = low + 12582912.f;
  const Lanes whole = (x + shifter) - shifter;
#if defined(__AVX512F__)
  return (Lanes)_mm512_min_ps(_mm512_max_ps((__m512)whole, (__m512)low), (__m512)high);
#elif defined(__AVX2__)
  return (Lanes)_mm256_min_ps(_mm256_max_ps((__m256)whole, (__m256)low), (__m256)high);
#else
  const Lanes raised = whole > low ? whole : low;
  return raised < high ? raised : high;
#endif
}

// The weighted mean of `rows`, each `count` floats and padded to whole blocks.
template <class T, bool ROUND, int TAPS>
void along_columns(const float* const* rows, const float* weights, int taps, T* out, int64_t count, bool large,
                   const PerChannel& f) {
  const int n = TAPS ? TAPS : taps;
  const bool streamed = is_streamed(out, count, large);
  const PerChannel own = f;
  for (int64_t i = 0; i < count; i += BLOCK * LANES) {
    Lanes sum[BLOCK];
    for (int j = 0; j < BLOCK; ++j) sum[j] = weights[0] * load_pixel(rows[0] + i + j * LANES);
#pragma GCC unroll 4
    for (int k = 1; k < n; ++k)
      for (int j = 0; j < BLOCK; ++j) sum[j] += weights[k] * load_pixel(rows[k] + i + j * LANES);
    if constexpr (ROUND)
      for (int j = 0; j < BLOCK; ++j) {
        sum[j] = rounded(sum[j]);
        if constexpr (sizeof(T) > 1) sum[j] = sum[j] * own.factor[j] + own.summand[j];
      }
    store_block(out + i, sum, count - i, streamed);
  }
}

// ---- a picture

template <class T, bool ROUND, bool MATRIX>
void show_as(const Picture& p, float* scratch) {
  scratch = (float*)(((uintptr_t)scratch + 63) / 64 * 64);
  const int32_t ring = ring_rows(p.rows.taps);
  const int64_t stride = row_floats(p.out_width), count = 3 * (int64_t)p.out_width;
  float *const wide = scratch, *const slots = wide + (int64_t)LARGEST_LANES * p.width;
  float *const black = slots + ring * stride, *const unused = black + stride;
  const float** const rows = (const float**)(unused + stride);
  const Colouring<MATRIX> colour(p);
  const PerChannel finishing(p.after);
  for (int64_t x = 0; x < p.out_width; ++x)
    for (int c = 0; c < 3; ++c) black[3 * x + c] = p.before[1][c];
  int32_t done = 0;  // source rows up to here are resized; row r lies in slot r % ring
  const auto slot = [&](int32_t r) FASTLT_LAMBDA { return slots + r % ring * stride; };
  const auto resize_group = [&] {
    const uint8_t* source[GROUP];
    float* target[GROUP];
    for (int32_t r = 0; r < GROUP; ++r) {
      const bool there = done + r < p.height;
      source[r] = p.pixels + p.pitch * (there ? done + r : p.height - 1);
      target[r] = there ? slot(done + r) : unused;
    }
    done += GROUP;
    widen_rows(source, p.width, wide);
    switch (p.columns.taps) {
      case 1: return along_rows<1>(wide, p.columns, p.out_width, colour, target);
      case 2: return along_rows<2>(wide, p.columns, p.out_width, colour, target);
      case 3: return along_rows<3>(wide, p.columns, p.out_width, colour, target);
      case 4: return along_rows<4>(wide, p.columns, p.out_width, colour, target);
      default: return along_rows<0>(wide, p.columns, p.out_width, colour, target);
    }
  };
  for (int32_t y = 0; y < p.out_height; ++y) {
    const int32_t first = p.rows.first[y], place = p.upside_down ? p.out_height - 1 - y : y;
    const float one = 1.f, *weights = first < 0 ? &one : p.rows.weights + (int64_t)y * p.rows.taps;
    const int32_t taps = first < 0 ? 1 : p.rows.taps;
    rows[0] = black;
    if (first >= 0) {
      if (done < first) done = first;
      while (done < first + taps) resize_group();
      for (int32_t k = 0; k < taps; ++k) rows[k] = slot(first + k);
    }
    T* out = (T*)p.output + place * count;
    switch (taps) {
      case 1: along_columns<T, ROUND, 1>(rows, weights, taps, out, count, p.large, finishing); break;
      case 2: along_columns<T, ROUND, 2>(rows, weights, taps, out, count, p.large, finishing); break;
      case 3: along_columns<T, ROUND, 3>(rows, weights, taps, out, count, p.large, finishing); break;
      case 4: along_columns<T, ROUND, 4>(rows, weights, taps, out, count, p.large, finishing); break;
      default: along_columns<T, ROUND, 0>(rows, weights, taps, out, count, p.large, finishing);
    }
    erase(p, place, out);
  }
  if (p.large) end_of_stream();
}

}  // namespace FASTLT_ISA
}  // namespace fastlt
