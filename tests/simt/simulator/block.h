// One CUDA block: its threads as fibers, its barrier, the collectives of its warps, its shared arrays.
//
// Warps run by random priority, each as far as it can, so that one may be a whole phase ahead of the others; the lanes
// of a warp run one after the other in random order, each until it waits. Memory is ordered between threads by
// __syncthreads and __syncwarp alone: shuffles and votes carry values and order nothing, as CUDA says.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "fiber.h"

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace simt {

// A fault of the kernel, with the line where threads waited.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr unsigned LANES = 32;

class Random {  // splitmix64
 public:
  explicit Random(uint64_t seed = 1) : state_(seed) {}
  uint64_t operator()() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

enum class State : uint8_t { READY, AT_BARRIER, IN_COLLECTIVE, DONE };
enum class Collective : uint8_t { SHUFFLE, BALLOT, SYNC };

// What a lane asks of its warp.
struct Request {
  Collective kind;
  uint32_t mask;
  uint64_t value;   // SHUFFLE: what others may read; BALLOT: the vote
  unsigned source;  // SHUFFLE: the lane to read
};

struct Lane {
  Fiber fiber;
  dim3 index;
  unsigned number = 0;  // within the block
  State state = State::READY;
  const char* site = "the start";  // where it waits
  Request request{};
  uint64_t answer = 0;

  unsigned in_warp() const { return number % LANES; }
};

struct Warp {
  uint64_t priority = 0;
  uint32_t ready = 0;
  bool asks = false;
};

// Successive rendezvous of the same threads. Two edges take turns: a thread slow to leave one must not be ordered after
// what a fast one does before the next.
class Rendezvous {
 public:
  Edge& arrive() {
    Edge& edge = edges_[turn_ & 1];
    edge.release();
    return edge;
  }
  void complete() { ++turn_; }

 private:
  std::array<Edge, 2> edges_;
  unsigned turn_ = 0;
};

class Block {
 public:
  // The block whose threads run now, and the thread that runs.
  static inline Block* current = nullptr;
  static inline Lane* lane = nullptr;

  // The lanes are those of the whole block, in any state of an earlier one.
  Block(Lane* lanes, dim3 shape, Random& random, const std::function<void()>& body, Edge& begin, Edge& end)
      : lanes_(lanes), shape_(shape), size_(shape.x * shape.y * shape.z), random_(random), body_(body), begin_(begin),
        end_(end), synchronised_(new Rendezvous), warps_((size_ + LANES - 1) / LANES) {}

  void run() {
    current = this;
    for (unsigned i = 0; i < size_; ++i) start(i);
    set_priorities();
    while (error_.empty() && done_ < size_) {
      if (Warp* warp = most_urgent()) run_warp(*warp);
      else complete_barrier();
    }
    current = nullptr, lane = nullptr;
    if (!error_.empty()) throw Error(error_);
  }

  // ---- called by the threads

  void barrier(const char* site) {
    Edge& edge = synchronised_->arrive();
    wait(State::AT_BARRIER, site);
    edge.acquire();
  }

  uint64_t collective(const Request& request, const char* site) {
    if (!(request.mask >> lane->in_warp() & 1)) throw Error(std::string("a lane is not in its own mask at ") + site);
    lane->request = request;
    Edge* edge = nullptr;
    if (request.kind == Collective::SYNC) edge = &warp_sync(*lane, request.mask).arrive();
    warps_[lane->number / LANES].asks = true;
    wait(State::IN_COLLECTIVE, site);
    if (edge) edge->acquire();
    return lane->answer;
  }

  // The array of this block that `key` stands for: a heap block, so that overruns show, full of NaN until written.
  void* shared_array(const void* key, size_t bytes) {
    for (auto& [of, array] : shared_)
      if (of == key) return array.get();
    shared_.emplace_back(key, std::unique_ptr<char[]>(new char[bytes]));
    return memset(shared_.back().second.get(), 0xff, bytes);
  }

 private:
  // A fiber serves one thread after the other.
  static void thread_main() {
    Fiber::entered();
    while (true) {
      current->run_thread();
      lane->fiber.leave();
    }
  }

  void run_thread() {
    {
      Quiet quiet;
      begin_.acquire();
    }
    try {
      body_();
    } catch (const std::exception& failure) {
      Quiet quiet;
      error_ = failure.what();
    }
    Quiet quiet;
    end_.release();
    lane->state = State::DONE;
  }

  void start(unsigned number) {
    Lane& one = lanes_[number];
    one.number = number, one.state = State::READY, one.site = "the start";
    one.index = dim3(number % shape_.x, number / shape_.x % shape_.y, number / shape_.x / shape_.y);
    if (!one.fiber.started()) one.fiber.start(thread_main);
    warps_[number / LANES].ready |= 1u << number % LANES;
  }

  void wait(State state, const char* site) {
    Lane& self = *lane;
    self.state = state, self.site = site;
    self.fiber.leave();
  }

  void set_priorities() {
    for (Warp& warp : warps_) warp.priority = random_();
  }

  Warp* most_urgent() {
    Warp* best = nullptr;
    for (Warp& warp : warps_)
      if (warp.ready && (!best || warp.priority > best->priority)) best = &warp;
    return best;
  }

  // Every ready lane once, in random order: start and odd stride are drawn.
  void run_warp(Warp& warp) {
    const unsigned base = unsigned(&warp - warps_.data()) * LANES;
    const uint64_t draw = random_();
    const unsigned first = draw % LANES, stride = draw >> 8 | 1;
    const uint32_t ready = warp.ready;
    warp.ready = 0;
    for (unsigned k = 0; k < LANES && error_.empty(); ++k) {
      const unsigned in_warp = (first + k * stride) % LANES;
      if (!(ready >> in_warp & 1)) continue;
      lane = &lanes_[base + in_warp];
      lane->fiber.enter();
      done_ += lane->state == State::DONE;
    }
    if (warp.asks && error_.empty()) complete_collectives(warp, base);
    if (draw >> 58 == 0) set_priorities();
  }

  // ---- collectives of a warp

  void complete_collectives(Warp& warp, unsigned base) {
    warp.asks = false;
    const unsigned count = std::min(LANES, size_ - base);
    for (unsigned k = 0; k < count && error_.empty(); ++k) {
      Lane& asker = lanes_[base + k];
      if (asker.state != State::IN_COLLECTIVE) continue;
      if (all_ask_the_same(asker, base, count)) answer(warp, asker, base);
      else warp.asks = true;
    }
  }

  bool all_ask_the_same(const Lane& asker, unsigned base, unsigned count) {
    const uint32_t mask = asker.request.mask;
    if (count < LANES && mask >> count) return fail("a mask names lanes that the block does not have", asker.site);
    for (unsigned k = 0; k < count; ++k) {
      if (!(mask >> k & 1)) continue;
      const Lane& other = lanes_[base + k];
      if (other.state != State::IN_COLLECTIVE || other.request.mask != mask ||
          other.request.kind != asker.request.kind || strcmp(other.site, asker.site) != 0)
        return false;
    }
    return true;
  }

  void answer(Warp& warp, const Lane& asker, unsigned base) {
    const Collective kind = asker.request.kind;
    const uint32_t mask = asker.request.mask;
    if (kind == Collective::SYNC) warp_sync(asker, mask).complete();
    uint32_t votes = 0;
    for_lanes(mask, base, [&](Lane& one) { votes |= uint32_t(one.request.value != 0) << one.in_warp(); });
    for_lanes(mask, base, [&](Lane& one) {
      one.answer = votes;
      if (kind == Collective::SHUFFLE) {
        if (!(mask >> one.request.source & 1)) fail("a shuffle reads a lane outside its mask", one.site);
        else one.answer = lanes_[base + one.request.source].request.value;
      }
      one.state = State::READY;
      warp.ready |= 1u << one.in_warp();
    });
  }

  template <class Call>
  void for_lanes(uint32_t mask, unsigned base, const Call& call) {
    for (unsigned k = 0; k < LANES; ++k)
      if (mask >> k & 1) call(lanes_[base + k]);
  }

  Rendezvous& warp_sync(const Lane& of, uint32_t mask) { return warp_syncs_[{of.number / LANES, mask}]; }

  // ---- the barrier of the block

  // Nobody can run: all wait at one barrier, or the kernel is at fault.
  void complete_barrier() {
    const char* site = nullptr;
    for (unsigned i = 0; i < size_; ++i) {
      const Lane& one = lanes_[i];
      if (one.state == State::IN_COLLECTIVE)
        return (void)fail("deadlock: a lane waits for lanes of its mask that never come", one.site);
      if (one.state != State::AT_BARRIER) continue;
      if (site && strcmp(site, one.site) != 0)
        return (void)fail(std::string("divergent barriers: some threads wait at ") + site + ", others", one.site);
      site = one.site;
    }
    if (done_) return (void)fail("some threads have ended, others wait at a barrier", site);
    synchronised_->complete();
    for (unsigned i = 0; i < size_; ++i) {
      lanes_[i].state = State::READY;
      warps_[i / LANES].ready |= 1u << i % LANES;
    }
  }

  bool fail(const std::string& what, const char* site) {
    error_ = what + " at " + site;
    return false;
  }

  Lane* lanes_;
  dim3 shape_;
  unsigned size_, done_ = 0;
  Random& random_;
  const std::function<void()>& body_;
  Edge &begin_, &end_;
  std::unique_ptr<Rendezvous> synchronised_;  // on the heap: freeing makes the race check forget this block's edges
  std::map<std::pair<unsigned, uint32_t>, Rendezvous> warp_syncs_;
  std::vector<Warp> warps_;
  std::vector<std::pair<const void*, std::unique_ptr<char[]>>> shared_;
  std::string error_;
};

}  // namespace simt
