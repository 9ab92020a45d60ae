// lsep, balanced_softmax and dive on CUDA.
#include "softmax.cuh"

#include "device.h"
#include "lsep.cuh"
#include "reduce_rows.h"

namespace fastlt::gpu {
namespace {

using Optional = std::optional<Tensor>;

template <class T>
LsepInput<T> input_of(const LsepCall& call) {
  return {input<T>(call.logits), input<int8_t>(call.targets), call.rows, int(call.classes)};
}
template <class T>
SoftmaxInput<T> input_of(const SoftmaxCall& call) {
  using R = Wide<T>;
  return {input<T>(call.logits),    input<T>(call.teacher), input<int64_t>(call.labels), input<R>(call.log_prior),
          R(call.temperature),      R(call.power),          R(call.alpha),               call.rows,
          int(call.classes)};
}

template <class T>
void launch(const LsepInput<T>& in, const Upstream<Wide<T>>& by, Wide<T>* loss, T* grad, cudaStream_t stream) {
  launch_lsep(in, by, loss, grad, stream);
}
template <class T>
void launch(const SoftmaxInput<T>& in, const Upstream<Wide<T>>& by, Wide<T>* loss, T* grad, cudaStream_t stream) {
  launch_softmax(in, by, loss, grad, stream);
}

template <class Call>
Tensor loss_of(const Call& call) {
  const ScalarType wide = wide_type(call.logits.scalar_type());
  const double factor = mean_factor(call.reduction, call.rows);
  if (call.rows == 0 || call.classes == 0)
    return reduced_rows(zeros(call.logits, {call.rows}, wide), call.reduction, factor);
  const Tensor rows = empty(call.logits, {call.rows}, wide);
  with_type(call.logits.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    launch<T>(input_of<T>(call), unit_upstream<Wide<T>>(1), output<Wide<T>>(rows), nullptr, stream_of(rows));
  });
  return reduced_rows(rows, call.reduction, factor);
}

// Without an upstream gradient: of the loss itself.
template <class Call>
Tensor gradient_of(const Call& call, const Optional& upstream) {
  const Tensor grad_logits = empty(call.logits, {call.rows, call.classes}, call.logits.scalar_type());
  if (call.rows == 0 || call.classes == 0) return grad_logits;
  const double factor = mean_factor(call.reduction, call.rows);
  with_type(call.logits.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using R = Wide<T>;
    const Upstream<R> by = upstream ? upstream_of<R>(*upstream, factor) : unit_upstream<R>(factor);
    launch<T>(input_of<T>(call), by, nullptr, output<T>(grad_logits), stream_of(grad_logits));
  });
  return grad_logits;
}

template <class Call>
std::tuple<Tensor, Tensor> forward(const char* op, const Call& call, int64_t gradients) {
  check_size(op, call.rows, call.classes);
  const OnDevice device(call.logits);
  const Tensor loss = loss_of(call);
  const Tensor gradient = gradients > 0 ? gradient_of(call, {}) : nothing(call.logits);
  check_launches(op);
  return {loss, gradient};
}
template <class Call>
Tensor backward(const char* op, const Call& call, const Tensor& upstream) {
  check_size(op, call.rows, call.classes);
  const Tensor by = check_upstream(op, upstream, call.logits, call.reduction);
  const OnDevice device(call.logits);
  const Tensor gradient = gradient_of(call, by);
  check_launches(op);
  return gradient;
}

std::tuple<Tensor, Tensor> lsep(const Tensor& logits, const Tensor& targets, int64_t reduction, int64_t gradients) {
  return forward("lsep", check_lsep("lsep", logits, targets, reduction, gradients), gradients);
}
Tensor lsep_backward(const Tensor& upstream, const Tensor& logits, const Tensor& targets, int64_t reduction) {
  return backward("lsep_backward", check_lsep("lsep_backward", logits, targets, reduction, 0), upstream);
}

std::tuple<Tensor, Tensor> balanced_softmax(const Tensor& logits, const Tensor& labels, const Tensor& log_prior,
                                            int64_t reduction, int64_t gradients) {
  const char* const op = "balanced_softmax";
  return forward(op, check_softmax(op, logits, labels, log_prior, reduction, gradients), gradients);
}
Tensor balanced_softmax_backward(const Tensor& upstream, const Tensor& logits, const Tensor& labels,
                                 const Tensor& log_prior, int64_t reduction) {
  const char* const op = "balanced_softmax_backward";
  return backward(op, check_softmax(op, logits, labels, log_prior, reduction, 0), upstream);
}

std::tuple<Tensor, Tensor> dive(const Tensor& logits, const Tensor& teacher_logits, const Tensor& labels,
                                const Tensor& log_prior, double temperature, double power, double alpha,
                                int64_t reduction, int64_t gradients) {
  const char* const op = "dive";
  const SoftmaxCall call =
      check_dive(op, logits, teacher_logits, labels, log_prior, temperature, power, alpha, reduction, gradients);
  const auto [loss, gradient] = forward(op, call, gradients);
  return {loss, as_type_of(logits, gradient)};
}
Tensor dive_backward(const Tensor& upstream, const Tensor& logits, const Tensor& teacher_logits, const Tensor& labels,
                     const Tensor& log_prior, double temperature, double power, double alpha, int64_t reduction) {
  const char* const op = "dive_backward";
  const SoftmaxCall call =
      check_dive(op, logits, teacher_logits, labels, log_prior, temperature, power, alpha, reduction, 0);
  return as_type_of(logits, backward(op, call, upstream));
}

}  // namespace

FASTLT_CUDA_OPERATORS(m) {
  m.impl("lsep", TORCH_BOX(&lsep));
  m.impl("lsep_backward", TORCH_BOX(&lsep_backward));
  m.impl("balanced_softmax", TORCH_BOX(&balanced_softmax));
  m.impl("balanced_softmax_backward", TORCH_BOX(&balanced_softmax_backward));
  m.impl("dive", TORCH_BOX(&dive));
  m.impl("dive_backward", TORCH_BOX(&dive_backward));
}

}  // namespace fastlt::gpu
