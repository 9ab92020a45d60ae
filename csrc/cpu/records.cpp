// read_parts and crc32_parts: many small records at once, without Python in between and without its lock.
#include <errno.h>
#include <unistd.h>

#include <array>

#include "../arguments.h"
#if FASTLT_X86
#include <immintrin.h>
#endif

namespace fastlt {
namespace {

const int64_t* check_numbers(const char* op, const char* name, const Tensor& x, int64_t count) {
  require(x.scalar_type() == ScalarType::Long && x.dim() == 1 && x.size(0) == count && x.is_contiguous() && !x.is_cuda(),
          op, ": ", name, " must be int64 [", count, "], contiguous, on the CPU");
  return x.const_data_ptr<int64_t>();
}

void check_bytes(const char* op, const Tensor& x) {
  require(x.scalar_type() == ScalarType::Byte && x.dim() == 1 && x.is_contiguous() && !x.is_cuda(), op,
          ": bytes must be uint8 [n], contiguous, on the CPU");
}

// ---- reading

// Parts of open files side by side into `to`, which they fill: how many bytes came, or what errno says, negative. It ends
// where a file is shorter than asked for.
int64_t read_parts(Tensor to, Tensor file, Tensor start, Tensor size) {
  const char* const op = "read_parts";
  const int64_t count = file.dim() == 1 ? file.size(0) : 0;
  check_bytes(op, to);
  const int64_t *const files = check_numbers(op, "file", file, count), *const starts = check_numbers(op, "start", start, count);
  const int64_t* const sizes = check_numbers(op, "size", size, count);
  int64_t room = to.size(0);
  for (int64_t i = 0; i < count; ++i) {
    require(starts[i] >= 0 && sizes[i] >= 0 && sizes[i] <= room, op, ": the parts do not fill the bytes");
    room -= sizes[i];
  }
  require(room == 0, op, ": the parts do not fill the bytes");
  uint8_t* const begin = static_cast<uint8_t*>(to.mutable_data_ptr());
  uint8_t* at = begin;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t done = 0; done < sizes[i];) {
      const ssize_t got = pread((int)files[i], at, sizes[i] - done, starts[i] + done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return -errno;
      if (got == 0) return at - begin;
      done += got, at += got;
    }
  }
  return at - begin;
}

// ---- crc32, that of zlib

constexpr int SLICES = 8;
using Tables = std::array<std::array<uint32_t, 256>, SLICES>;

constexpr Tables make_tables() {
  Tables t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
    t[0][i] = c;
  }
  for (int s = 1; s < SLICES; ++s)
    for (uint32_t i = 0; i < 256; ++i) t[s][i] = t[s - 1][i] >> 8 ^ t[0][t[s - 1][i] & 0xff];
  return t;
}
constexpr Tables TABLES = make_tables();

// `crc` is the inverted sum of what came before, as is the result.
uint32_t by_tables(uint32_t crc, const uint8_t* p, int64_t n) {
  const auto& t = TABLES;
  for (; n >= SLICES; n -= SLICES, p += SLICES) {
    const uint32_t low = crc ^ (p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24);
    crc = t[7][low & 0xff] ^ t[6][low >> 8 & 0xff] ^ t[5][low >> 16 & 0xff] ^ t[4][low >> 24] ^ t[3][p[4]] ^
          t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]];
  }
  for (; n > 0; --n, ++p) crc = crc >> 8 ^ t[0][(crc ^ *p) & 0xff];
  return crc;
}

#if FASTLT_X86
#define FASTLT_FOLDING __attribute__((target("pclmul,sse4.1")))

// 128 bits are carried over a distance that the two constants stand for.
FASTLT_FOLDING inline __m128i folded(__m128i x, __m128i over, __m128i onto) {
  return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, over, 0x00), _mm_clmulepi64_si128(x, over, 0x11)), onto);
}

// Four vectors side by side (Gopal et al., "Fast CRC computation for generic polynomials using PCLMULQDQ instruction",
// Intel, 2009; the constants are those of its reflected CRC-32). n >= 64, and a multiple of 16.
FASTLT_FOLDING uint32_t by_folding(uint32_t crc, const uint8_t* p, int64_t n) {
  const auto load = [](const uint8_t* q) { return _mm_loadu_si128((const __m128i*)q); };
  const __m128i over_64 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), over_16 = _mm_set_epi64x(0xccaa009e, 0x1751997d0);
  const __m128i over_8 = _mm_set_epi64x(0, 0x163cd6124), barrett = _mm_set_epi64x(0x1f7011641, 0x1db710641);
  const __m128i low_half = _mm_setr_epi32(-1, 0, -1, 0);
  __m128i x[4];
  for (int k = 0; k < 4; ++k) x[k] = load(p + 16 * k);
  x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)crc));
  for (p += 64, n -= 64; n >= 64; p += 64, n -= 64)
    for (int k = 0; k < 4; ++k) x[k] = folded(x[k], over_64, load(p + 16 * k));
  __m128i one = x[0];
  for (int k = 1; k < 4; ++k) one = folded(one, over_16, x[k]);
  for (; n >= 16; p += 16, n -= 16) one = folded(one, over_16, load(p));
  __m128i high = _mm_clmulepi64_si128(one, over_16, 0x10);  // 128 bits to 96, to 64, to 32
  one = _mm_xor_si128(_mm_srli_si128(one, 8), high);
  high = _mm_srli_si128(one, 4);
  one = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(one, low_half), over_8, 0x00), high);
  __m128i part = _mm_clmulepi64_si128(_mm_and_si128(one, low_half), barrett, 0x10);
  part = _mm_clmulepi64_si128(_mm_and_si128(part, low_half), barrett, 0x00);
  return (uint32_t)_mm_extract_epi32(_mm_xor_si128(one, part), 1);
}
#endif

uint32_t crc32(const uint8_t* p, int64_t n, bool fold) {
  uint32_t crc = ~0u;
#if FASTLT_X86
  if (const int64_t whole = n / 16 * 16; fold && whole >= 64) {
    crc = by_folding(crc, p, whole);
    p += whole, n -= whole;
  }
#endif
  return ~by_tables(crc, p, n);
}

bool can_fold() {
#if FASTLT_X86
  return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#else
  return false;
#endif
}

// int64 [n]: of bytes start[i] to end[i] each. `fold`: by the processor's instruction for it, where it has one.
Tensor crc32_parts(Tensor bytes, Tensor start, Tensor end, bool fold) {
  const char* const op = "crc32_parts";
  const int64_t count = start.dim() == 1 ? start.size(0) : 0, length = bytes.dim() == 1 ? bytes.size(0) : 0;
  check_bytes(op, bytes);
  const int64_t *const from = check_numbers(op, "start", start, count), *const to = check_numbers(op, "end", end, count);
  for (int64_t i = 0; i < count; ++i)
    require(0 <= from[i] && from[i] <= to[i] && to[i] <= length, op, ": part ", i, " is not inside the bytes");
  Tensor sums = empty(start, {count}, ScalarType::Long);
  int64_t* const sum = sums.mutable_data_ptr<int64_t>();
  const uint8_t* const data = bytes.const_data_ptr<uint8_t>();
  const bool folds = fold && can_fold();
  for (int64_t i = 0; i < count; ++i) sum[i] = crc32(data + from[i], to[i] - from[i], folds);
  return sums;
}

}  // namespace
}  // namespace fastlt

STABLE_TORCH_LIBRARY_IMPL(fastlt, CPU, m) {
  m.impl("read_parts", TORCH_BOX(&fastlt::read_parts));
  m.impl("crc32_parts", TORCH_BOX(&fastlt::crc32_parts));
}
