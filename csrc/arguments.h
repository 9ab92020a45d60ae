// What callers may pass, checked once for every backend; each error names the operator and says what was expected.
#pragma once
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "sigmoid_term.h"

namespace fastlt {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Throws one line made of the parts unless the condition holds; without the source line that STD_TORCH_CHECK puts before it.
template <class... Parts>
void require(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream line;
  (line << ... << parts);
  throw std::runtime_error(line.str());
}

enum Reduction : int64_t { ROW = 0, SUM = 1, MEAN = 2 };

// The type that sums, losses and per-class values have beside inputs of this type.
inline ScalarType wide_type(ScalarType type) { return type == ScalarType::Double ? type : ScalarType::Float; }

inline bool is_floating(ScalarType type) {
  return type == ScalarType::Double || type == ScalarType::Float || type == ScalarType::BFloat16 ||
         type == ScalarType::Half;
}

// Calls with a value of the C++ type that stands for a floating type.
template <class F>
void with_type(ScalarType type, const F& call) {
  if (type == ScalarType::Double) call(double{});
  if (type == ScalarType::Float) call(float{});
  if (type == ScalarType::BFloat16) call(BFloat16{});
  if (type == ScalarType::Half) call(Half{});
}
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

// On the CPU not through the dispatcher, which takes longer than the kernel of a small batch; nothing listens down here.
inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
  constexpr size_t MOST = 2;
  int64_t strides[MOST] = {}, apart = 1;
  require(sizes.size() <= MOST, "empty: ", sizes.size(), " dimensions");
  for (size_t d = sizes.size(); d-- > 0; apart *= std::max<int64_t>(sizes.begin()[d], 1)) strides[d] = apart;
  int32_t device;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  AtenTensorHandle made;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      sizes.size(), sizes.begin(), strides, torch::stable::detail::to<int32_t>(torch::stable::detail::from(type)), device,
      like.get_device_index(), &made));
  return Tensor(made);
}
// Asks first: going through the dispatcher for nothing costs a small batch more than its kernel.
inline Tensor as_contiguous(const Tensor& x) { return x.is_contiguous() ? x : torch::stable::contiguous(x); }
// Stands for a gradient that nobody asked for, in the type that it would have had.
inline Tensor nothing(const Tensor& like, ScalarType type) { return empty(like, {0}, type); }
inline Tensor nothing(const Tensor& like) { return nothing(like, like.scalar_type()); }

inline void check_reduction(const std::string& op, int64_t reduction, int64_t gradients = 0) {
  require(reduction >= ROW && reduction <= MEAN, op, ": reduction must be 0 (row), 1 (sum) or 2 (mean), not ",
          reduction);
  require(gradients == 0 || reduction != ROW, op,
          ": gradients are made in the forward pass for a sum or a mean only, rows have their own backward");
}

// Logits or features: a floating matrix.
inline Tensor check_matrix(const std::string& op, const char* name, const Tensor& x, const char* shape) {
  require(x.dim() == 2, op, ": ", name, " must be ", shape, ", but has ", x.dim(), " dimensions");
  require(is_floating(x.scalar_type()), op, ": ", name, " must be float64, float32, bfloat16 or float16");
  return as_contiguous(x);
}

inline void check_device(const std::string& op, const char* name, const Tensor& x, const Tensor& like) {
  require(x.is_cuda() == like.is_cuda() && x.get_device_index() == like.get_device_index(), op, ": ", name,
          " is on another device than the first argument");
}

// Per-class values: [C] in the wide type.
inline Tensor check_vector(const std::string& op, const char* name, const Tensor& x, const Tensor& logits,
                           int64_t classes) {
  const bool is_double = logits.scalar_type() == ScalarType::Double;
  require(x.dim() == 1 && x.size(0) == classes, op, ": ", name, " must be [C] with C = ", classes,
          ", the columns of logits");
  require(x.scalar_type() == wide_type(logits.scalar_type()), op, ": ", name, " must be ",
          is_double ? "float64 beside float64 logits" : "float32 (float64 only beside float64 logits)");
  check_device(op, name, x, logits);
  return as_contiguous(x);
}

inline Tensor check_targets(const std::string& op, const Tensor& targets, const Tensor& logits) {
  require(targets.scalar_type() == ScalarType::Char && targets.dim() == 2 &&
          targets.size(0) == logits.size(0) && targets.size(1) == logits.size(1),
          op, ": targets must be int8 [B, C] like logits, with 1 positive, 0 negative, -1 unknown; use "
          "targets.to(torch.int8)");
  check_device(op, "targets", targets, logits);
  return as_contiguous(targets);
}

