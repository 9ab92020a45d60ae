// How work is split: by shape alone, so that the bits do not depend on the number of threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <new>

#include "../arguments.h"
#include "kernels.h"

namespace fastlt {
namespace {

constexpr int64_t PARTS = 32;

// Values that begin with a cache line and are not set: whoever works on them first does that, on its own thread.
template <class R>
class Buffer {
 public:
  explicit Buffer(int64_t count) : values_(static_cast<R*>(::operator new(count * sizeof(R), LINE))) {}
  ~Buffer() { ::operator delete(values_, LINE); }
  Buffer(const Buffer&) = delete;
  R* data() const { return values_; }

 private:
  static constexpr std::align_val_t LINE{64};
  R* values_;
};

// Calls with parts of 0..count, at most `part` each; a thread that is done takes the next, as cores are not equally fast.
template <class F>
void over_parts(int64_t count, int64_t part, const F& call) {
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, count, part, [&](int64_t, int64_t) {
    for (int64_t begin; (begin = next.fetch_add(part, std::memory_order_relaxed)) < count;)
      call(begin, std::min(begin + part, count));
  });
}

inline Storage storage_of(ScalarType type) {
  if (type == ScalarType::Double) return FLOAT64;
  if (type == ScalarType::BFloat16) return BFLOAT16;
  return type == ScalarType::Half ? FLOAT16 : FLOAT32;
}

}  // namespace
}  // namespace fastlt
