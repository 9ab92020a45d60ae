// A grid of blocks, one after the other in random order.
#pragma once
#include <algorithm>
#include <mutex>

#include "block.h"

namespace simt {

// Of a very large grid only some blocks need to run.
struct Window {
  uint64_t first = 0, count = UINT64_MAX;
};

struct Simulator {
  Random random{1};
  uint64_t seed = 1;
  Window window;
  dim3 grid, block, block_index;
  Edge begin, end;  // host to kernel, kernel to host
  std::mutex one_launch;

  void set_seed(uint64_t to) { seed = to, random = Random(to); }

  // Lanes for the next block. Fibers serve again, since making one is dear. The race check takes accesses of one fiber
  // as ordered, so under it the blocks of a launch have fibers of their own, as far as memory goes.
  Lane* lanes_of_next_block(unsigned threads) {
#ifdef SIMT_TSAN
    constexpr unsigned MOST_FIBERS = 1024;
#else
    constexpr unsigned MOST_FIBERS = 1;
#endif
    const unsigned sets = std::max(1u, MOST_FIBERS / threads);
    if (fibers < sets * threads) {
      fibers = sets * threads;
      lanes.reset(new Lane[fibers]);
    }
    return &lanes[next_set++ % sets * threads];
  }
  // After a fault some of them stand in the middle of a kernel.
  void drop_lanes() { fibers = 0, lanes.reset(); }

 private:
  std::unique_ptr<Lane[]> lanes;
  unsigned fibers = 0, next_set = 0;
};
inline Simulator& simulator() {
  static Simulator one;
  return one;
}

inline std::vector<uint64_t> block_order(const Window& window, uint64_t blocks, Random& random) {
  const uint64_t first = std::min(window.first, blocks), count = std::min(window.count, blocks - first);
  std::vector<uint64_t> order(count);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = random() % (i + 1);
    order[i] = order[at];
    order[at] = first + i;
  }
  return order;
}

inline void launch(dim3 grid, dim3 block, const std::function<void()>& body) {
  Simulator& s = simulator();
  const std::lock_guard<std::mutex> lock(s.one_launch);
  s.begin.release();
  {
    Quiet quiet;
    const uint64_t x = grid.x, y = grid.y, blocks = x * y * grid.z;
    const unsigned threads = block.x * block.y * block.z;
    if (blocks == 0 || threads == 0 || threads > 1024)
      throw Error("a launch of no block, or of a block of no thread or more than 1024");
    s.grid = grid, s.block = block;
    for (const uint64_t i : block_order(s.window, blocks, s.random)) {
      s.block_index = dim3(unsigned(i % x), unsigned(i / x % y), unsigned(i / x / y));
      try {
        Block(s.lanes_of_next_block(threads), block, s.random, body, s.begin, s.end).run();
      } catch (const Error&) {
        s.drop_lanes();
        throw;
      }
    }
  }
  s.end.acquire();
}

}  // namespace simt