inline Tensor check_labels(const std::string& op, const Tensor& labels, const Tensor& rows) {
  require(labels.scalar_type() == ScalarType::Long && labels.dim() == 1 && labels.size(0) == rows.size(0), op,
          ": labels must be int64 [", rows.size(0), "], one for each row");
  check_device(op, "labels", labels, rows);
  return as_contiguous(labels);
}

// The gradient of the loss: a scalar for a sum or a mean, [B] for rows.
inline Tensor check_upstream(const std::string& op, const Tensor& upstream, const Tensor& rows, int64_t reduction) {
  const bool fits = reduction == ROW ? upstream.dim() == 1 && upstream.size(0) == rows.size(0) : upstream.dim() == 0;
  require(fits && upstream.scalar_type() == wide_type(rows.scalar_type()), op,
          ": upstream must have the shape and the type of the loss");
  check_device(op, "upstream", upstream, rows);
  return as_contiguous(upstream);
}

// 1 / n for a mean over n, otherwise 1.
inline double mean_factor(int64_t reduction, int64_t count) {
  return reduction == MEAN ? 1.0 / std::max<int64_t>(count, 1) : 1.0;
}

// ---- sigmoid_loss

enum ClassVector { POSITIVE_SCALE, POSITIVE_SHIFT, NEGATIVE_SCALE, NEGATIVE_SHIFT, POSITIVE_WEIGHT, NEGATIVE_WEIGHT };
constexpr int CLASS_VECTORS = 6, COMPENSATION_VECTORS = 4;

struct SigmoidCall {
  Tensor logits, targets;
  std::optional<Tensor> vectors[CLASS_VECTORS], weight;  // weight [B, C] in the wide type, or bool
  double gamma_positive, gamma_negative, gamma_unknown, margin;
  bool detach_focus, ignore_unknown;
  int64_t reduction, rows, classes;

  bool has_vectors() const {
    return std::any_of(vectors, vectors + CLASS_VECTORS, [](const auto& v) { return v.has_value(); });
  }
  double factor() const { return mean_factor(reduction, rows * classes); }
  template <class R>
  SigmoidSettings<R> settings() const {
    return {power_of<R>(gamma_positive), power_of<R>(gamma_negative), power_of<R>(gamma_unknown),
            (R)margin,                   detach_focus,                ignore_unknown};
  }
};

inline SigmoidCall check_sigmoid(const std::string& op, const Tensor& logits, const Tensor& targets,
                                 const std::optional<Tensor> (&vectors)[CLASS_VECTORS],
                                 const std::optional<Tensor>& weight, double gamma_positive, double gamma_negative,
                                 double gamma_unknown, double margin, bool detach_focus, bool ignore_unknown,
                                 int64_t reduction, int64_t gradients) {
  static const char* const names[CLASS_VECTORS] = {"positive_scale", "positive_shift",  "negative_scale",
                                                   "negative_shift", "positive_weight", "negative_weight"};
  check_reduction(op, reduction, gradients);
  require(gradients >= 0 && gradients <= 2, op, ": gradients must be 0, 1 or 2");
  for (double gamma : {gamma_positive, gamma_negative, gamma_unknown})
    require(gamma >= 0 && std::isfinite(gamma), op, ": focusing exponents must be at least 0, not ", gamma);
  require(margin >= 0 && margin < 1, op, ": margin must be at least 0 and below 1, not ", margin);
  SigmoidCall call{check_matrix(op, "logits", logits, "[B, C]"), targets,      {},           {},
          gamma_positive, gamma_negative, gamma_unknown, margin, detach_focus, ignore_unknown, reduction,
          logits.size(0), logits.size(1)};
  call.targets = check_targets(op, targets, call.logits);
  for (int k = 0; k < CLASS_VECTORS; ++k)
    if (vectors[k]) call.vectors[k] = check_vector(op, names[k], *vectors[k], call.logits, call.classes);
  if (weight) {
    const ScalarType type = weight->scalar_type();
    require(weight->dim() == 2 && weight->size(0) == call.rows && weight->size(1) == call.classes &&
                        (type == ScalarType::Bool || type == wide_type(logits.scalar_type())),
          op, ": weight must be bool or ", logits.scalar_type() == ScalarType::Double ? "float64" : "float32",
          " [B, C] like logits");
    check_device(op, "weight", *weight, call.logits);
    call.weight = as_contiguous(*weight);
  }
  return call;
}

