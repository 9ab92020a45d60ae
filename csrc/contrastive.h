// Contrastive losses, row block by row block: torch's matrix product makes a tile [R, C] of dot products, one pass of the
// backend turns it into losses and gradients in place, and two more products carry those on. No [B, C] array is kept.
//
// With f = x / |x| and dots s = f p^T (p not normalised), z = s * scale, scale_c = 1 / (|p_c| temperature). The pass leaves
// d = dL/ds in the tile, so dL/df = d p and G = d^T f lack only the projection that the normalisation makes:
//   dL/dx = (df - (df . f) f) / |x|       dL/dp_c = G_c - (G_c . p_c) p_c / |p_c|^2
// Products are torch's: they follow its settings for fp32 (set_float32_matmul_precision), and their last bits may differ with
// the number of threads, though not from run to run.
//
// A Backend has static functions (all tensors contiguous; wide = fp32, or fp64 for fp64 features):
//   constexpr int64_t TILE_BYTES                          the size a tile should have
//   normalise(x, unit)                                    x [N, D] of any type -> rows 0 to N - 1 of unit, wide, x / |x|;
//                                                         0 for 0
//   inverse_norms(x, factor, inverse)                     inverse [N] wide = factor / |x|; 0 for 0
//   prototype_rows(call, tile, scale, pass)               tile [R, C] holds dots of rows pass.first, pass.first + 1, ...
//   supervised_rows(call, tile, pass)                     tile [R, N]
//       fill pass.loss [B] at those rows if it is there; with pass.gradient the tile becomes d, times pass.upstream
//       (scalar or [B]; absent: 1), times pass.factor (the 1/n of a mean)
//   project(x, g, over_norm, out)                         out = g - (g . x) x / |x|^2, over |x| if over_norm; 0 for x = 0;
//                                                         x and out of any type, g wide; out may be g itself
//   mean_over_anchors(call, factor)                       supervised: factor [] wide = 1 / max(rows with a positive, 1)
//   sum(rows, pass, out)                                  out [] = sum of rows [B] times pass.factor, in a fixed order
#pragma once
#include "arguments.h"

