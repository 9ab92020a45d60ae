// What the simulated library has beside the operators.
#include <torch/csrc/stable/library.h>

#include "simt_cpu.h"

namespace {
// Chooses the schedule of the launches that follow; -1 leaves it. Returns the seed in use.
int64_t simulator_seed(int64_t seed) {
  if (seed >= 0) simt::simulator().set_seed(uint64_t(seed));
  return int64_t(simt::simulator().seed);
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(fastlt_sim, m) { m.def("simulator_seed(int seed) -> int"); }
STABLE_TORCH_LIBRARY_IMPL(fastlt_sim, CompositeExplicitAutograd, m) {
  m.impl("simulator_seed", TORCH_BOX(&simulator_seed));
}