// ---- lsep, balanced_softmax, dive

struct LsepCall {
  Tensor logits, targets;
  int64_t reduction, rows, classes;
};
inline LsepCall check_lsep(const std::string& op, const Tensor& logits, const Tensor& targets, int64_t reduction,
                           int64_t gradients) {
  check_reduction(op, reduction, gradients);
  const Tensor x = check_matrix(op, "logits", logits, "[B, C]");
  return {x, check_targets(op, targets, x), reduction, x.size(0), x.size(1)};
}

struct SoftmaxCall {
  Tensor logits, labels, log_prior;
  std::optional<Tensor> teacher;                      // dive only, in the type of logits here
  double temperature = 1, power = 1, alpha = 0;       // dive only
  int64_t reduction, rows, classes;
};
inline SoftmaxCall check_softmax(const std::string& op, const Tensor& logits, const Tensor& labels,
                                 const Tensor& log_prior, int64_t reduction, int64_t gradients) {
  check_reduction(op, reduction, gradients);
  const Tensor x = check_matrix(op, "logits", logits, "[B, C]");
  require(x.size(1) > 0, op, ": logits must have at least one class");
  SoftmaxCall call{x, check_labels(op, labels, x), check_vector(op, "log_prior", log_prior, x, x.size(1))};
  call.reduction = reduction, call.rows = x.size(0), call.classes = x.size(1);
  return call;
}
inline SoftmaxCall check_dive(const std::string& op, const Tensor& logits, const Tensor& teacher, const Tensor& labels,
                              const Tensor& log_prior, double temperature, double power, double alpha,
                              int64_t reduction, int64_t gradients) {
  SoftmaxCall call = check_softmax(op, logits, labels, log_prior, reduction, gradients);
  const Tensor t = check_matrix(op, "teacher_logits", teacher, "[B, C]");
  require(t.size(0) == call.rows && t.size(1) == call.classes, op,
          ": teacher_logits must have the shape of logits");
  check_device(op, "teacher_logits", t, call.logits);
  require(temperature > 0 && std::isfinite(temperature), op, ": temperature must be above 0, not ", temperature);
  require(power > 0 && std::isfinite(power), op, ": power must be above 0, not ", power);
  require(alpha >= 0 && alpha <= 1, op, ": alpha must be from 0 to 1, not ", alpha);
  call.teacher = t;
  if (t.scalar_type() != call.logits.scalar_type()) {  // both are read in the type of the loss
    call.teacher = torch::stable::to(t, wide_type(logits.scalar_type()));
    call.logits = torch::stable::to(call.logits, wide_type(logits.scalar_type()));
  }
  call.temperature = temperature, call.power = power, call.alpha = alpha;
  return call;
}

// A gradient that was made in a wider type, in that of its input.
inline Tensor as_type_of(const Tensor& input, const Tensor& gradient) {
  return gradient.scalar_type() == input.scalar_type() ? gradient
                                                       : torch::stable::to(gradient, input.scalar_type());
}

// ---- contrastive

struct ContrastiveCall {
  Tensor features, labels;
  std::optional<Tensor> prototypes;                   // prototype_contrastive only
  double temperature;
  bool positive_in_denominator;
  int64_t reduction, rows, dims;
};
inline ContrastiveCall check_contrastive(const std::string& op, const Tensor& features,
                                         const std::optional<Tensor>& prototypes, const Tensor& labels,
                                         double temperature, bool positive_in_denominator, int64_t reduction,
                                         int64_t gradients) {
  check_reduction(op, reduction, gradients);
  const Tensor f = check_matrix(op, "features", features, "[B, D]");
  require(temperature > 0 && std::isfinite(temperature), op, ": temperature must be above 0, not ", temperature);
  ContrastiveCall call{f, check_labels(op, labels, f), {}, temperature, positive_in_denominator, reduction, f.size(0),
                       f.size(1)};
  if (!prototypes) return call;
  const Tensor p = check_matrix(op, "prototypes", *prototypes, "[C, D]");
  check_device(op, "prototypes", p, f);
  require(p.size(1) == call.dims, op, ": prototypes must be [C, ", call.dims, "] as features are [B, ",
          call.dims, "]");
  require(p.size(0) >= (positive_in_denominator ? 1 : 2), op,
          positive_in_denominator ? ": there are no prototypes"
                                          : ": without the positive in the denominator at least two classes are needed");
  call.prototypes = p;
  return call;
}

}  // namespace fastlt