namespace fastlt {

inline void product(const Tensor& a, const Tensor& b, const Tensor& out) {
  std::array<StableIValue, 3> stack{torch::stable::detail::from(a), torch::stable::detail::from(b),
                                    torch::stable::detail::from(out)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // takes over the reference that came back
}
// out += a b. addmm takes Scalars, which the stable ABI does not carry; a linear layer with `out` as its bias is the same.
inline void add_product(const Tensor& a, const Tensor& b, const Tensor& out) {
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(a), torch::stable::detail::from(torch::stable::transpose(b, 0, 1)),
      torch::stable::detail::from(std::optional<Tensor>(out)), torch::stable::detail::from(out)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::linear", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);
}
inline Tensor transposed(const Tensor& x) { return torch::stable::transpose(x, 0, 1); }
inline Tensor rows_of(const Tensor& x, int64_t first, int64_t count) {
  return torch::stable::narrow(const_cast<Tensor&>(x), 0, first, count);
}

// What one pass over a tile shall make.
struct Pass {
  std::optional<Tensor> loss, upstream;  // [B] to be filled; [] or [B]
  double factor = 1;                     // of a mean
  std::optional<Tensor> device_factor;   // [] where the factor is only known on the device: supervised_contrastive
  bool gradient = false;
  int64_t first = 0;
};

struct ContrastiveResult {
  Tensor loss, grad_features, grad_prototypes;
};

template <class Backend>
int64_t rows_in_a_tile(int64_t rows, int64_t columns, ScalarType wide) {
  const int64_t bytes = std::max<int64_t>(columns, 1) * (wide == ScalarType::Double ? 8 : 4);
  return std::min(std::max<int64_t>(rows, 1), std::clamp<int64_t>(Backend::TILE_BYTES / bytes / 16 * 16, 16, 1024));
}

// Some matrix products sum the last rows in another order where no whole block of rows is left. With rows of zeros up to
// whole blocks, a row's dots did not depend on the number of rows on any processor tried, for 16 columns and more.
inline int64_t whole_blocks(int64_t rows) { return (rows + 15) / 16 * 16; }

// The gradient with respect to x as x's type; `wide_gradient` is reused where it has that type already.
template <class Backend>
Tensor projected(const Tensor& x, const Tensor& wide_gradient, bool over_norm) {
  Tensor out = x.scalar_type() == wide_gradient.scalar_type() ? wide_gradient : torch::stable::empty_like(x);
  Backend::project(x, wide_gradient, over_norm, out);
  return out;
}

template <class Backend>
Tensor reduced(const Tensor& row_loss, const Pass& pass, int64_t reduction) {
  if (reduction == ROW) return row_loss;
  Tensor out = empty(row_loss, {}, row_loss.scalar_type());
  Backend::sum(row_loss, pass, out);
  return out;
}

// Losses if there is no upstream, gradients if asked for.
template <class Backend>
ContrastiveResult run_prototype(const ContrastiveCall& call, const std::optional<Tensor>& upstream,
                                        bool gradient) {
  const ScalarType wide = wide_type(call.features.scalar_type());
  const Tensor prototypes = call.prototypes->scalar_type() == wide ? *call.prototypes
                                                                   : torch::stable::to(*call.prototypes, wide);
  const int64_t classes = prototypes.size(0), step = rows_in_a_tile<Backend>(call.rows, classes, wide);
  Tensor unit = empty(call.features, {whole_blocks(call.rows), call.dims}, wide), scale = empty(unit, {classes}, wide);
  Tensor beyond = rows_of(unit, call.rows, unit.size(0) - call.rows);
  torch::stable::zero_(beyond);
  Backend::normalise(call.features, unit);
  Backend::inverse_norms(prototypes, 1 / call.temperature, scale);

  Pass pass{{}, upstream, mean_factor(call.reduction, call.rows), {}, gradient};
  if (!upstream) pass.loss = empty(unit, {call.rows}, wide);
  const Tensor buffer = empty(unit, {whole_blocks(step), classes}, wide);
  const Tensor along_features = empty(unit, {gradient ? call.rows : 0, call.dims}, wide);
  Tensor along_prototypes = empty(unit, {gradient ? classes : 0, call.dims}, wide);
  if (gradient && call.rows == 0) torch::stable::zero_(along_prototypes);
  for (; pass.first < call.rows; pass.first += step) {
    const int64_t count = std::min(step, call.rows - pass.first), whole = whole_blocks(count);
    const Tensor tile = rows_of(buffer, 0, count), block = rows_of(unit, pass.first, count);
    product(rows_of(unit, pass.first, whole), transposed(prototypes), rows_of(buffer, 0, whole));
    Backend::prototype_rows(call, tile, scale, pass);
    if (!gradient) continue;
    product(tile, prototypes, rows_of(along_features, pass.first, count));
    (pass.first > 0 ? add_product : product)(transposed(tile), block, along_prototypes);
  }
  ContrastiveResult result{upstream ? nothing(unit) : reduced<Backend>(*pass.loss, pass, call.reduction),
                           nothing(call.features), nothing(*call.prototypes)};
  if (!gradient) return result;
  result.grad_features = projected<Backend>(call.features, along_features, true);
  result.grad_prototypes = projected<Backend>(*call.prototypes, along_prototypes, false);
  return result;
}

template <class Backend>
ContrastiveResult run_supervised(const ContrastiveCall& call, const std::optional<Tensor>& upstream,
                                         bool gradient) {
  const ScalarType wide = wide_type(call.features.scalar_type());
  const int64_t step = rows_in_a_tile<Backend>(call.rows, call.rows, wide);
  Tensor unit = empty(call.features, {call.rows, call.dims}, wide);
  Backend::normalise(call.features, unit);

  Pass pass{{}, upstream, 1, {}, gradient};
  if (!upstream) pass.loss = empty(unit, {call.rows}, wide);
  if (call.reduction == MEAN) {
    pass.device_factor = empty(unit, {}, wide);
    Backend::mean_over_anchors(call, *pass.device_factor);
  }
  const Tensor buffer = empty(unit, {step, call.rows}, wide);
  Tensor along_features = empty(unit, {gradient ? call.rows : 0, call.dims}, wide);
  if (gradient) torch::stable::zero_(along_features);
  for (; pass.first < call.rows; pass.first += step) {
    const int64_t count = std::min(step, call.rows - pass.first);
    const Tensor tile = rows_of(buffer, 0, count), block = rows_of(unit, pass.first, count);
    product(block, transposed(unit), tile);
    Backend::supervised_rows(call, tile, pass);
    if (!gradient) continue;
    add_product(tile, unit, rows_of(along_features, pass.first, count));
    add_product(transposed(tile), block, along_features);
  }
  ContrastiveResult result{upstream ? nothing(unit) : reduced<Backend>(*pass.loss, pass, call.reduction),
                           nothing(call.features), nothing(call.features)};
  if (gradient) result.grad_features = projected<Backend>(call.features, along_features, true);
  return result;
}

}  // namespace fastlt
