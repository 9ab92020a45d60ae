// What the programs share: arrays whose ends are watched, made data, and comparison with a reference in double.
//
// Each program launches kernels under the simulator for several seeds and fails if a value is off, if a schedule
// changes a bit, if an output is left unwritten or something outside of it is written.
#pragma once
#include <sys/mman.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include <torch/headeronly/util/BFloat16.h>

#include "simt_cpu.h"

#if defined(SIMT_TSAN)
#define REFERENCE __attribute__((no_sanitize_thread))  // not part of what is checked, and slow if it were
#else
#define REFERENCE
#endif

using torch::headeronly::BFloat16;

// N values that begin at a multiple of 16 bytes plus `shift` values. All bits are set until written: NaN, or -1. Beyond
// its ends the address sanitizer watches; without it there are bytes whose change is noticed.
template <class T>
class Array {
 public:
#ifdef SIMT_ASAN
  static constexpr size_t GUARD = 0;
#else
  static constexpr size_t GUARD = 64;
#endif
  explicit Array(size_t count, size_t shift = 0) : count_(count), skip_(GUARD + shift * sizeof(T)) {
    bytes_ = static_cast<unsigned char*>(malloc(skip_ + count * sizeof(T) + GUARD));
    memset(bytes_, 0xff, skip_ + count * sizeof(T) + GUARD);
  }
  ~Array() { free(bytes_); }
  Array(const Array&) = delete;

  T* data() { return reinterpret_cast<T*>(bytes_ + skip_); }
  const T* data() const { return reinterpret_cast<const T*>(bytes_ + skip_); }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }
  void fill(int byte) { memset(static_cast<void*>(data()), byte, count_ * sizeof(T)); }

  bool ends_untouched() const {
    for (size_t i = 0; i < GUARD; ++i)
      if (bytes_[i] != 0xff || bytes_[skip_ + count_ * sizeof(T) + i] != 0xff) return false;
    return true;
  }

 private:
  size_t count_, skip_;
  unsigned char* bytes_;
};

// Room of which only what is touched exists; null where the system refuses it.
template <class T>
T* sparse(size_t count) {
  constexpr int KIND = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* at = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, KIND, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<T*>(at);
}

inline std::mt19937& made() {
  static std::mt19937 generator(20);
  return generator;
}
inline double normal(double spread = 1) { return std::normal_distribution<double>(0, spread)(made()); }
inline double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(made()); }
inline int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(made()); }

template <class T>
constexpr double TOLERANCE = std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 1e-5 : 1e-2;

class Report {
 public:
  // |got - want| <= tolerance * (the largest value wanted, or 1 if that is larger)
  template <class T>
  void compare(const std::string& what, const Array<T>& got, const std::vector<double>& want, double tolerance) {
    ++compared_;
    double scale = 1;
    for (double w : want)
      if (std::isfinite(w)) scale = std::max(scale, std::fabs(w));
    for (size_t i = 0; i < want.size(); ++i) {
      const double g = double(got[i]), w = want[i];
      const bool same = std::isnan(w) ? std::isnan(g) : g == w || std::fabs(g - w) <= tolerance * scale;
      if (same) continue;
      return fail(what + "[" + std::to_string(i) + "] is " + std::to_string(g) + ", not " + std::to_string(w));
    }
    if (!got.ends_untouched()) fail(what + ": something beyond its ends was written");
  }
  void fail(const std::string& what) {
    if (++failures_ <= 5) printf("FAULT %s\n", what.c_str());
  }
  int finish(const char* program) const {
    printf("%s: %d comparisons, %d faults\n", program, compared_, failures_);
    return failures_ != 0;
  }

 private:
  int compared_ = 0, failures_ = 0;
};

inline uint64_t digest(const void* data, size_t bytes, uint64_t seed = 0xcbf29ce484222325u) {
  for (size_t i = 0; i < bytes; ++i) seed = (seed ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001b3u;
  return seed;
}

// Runs `launches` once for each seed; every schedule must leave the same bits. Outputs begin as NaN, every other time
// as a number, so that one left unwritten shows even where NaN is right.
template <class Call, class... T>
void run_all(Report& report, const std::string& what, int seeds, const Call& launches, Array<T>&... outputs) {
  uint64_t first = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    (outputs.fill(seed % 2 ? 0xff : 0x7b), ...);
    simt::simulator().set_seed(seed);
    try {
      launches();
    } catch (const simt::Error& error) {
      return report.fail(what + ": " + error.what());
    }
    uint64_t bits = 0xcbf29ce484222325u;
    ((bits = digest(outputs.data(), outputs.size() * sizeof(T), bits)), ...);
    if (seed == 1) first = bits;
    else if (bits != first)
      return report.fail(what + ": results change with the schedule, or with what stood there before");
  }
}

inline int seeds_of(int argc, char** argv) { return argc > 1 ? atoi(argv[1]) : 3; }
