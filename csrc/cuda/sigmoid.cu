// sigmoid_loss and sigmoid_loss_backward on CUDA.
#include "sigmoid.cuh"

#include "device.h"
#include "reduce_rows.h"

namespace fastlt::gpu {
namespace {

using Optional = std::optional<Tensor>;

template <class T>
SigmoidInput<T> input_of(const SigmoidCall& call) {
  using R = Wide<T>;
  const bool mask = call.weight && call.weight->scalar_type() == ScalarType::Bool;
  const Optional* v = call.vectors;
  return {input<T>(call.logits),
          input<int8_t>(call.targets),
          {input<R>(v[POSITIVE_SCALE]), input<R>(v[POSITIVE_SHIFT]), input<R>(v[NEGATIVE_SCALE]),
           input<R>(v[NEGATIVE_SHIFT]), input<R>(v[POSITIVE_WEIGHT]), input<R>(v[NEGATIVE_WEIGHT])},
          mask ? nullptr : input<R>(call.weight),
          mask ? input<uint8_t>(call.weight) : nullptr,
          call.settings<R>(),
          call.rows,
          int(call.classes)};
}

bool has_entries(const SigmoidCall& call) { return call.rows > 0 && call.classes > 0; }

Tensor loss_of(const SigmoidCall& call) {
  const ScalarType wide = wide_type(call.logits.scalar_type());
  if (!has_entries(call)) return reduced_rows(zeros(call.logits, {call.rows}, wide), call.reduction, call.factor());
  const int64_t parts = call.reduction == ROW ? 1 : row_parts(call.rows, call.classes);
  const Tensor rows = empty(call.logits, {call.rows * parts}, wide);
  with_type(call.logits.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    launch_sigmoid_rows(input_of<T>(call), parts, output<Wide<T>>(rows), stream_of(rows));
  });
  return reduced_rows(rows, call.reduction, call.factor());
}

// Without an upstream gradient: of the loss itself.
std::pair<Tensor, Tensor> gradients_of(const SigmoidCall& call, const Optional& upstream, bool of_classes) {
  const ScalarType type = call.logits.scalar_type(), wide = wide_type(type);
  const Tensor grad_logits = empty(call.logits, {call.rows, call.classes}, type);
  if (!has_entries(call))
    return {grad_logits, of_classes ? zeros(grad_logits, {COMPENSATION_VECTORS, call.classes}, wide)
                                    : nothing(grad_logits, wide)};
  const Tensor grad_classes =
      of_classes ? empty(grad_logits, {COMPENSATION_VECTORS, call.classes}, wide) : nothing(grad_logits, wide);
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
    using R = Wide<T>;
    const SigmoidInput<T> in = input_of<T>(call);
    const Upstream<R> by = upstream ? upstream_of<R>(*upstream, call.factor()) : unit_upstream<R>(call.factor());
    T* const out = output<T>(grad_logits);
    const cudaStream_t stream = stream_of(grad_logits);
    if (!of_classes) return launch_sigmoid_gradients<T>(in, by, out, nullptr, stream);
    const int64_t walkers = sigmoid_walkers<T>(in, out), columns = COMPENSATION_VECTORS * call.classes;
    const Tensor partial = empty(grad_logits, {walkers, columns}, wide);
    launch_sigmoid_gradients(in, by, out, output<R>(partial), stream);
    launch_sum_partials(input<R>(partial), walkers, columns, output<R>(grad_classes), stream);
  });
  return {grad_logits, grad_classes};
}

std::tuple<Tensor, Tensor, Tensor> sigmoid_loss(
    const Tensor& logits, const Tensor& targets, const Optional& positive_scale, const Optional& positive_shift,
    const Optional& negative_scale, const Optional& negative_shift, const Optional& positive_weight,
    const Optional& negative_weight, const Optional& weight, double gamma_positive, double gamma_negative,
    double gamma_unknown, double margin, bool detach_focus, bool ignore_unknown, int64_t reduction, int64_t gradients) {
  const Optional vectors[CLASS_VECTORS] = {positive_scale, positive_shift,  negative_scale,
                                           negative_shift, positive_weight, negative_weight};
  const SigmoidCall call =
      check_sigmoid("sigmoid_loss", logits, targets, vectors, weight, gamma_positive, gamma_negative, gamma_unknown,
                    margin, detach_focus, ignore_unknown, reduction, gradients);
  check_size("sigmoid_loss", call.rows, call.classes);
  const OnDevice device(call.logits);
  const Tensor loss = loss_of(call);
  std::pair<Tensor, Tensor> made{nothing(call.logits), nothing(loss)};
  if (gradients > 0) made = gradients_of(call, {}, gradients > 1);
  check_launches("sigmoid_loss");
  return {loss, made.first, made.second};
}

std::tuple<Tensor, Tensor> sigmoid_loss_backward(
    const Tensor& upstream, const Tensor& logits, const Tensor& targets, const Optional& positive_scale,
    const Optional& positive_shift, const Optional& negative_scale, const Optional& negative_shift,
    const Optional& positive_weight, const Optional& negative_weight, const Optional& weight, double gamma_positive,
    double gamma_negative, double gamma_unknown, double margin, bool detach_focus, bool ignore_unknown,
    int64_t reduction, bool class_gradients) {
  const Optional vectors[CLASS_VECTORS] = {positive_scale, positive_shift,  negative_scale,
                                           negative_shift, positive_weight, negative_weight};
  const SigmoidCall call =
      check_sigmoid("sigmoid_loss_backward", logits, targets, vectors, weight, gamma_positive, gamma_negative,
                    gamma_unknown, margin, detach_focus, ignore_unknown, reduction, 0);
  check_size("sigmoid_loss_backward", call.rows, call.classes);
  const Tensor by = check_upstream("sigmoid_loss_backward", upstream, call.logits, reduction);
  const OnDevice device(call.logits);
  const auto [grad_logits, grad_classes] = gradients_of(call, by, class_gradients);
  check_launches("sigmoid_loss_backward");
  return {grad_logits, grad_classes};
}

}  // namespace

FASTLT_CUDA_OPERATORS(m) {
  m.impl("sigmoid_loss", TORCH_BOX(&sigmoid_loss));
  m.impl("sigmoid_loss_backward", TORCH_BOX(&sigmoid_loss_backward));
}

}  // namespace fastlt::gpu
