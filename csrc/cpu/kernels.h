// What the kernels of one instruction set offer to ops.cpp: plain structs and function pointers, so that nothing compiled
// for AVX is shared with code that must run everywhere. "wide" is float, or double for double inputs. Class sums, the
// prior and scratch rows are padded to a multiple of PADDING values, so that vectors may be read past C.
#pragma once
#include <stdint.h>

namespace fastlt {

constexpr int64_t PADDING = 64;
// An odd multiple of it: rows that lie a multiple of 4096 bytes apart would be in each other's way in the first-level cache.
constexpr int64_t padded(int64_t count) { return ((count + PADDING - 1) / PADDING / 2 * 2 + 1) * PADDING; }

enum Storage { FLOAT32, BFLOAT16, FLOAT16, FLOAT64, STORAGES };

// The gradient of row i is multiplied by factor * upstream[i * upstream_step].
struct Scaling {
  const void* upstream;  // wide, or null for 1
  int64_t upstream_step;
  double factor;
};

template <class R>
static inline R scale_of(const Scaling& s, int64_t row) {
  return (R)(s.factor * (s.upstream ? ((const R*)s.upstream)[row * s.upstream_step] : R(1)));
}

struct SigmoidRows {
  const void* logits;     // [B, C]
  const int8_t* targets;  // [B, C]
  const void* vectors[6]; // [C] wide; null: no class vectors at all (ops.cpp fills in what only some of them lack)
  const void* weight;     // [B, C] wide or bytes, or null
  bool weight_is_bytes;
  double gammas[3];       // positive, negative, unknown
  double margin;
  bool detach_focus, ignore_unknown;
  int64_t classes;
  Scaling scaling;
  double* row_loss;       // [B]
  void* grad_logits;      // [B, C] or null
};
struct LsepRows {
  const void* logits;
  const int8_t* targets;
  int64_t classes;
  Scaling scaling;
  double* row_loss;
  void* grad_logits;
};
struct SoftmaxRows {
  const void* logits;
  const void* teacher;    // null: balanced softmax
  const int64_t* labels;
  const void* log_prior;  // wide, padded
  double temperature, power, alpha;
  int64_t classes;
  Scaling scaling;
  double* row_loss;
  void* grad_logits;
};
// tile [R, C] wide holds dots of rows first, first + 1, ... of the batch and becomes their gradients.
struct ContrastiveRows {
  void* tile;
  int64_t columns, first;
  const int32_t* labels;  // prototype_contrastive: [R]; supervised_contrastive: of all columns, not negative
  const void* scale;      // prototype_contrastive: wide [C]
  double temperature;     // supervised_contrastive
  bool positive_in_denominator, gradient;
  Scaling scaling;
  double* row_loss;       // [R]
};

struct Kernels {
  int instruction_set, width;
  // Rows begin..end; `sums` [4, padded(C)] wide takes the class gradients (added to), or is null.
  void (*sigmoid[STORAGES])(const SigmoidRows&, int64_t begin, int64_t end, void* sums);
  // scratch: padded(C) wide values for lsep, 3 padded(C) for softmax.
  void (*lsep[STORAGES])(const LsepRows&, int64_t begin, int64_t end, void* scratch);
  void (*softmax[STORAGES])(const SoftmaxRows&, int64_t begin, int64_t end, void* scratch);
  void (*prototype[2])(const ContrastiveRows&, int64_t begin, int64_t end);   // float, double
  void (*supervised[2])(const ContrastiveRows&, int64_t begin, int64_t end);
};

extern const Kernels kernels_avx512, kernels_avx2, kernels_baseline;

}  // namespace fastlt
