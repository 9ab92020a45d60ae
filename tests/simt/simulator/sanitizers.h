// What the sanitizers must be told about fibers; nothing in a plain build.
#pragma once
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#define SIMT_TSAN 1
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace simt {

// While one of these lives, the accesses of the running fiber are the simulator's own: no part of the race check.
struct Quiet {
#ifdef SIMT_TSAN
  Quiet() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
  ~Quiet() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
#else
  Quiet() {}
  ~Quiet() {}
#endif
  Quiet(const Quiet&) = delete;
};

// An edge of happens-before for the race check: everything before a release() comes before what follows an acquire().
class Edge {
 public:
  void release() {
#ifdef SIMT_TSAN
    __tsan_release(&at_);
#endif
  }
  void acquire() {
#ifdef SIMT_TSAN
    __tsan_acquire(&at_);
#endif
  }

 private:
  [[maybe_unused]] char at_ = 0;
};

}  // namespace simt
