// Where the positive targets of a block of columns are, with AVX-512.
#pragma once
#include "vector.h"

#if defined(__AVX512F__)
namespace fastlt {
namespace FASTLT_ISA {

// The positives of up to VECTORS times WIDTH targets: counted at once; listed, if they are few, by whoever goes over the
// vectors, each one once and in order.
template <int VECTORS, int WIDTH>
class Positives {
  static constexpr int LOADED = 64, COLUMNS = VECTORS * WIDTH;
  static_assert(WIDTH == 32 && COLUMNS % LOADED == 0 && COLUMNS <= 1 << 16, "as masks and columns are stored");

 public:
  uint16_t at[COLUMNS / 8 + 2];  // room for few, and for what list() writes behind them
  int count = 0;
  bool any_unknown = false, few = false;

  FASTLT_METHOD Positives(const int8_t* targets, int columns) {
    uint64_t unknown = 0;
    for (int j = 0; j < columns; j += LOADED) {
      int8_t copy[LOADED] = {};
      const int8_t* next = targets + j;
      if (columns - j < LOADED) next = (const int8_t*)__builtin_memcpy(copy, next, columns - j);
      const __m512i bytes = _mm512_loadu_si512(next);
      const uint64_t positive = _mm512_cmpgt_epi8_mask(bytes, _mm512_setzero_si512());
      unknown |= _mm512_movepi8_mask(bytes);
      __builtin_memcpy(positive_ + j / WIDTH, &positive, sizeof positive);
      count += __builtin_popcountll(positive);
    }
    any_unknown = unknown;
    few = count * 8 <= columns;
  }

  // Those of the vector that begins with column j. Two at a time whether there are any or not, none included: what a
  // processor cannot foresee is how many.
  FASTLT_METHOD void list(int j) {
    uint32_t bits = positive_[j / WIDTH];
    uint16_t* next = at + listed_;
    const int found = __builtin_popcount(bits);
    int k = 0;
    do
      for (int m = k; m < k + 2; ++m, bits &= bits - 1) next[m] = j + __builtin_ctz(bits | 1u << 31);
    while ((k += 2) < found);
    listed_ += found;
  }

 private:
  uint32_t positive_[COLUMNS / WIDTH];
  int listed_ = 0;
};

}  // namespace FASTLT_ISA
}  // namespace fastlt
#endif
