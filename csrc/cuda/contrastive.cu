// prototype_contrastive and supervised_contrastive on CUDA: the passes of ../contrastive.h.
#include "contrastive.cuh"

#include "../contrastive.h"
#include "device.h"
#include "reduce_rows.h"

namespace fastlt::gpu {
namespace {

// Calls with a value of the wide type.
template <class Call>
void with_wide(const Tensor& x, const Call& call) {
  if (x.scalar_type() == ScalarType::Double) call(double{});
  else call(float{});
}

template <class R>
Tile<R> tile_of(const ContrastiveCall& call, const Tensor& dots, const Pass& pass) {
  const Upstream<R> upstream{input<R>(pass.upstream), call.reduction == ROW, R(pass.factor),
                             input<R>(pass.device_factor)};
  return {output<R>(dots), pass.first,   int(dots.size(1)), input<int64_t>(call.labels),
          pass.loss ? output<R>(*pass.loss) : nullptr, upstream, pass.gradient};
}

struct CudaBackend {
  static constexpr int64_t TILE_BYTES = 32 << 20;

  static void normalise(const Tensor& x, const Tensor& unit) {
    if (x.numel() == 0) return;
    with_type(x.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      launch_normalise(input<T>(x), x.size(0), int(x.size(1)), output<Wide<T>>(unit), stream_of(x));
    });
  }

  static void inverse_norms(const Tensor& x, double factor, const Tensor& inverse) {
    if (x.size(0) == 0) return;
    with_wide(x, [&](auto zero) {
      using R = decltype(zero);
      launch_inverse_norms(input<R>(x), x.size(0), int(x.size(1)), factor, output<R>(inverse), stream_of(x));
    });
  }

  static void prototype_rows(const ContrastiveCall& call, const Tensor& dots, const Tensor& scale, const Pass& pass) {
    with_wide(dots, [&](auto zero) {
      using R = decltype(zero);
      launch_prototype_rows(tile_of<R>(call, dots, pass), dots.size(0), input<R>(scale), call.positive_in_denominator,
                            stream_of(dots));
    });
  }

  static void supervised_rows(const ContrastiveCall& call, const Tensor& dots, const Pass& pass) {
    with_wide(dots, [&](auto zero) {
      using R = decltype(zero);
      launch_supervised_rows(tile_of<R>(call, dots, pass), dots.size(0), 1 / call.temperature, stream_of(dots));
    });
  }

  static void project(const Tensor& x, const Tensor& g, bool over_norm, const Tensor& out) {
    if (x.numel() == 0) return;
    with_type(x.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      with_wide(g, [&](auto wide_zero) {
        using R = decltype(wide_zero);
        launch_project(input<T>(x), input<R>(g), x.size(0), int(x.size(1)), over_norm, output<T>(out), stream_of(x));
      });
    });
  }

  static void mean_over_anchors(const ContrastiveCall& call, const Tensor& factor) {
    if (call.rows == 0) return (void)torch::stable::fill_(factor, 1);
    const Tensor has_positive = empty(factor, {call.rows}, factor.scalar_type());
    with_wide(factor, [&](auto zero) {
      using R = decltype(zero);
      const cudaStream_t stream = stream_of(factor);
      launch_anchor_rows(input<int64_t>(call.labels), call.rows, output<R>(has_positive), stream);
      launch_reciprocal_of_sum(input<R>(has_positive), call.rows, output<R>(factor), stream);
    });
  }

  static void sum(const Tensor& rows, const Pass& pass, Tensor& out) {
    if (rows.size(0) == 0) return (void)torch::stable::zero_(out);
    sum_into(rows, pass.factor, pass.device_factor, out);
  }
};

ContrastiveCall check(const char* op, const Tensor& features, const std::optional<Tensor>& prototypes,
                      const Tensor& labels, double temperature, bool positive_in_denominator, int64_t reduction,
                      int64_t gradients) {
  const ContrastiveCall call =
      check_contrastive(op, features, prototypes, labels, temperature, positive_in_denominator, reduction, gradients);
  check_size(op, call.rows, std::max(call.dims, prototypes ? prototypes->size(0) : call.rows));
  return call;
}

std::tuple<Tensor, Tensor, Tensor> prototype_contrastive(const Tensor& features, const Tensor& prototypes,
                                                         const Tensor& labels, double temperature,
                                                         bool positive_in_denominator, int64_t reduction,
                                                         int64_t gradients) {
  const char* const op = "prototype_contrastive";
  const ContrastiveCall call =
      check(op, features, prototypes, labels, temperature, positive_in_denominator, reduction, gradients);
  const OnDevice device(call.features);
  const ContrastiveResult made = run_prototype<CudaBackend>(call, {}, gradients > 0);
  check_launches(op);
  return {made.loss, made.grad_features, made.grad_prototypes};
}
std::tuple<Tensor, Tensor> prototype_contrastive_backward(const Tensor& upstream, const Tensor& features,
                                                          const Tensor& prototypes, const Tensor& labels,
                                                          double temperature, bool positive_in_denominator,
                                                          int64_t reduction) {
  const char* const op = "prototype_contrastive_backward";
  const ContrastiveCall call =
      check(op, features, prototypes, labels, temperature, positive_in_denominator, reduction, 0);
  const Tensor by = check_upstream(op, upstream, call.features, reduction);
  const OnDevice device(call.features);
  const ContrastiveResult made = run_prototype<CudaBackend>(call, by, true);
  check_launches(op);
  return {made.grad_features, made.grad_prototypes};
}

std::tuple<Tensor, Tensor> supervised_contrastive(const Tensor& features, const Tensor& labels, double temperature,
                                                  int64_t reduction, int64_t gradients) {
  const char* const op = "supervised_contrastive";
  const ContrastiveCall call = check(op, features, {}, labels, temperature, false, reduction, gradients);
  const OnDevice device(call.features);
  const ContrastiveResult made = run_supervised<CudaBackend>(call, {}, gradients > 0);
  check_launches(op);
  return {made.loss, made.grad_features};
}
Tensor supervised_contrastive_backward(const Tensor& upstream, const Tensor& features, const Tensor& labels,
                                       double temperature, int64_t reduction) {
  const char* const op = "supervised_contrastive_backward";
  const ContrastiveCall call = check(op, features, {}, labels, temperature, false, reduction, 0);
  const Tensor by = check_upstream(op, upstream, call.features, reduction);
  const OnDevice device(call.features);
  const ContrastiveResult made = run_supervised<CudaBackend>(call, by, true);
  check_launches(op);
  return made.grad_features;
}

}  // namespace

FASTLT_CUDA_OPERATORS(m) {
  m.impl("prototype_contrastive", TORCH_BOX(&prototype_contrastive));
  m.impl("prototype_contrastive_backward", TORCH_BOX(&prototype_contrastive_backward));
  m.impl("supervised_contrastive", TORCH_BOX(&supervised_contrastive));
  m.impl("supervised_contrastive_backward", TORCH_BOX(&supervised_contrastive_backward));
}

}  // namespace fastlt::gpu
