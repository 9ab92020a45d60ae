// Where the positive targets of a block of columns are, with AVX-512.
#pragma once
#include "vector.h"

#if defined(__AVX512F__)
namespace fastlt {
namespace FASTLT_ISA {

// The positives of up to COLUMNS targets, in order, if they are few.
template <int COLUMNS>
struct Positives {
  uint16_t at[COLUMNS / 8 + 4];
  int count = 0;
  bool any_unknown = false, few = false;

  FASTLT_METHOD Positives(const int8_t* targets, int columns) {
    uint64_t positive[COLUMNS / 64], unknown = 0;
    for (int j = 0; j < columns; j += 64) {
      int8_t copy[64] = {};
      const int8_t* next = targets + j;
      if (columns - j < 64) next = (const int8_t*)__builtin_memcpy(copy, next, columns - j);
      const __m512i bytes = _mm512_loadu_si512(next);
      unknown |= _mm512_movepi8_mask(bytes);
      positive[j / 64] = _mm512_cmpgt_epi8_mask(bytes, _mm512_setzero_si512());
      count += __builtin_popcountll(positive[j / 64]);
    }
    any_unknown = unknown;
    few = count * 8 <= columns;
    if (few) list(positive, columns);
  }

  // Four at a time whether there are any or not, none of 64 included: what a processor cannot foresee is how many.
  FASTLT_METHOD void list(const uint64_t* positive, int columns) {
    uint16_t* next = at;
    for (int j = 0; j < columns; j += 64) {
      uint64_t bits = positive[j / 64];
      const int found = __builtin_popcountll(bits);
      int k = 0;
      do
        for (int m = k; m < k + 4; ++m, bits &= bits - 1) next[m] = j + __builtin_ctzll(bits | 1ull << 63);
      while ((k += 4) < found);
      next += found;
    }
  }
};

}  // namespace FASTLT_ISA
}  // namespace fastlt
#endif
