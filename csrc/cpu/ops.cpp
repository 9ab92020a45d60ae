// The operators on the CPU: arguments, threads and sums around the kernels.
//
// Work is split by shape alone and partial sums are added in order, so the bits do not depend on the number of threads.
#include <array>
#include <atomic>
#include <limits>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "../contrastive.h"
#include "kernels.h"
#include "parts.h"
#include "pictures.h"

namespace fastlt {
namespace {

// ---- which kernels

const Kernels* const AVAILABLE[] = {
    &kernels_baseline,
#if FASTLT_X86
    &kernels_avx2,
    &kernels_avx512,
#endif
};

int best_instruction_set() {
#if FASTLT_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) return 1;
#endif
  return 0;
}
std::atomic<int>& chosen_instruction_set() {
  static std::atomic<int> in_use{best_instruction_set()};
  return in_use;
}
const Kernels& kernels() { return *AVAILABLE[chosen_instruction_set()]; }

int64_t instruction_set(int64_t wanted) {
  if (wanted >= 0 && wanted <= best_instruction_set()) chosen_instruction_set() = (int)wanted;
  return chosen_instruction_set();
}

// ---- splitting and adding up

// Below this a thread costs more than it saves: entries with a formula each, and entries that are copied or added.
constexpr int64_t ENTRIES_A_THREAD = 1 << 13, COPIES_A_THREAD = 1 << 15, ROWS_A_BLOCK = 64;

template <class F>
void over_rows(int64_t rows, int64_t columns, const F& call, int64_t entries_a_thread = ENTRIES_A_THREAD) {
  const int64_t least = std::max<int64_t>(1, entries_a_thread / std::max<int64_t>(columns, 1));
  over_parts(rows, std::max(least, rows / PARTS), call);
}

Scaling scaling_of(const std::optional<Tensor>& upstream, double factor) {
  if (!upstream) return {nullptr, 0, factor};
  return {upstream->const_data_ptr(), upstream->dim() == 0 ? 0 : 1, factor};
}

template <class R>
Tensor loss_of(const std::vector<double>& rows, const Tensor& like, int64_t reduction, double factor) {
  const auto type = wide_type(like.scalar_type());
  if (reduction == ROW) {
    Tensor out = empty(like, {(int64_t)rows.size()}, type);
    std::copy(rows.begin(), rows.end(), static_cast<R*>(out.mutable_data_ptr()));
    return out;
  }
  double sum = 0;
  for (double row : rows) sum += row;
  Tensor out = empty(like, {}, type);
  *static_cast<R*>(out.mutable_data_ptr()) = (R)(sum * factor);
  return out;
}
Tensor loss_of(const std::vector<double>& rows, const Tensor& like, int64_t reduction, double factor) {
  const bool is_double = like.scalar_type() == ScalarType::Double;
  return is_double ? loss_of<double>(rows, like, reduction, factor) : loss_of<float>(rows, like, reduction, factor);
}

template <class Call>
Tensor gradient_or_nothing(const Call& call, bool gradient) {
  return gradient ? empty(call.logits, {call.rows, call.classes}, call.logits.scalar_type()) : nothing(call.logits);
}

// ---- sigmoid_loss

struct SigmoidResult {
  Tensor loss, grad_logits, grad_classes;
};

// The class vectors, with ones for scales and weights that are absent and zeros for shifts. It must not outlive the call.
template <class R>
class ClassVectors {
 public:
  explicit ClassVectors(const SigmoidCall& call) {
    for (int k = 0; k < CLASS_VECTORS; ++k) {
      const bool is_shift = k == POSITIVE_SHIFT || k == NEGATIVE_SHIFT;
      if (call.vectors[k]) values_[k] = static_cast<const R*>(call.vectors[k]->const_data_ptr());
      else values_[k] = is_shift ? filled(zeros_, call.classes, R(0)) : filled(ones_, call.classes, R(1));
    }
  }
  ClassVectors(const ClassVectors&) = delete;
  const R* operator[](int k) const { return values_[k]; }

 private:
  static const R* filled(std::vector<R>& vector, int64_t count, R value) {
    if (vector.empty()) vector.assign(count, value);
    return vector.data();
  }
  const R* values_[CLASS_VECTORS];
  std::vector<R> zeros_, ones_;
};

// Each block of rows has class sums of its own; they are added in the order of the blocks.
template <class R>
Tensor sum_of_blocks(const R* blocks, const SigmoidCall& call, int64_t count) {
  const int64_t step = padded(call.classes), size = COMPENSATION_VECTORS * step;
  Tensor out = empty(call.logits, {COMPENSATION_VECTORS, call.classes}, wide_type(call.logits.scalar_type()));
  R* sums = static_cast<R*>(out.mutable_data_ptr());
  const auto add = [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      R* sum = sums + k * call.classes;
      std::fill_n(sum, call.classes, R(0));
      for (int64_t b = 0; b < count; ++b)
        for (int64_t c = 0; c < call.classes; ++c) sum[c] += blocks[b * size + k * step + c];
    }
  };
  over_rows(COMPENSATION_VECTORS, count * call.classes, add, COPIES_A_THREAD);
  return out;
}

template <class R>
SigmoidResult run_sigmoid(const SigmoidCall& call, const std::optional<Tensor>& upstream, bool logits_gradient,
                          bool class_gradients) {
  const ScalarType wide = wide_type(call.logits.scalar_type());
  std::vector<double> row_loss(call.rows);
  const bool with_vectors = call.has_vectors() || class_gradients;
  std::optional<ClassVectors<R>> vectors;
  SigmoidRows rows{};
  rows.logits = call.logits.const_data_ptr(), rows.targets = call.targets.const_data_ptr<int8_t>();
  if (with_vectors) {
    vectors.emplace(call);
    for (int k = 0; k < CLASS_VECTORS; ++k) rows.vectors[k] = (*vectors)[k];
  }
  if (call.weight) {
    rows.weight = call.weight->const_data_ptr();
    rows.weight_is_bytes = call.weight->scalar_type() == ScalarType::Bool;
  }
  rows.gammas[0] = call.gamma_positive, rows.gammas[1] = call.gamma_negative, rows.gammas[2] = call.gamma_unknown;
  rows.margin = call.margin, rows.detach_focus = call.detach_focus, rows.ignore_unknown = call.ignore_unknown;
  rows.classes = call.classes, rows.scaling = scaling_of(upstream, call.factor()), rows.row_loss = row_loss.data();
  const Tensor grad_logits = gradient_or_nothing(call, logits_gradient);
  if (logits_gradient) rows.grad_logits = grad_logits.mutable_data_ptr();
  std::optional<Tensor> grad_classes;
  const auto kernel = kernels().sigmoid[storage_of(call.logits.scalar_type())];
  if (class_gradients) {
    const int64_t blocks = (call.rows + ROWS_A_BLOCK - 1) / ROWS_A_BLOCK;
    const int64_t size = COMPENSATION_VECTORS * padded(call.classes);
    const Buffer<R> sums(blocks * size);
    over_parts(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        R* own = sums.data() + b * size;
        std::fill_n(own, size, R(0));
        kernel(rows, b * ROWS_A_BLOCK, std::min((b + 1) * ROWS_A_BLOCK, call.rows), own);
      }
    });
    grad_classes = sum_of_blocks(sums.data(), call, blocks);
  } else {
    over_rows(call.rows, call.classes, [&](int64_t begin, int64_t end) { kernel(rows, begin, end, nullptr); });
  }
  return {upstream ? nothing(call.logits, wide) : loss_of(row_loss, call.logits, call.reduction, call.factor()),
          grad_logits, grad_classes ? *grad_classes : nothing(call.logits, wide)};
}
SigmoidResult run_sigmoid(const SigmoidCall& call, const std::optional<Tensor>& upstream, bool logits_gradient,
                          bool class_gradients) {
  const bool is_double = call.logits.scalar_type() == ScalarType::Double;
  return (is_double ? run_sigmoid<double> : run_sigmoid<float>)(call, upstream, logits_gradient, class_gradients);
}

std::tuple<Tensor, Tensor, Tensor> sigmoid_loss(
    const Tensor& logits, const Tensor& targets, std::optional<Tensor> positive_scale,
    std::optional<Tensor> positive_shift, std::optional<Tensor> negative_scale, std::optional<Tensor> negative_shift,
    std::optional<Tensor> positive_weight, std::optional<Tensor> negative_weight, std::optional<Tensor> weight,
    double gamma_positive, double gamma_negative, double gamma_unknown, double margin, bool detach_focus,
    bool ignore_unknown, int64_t reduction, int64_t gradients) {
  const SigmoidCall call = check_sigmoid(
      "sigmoid_loss", logits, targets,
      {positive_scale, positive_shift, negative_scale, negative_shift, positive_weight, negative_weight}, weight,
      gamma_positive, gamma_negative, gamma_unknown, margin, detach_focus, ignore_unknown, reduction, gradients);
  const SigmoidResult r = run_sigmoid(call, {}, gradients >= 1, gradients == 2);
  return {r.loss, r.grad_logits, r.grad_classes};
}

std::tuple<Tensor, Tensor> sigmoid_loss_backward(
    const Tensor& upstream, const Tensor& logits, const Tensor& targets, std::optional<Tensor> positive_scale,
    std::optional<Tensor> positive_shift, std::optional<Tensor> negative_scale, std::optional<Tensor> negative_shift,
    std::optional<Tensor> positive_weight, std::optional<Tensor> negative_weight, std::optional<Tensor> weight,
    double gamma_positive, double gamma_negative, double gamma_unknown, double margin, bool detach_focus,
    bool ignore_unknown, int64_t reduction, bool class_gradients) {
  const char* const op = "sigmoid_loss_backward";
  const SigmoidCall call = check_sigmoid(
      op, logits, targets,
      {positive_scale, positive_shift, negative_scale, negative_shift, positive_weight, negative_weight}, weight,
      gamma_positive, gamma_negative, gamma_unknown, margin, detach_focus, ignore_unknown, reduction, 0);
  const SigmoidResult r = run_sigmoid(call, check_upstream(op, upstream, logits, reduction), true, class_gradients);
  return {r.grad_logits, r.grad_classes};
}

// ---- lsep, balanced_softmax, dive

struct RowResult {
  Tensor loss, grad_logits;
};

// Runs a kernel that works row by row with scratch rows of its own.
template <class Rows, class Call>
RowResult run_rows(void (*kernel)(const Rows&, int64_t, int64_t, void*), Rows rows, const Call& call,
                   int64_t scratch_rows, const std::optional<Tensor>& upstream, bool gradient) {
  std::vector<double> row_loss(call.rows);
  const double factor = mean_factor(call.reduction, call.rows);
  rows.logits = call.logits.const_data_ptr(), rows.classes = call.classes;
  rows.scaling = scaling_of(upstream, factor), rows.row_loss = row_loss.data();
  const Tensor grad_logits = gradient_or_nothing(call, gradient);
  if (gradient) rows.grad_logits = grad_logits.mutable_data_ptr();
  over_rows(call.rows, scratch_rows * call.classes, [&](int64_t begin, int64_t end) {
    std::vector<double> scratch(scratch_rows * padded(call.classes));  // wide enough for either type
    kernel(rows, begin, end, scratch.data());
  });
  return {upstream ? nothing(call.logits, wide_type(call.logits.scalar_type()))
                   : loss_of(row_loss, call.logits, call.reduction, factor),
          grad_logits};
}

RowResult run_lsep(const LsepCall& call, const std::optional<Tensor>& upstream, bool gradient) {
  LsepRows rows{};
  rows.targets = call.targets.const_data_ptr<int8_t>();
  return run_rows(kernels().lsep[storage_of(call.logits.scalar_type())], rows, call, 1, upstream, gradient);
}
std::tuple<Tensor, Tensor> lsep(const Tensor& logits, const Tensor& targets, int64_t reduction, int64_t gradients) {
  const RowResult r = run_lsep(check_lsep("lsep", logits, targets, reduction, gradients), {}, gradients);
  return {r.loss, r.grad_logits};
}
Tensor lsep_backward(const Tensor& upstream, const Tensor& logits, const Tensor& targets, int64_t reduction) {
  const LsepCall call = check_lsep("lsep_backward", logits, targets, reduction, 0);
  return run_lsep(call, check_upstream("lsep_backward", upstream, logits, reduction), true).grad_logits;
}

void check_range(const std::string& op, const Tensor& labels, int64_t classes) {
  const int64_t* values = labels.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < labels.size(0); ++i)
    require(values[i] >= 0 && values[i] < classes, op, ": label ", values[i], " of row ", i,
                    " is not a class: they go from 0 to ", classes - 1);
}

template <class R>
RowResult run_softmax(const SoftmaxCall& call, const std::optional<Tensor>& upstream, bool gradient) {
  const R* prior = static_cast<const R*>(call.log_prior.const_data_ptr());
  std::vector<R> padded_prior(padded(call.classes), -std::numeric_limits<R>::infinity());
  std::copy_n(prior, call.classes, padded_prior.begin());
  SoftmaxRows rows{};
  rows.labels = call.labels.const_data_ptr<int64_t>(), rows.log_prior = padded_prior.data();
  if (call.teacher) rows.teacher = call.teacher->const_data_ptr();
  rows.temperature = call.temperature, rows.power = call.power, rows.alpha = call.alpha;
  const auto kernel = kernels().softmax[storage_of(call.logits.scalar_type())];
  return run_rows(kernel, rows, call, 3, upstream, gradient);
}
RowResult run_softmax(const std::string& op, const SoftmaxCall& call, const std::optional<Tensor>& upstream,
                      bool gradient) {
  check_range(op, call.labels, call.classes);
  const bool is_double = call.logits.scalar_type() == ScalarType::Double;
  return (is_double ? run_softmax<double> : run_softmax<float>)(call, upstream, gradient);
}
std::tuple<Tensor, Tensor> balanced_softmax(const Tensor& logits, const Tensor& labels, const Tensor& log_prior,
                                            int64_t reduction, int64_t gradients) {
  const char* const op = "balanced_softmax";
  const SoftmaxCall call = check_softmax(op, logits, labels, log_prior, reduction, gradients);
  const RowResult r = run_softmax(op, call, {}, gradients);
  return {r.loss, r.grad_logits};
}
Tensor balanced_softmax_backward(const Tensor& upstream, const Tensor& logits, const Tensor& labels,
                                 const Tensor& log_prior, int64_t reduction) {
  const char* const op = "balanced_softmax_backward";
  const SoftmaxCall call = check_softmax(op, logits, labels, log_prior, reduction, 0);
  return run_softmax(op, call, check_upstream(op, upstream, logits, reduction), true).grad_logits;
}
std::tuple<Tensor, Tensor> dive(const Tensor& logits, const Tensor& teacher, const Tensor& labels,
                                const Tensor& log_prior, double temperature, double power, double alpha,
                                int64_t reduction, int64_t gradients) {
  const SoftmaxCall call =
      check_dive("dive", logits, teacher, labels, log_prior, temperature, power, alpha, reduction, gradients);
  const RowResult r = run_softmax("dive", call, {}, gradients);
  return {r.loss, as_type_of(logits, r.grad_logits)};
}
Tensor dive_backward(const Tensor& upstream, const Tensor& logits, const Tensor& teacher, const Tensor& labels,
                     const Tensor& log_prior, double temperature, double power, double alpha, int64_t reduction) {
  const char* const op = "dive_backward";
  const SoftmaxCall call = check_dive(op, logits, teacher, labels, log_prior, temperature, power, alpha, reduction, 0);
  const RowResult r = run_softmax(op, call, check_upstream(op, upstream, logits, reduction), true);
  return as_type_of(logits, r.grad_logits);
}

// ---- contrastive losses

template <class R, class T>
R dot(const R* a, const T* b, int64_t n) {
  R parts[8] = {};
  int64_t k = 0;
  for (; k + 8 <= n; k += 8)
    for (int p = 0; p < 8; ++p) parts[p] += a[k + p] * (R)b[k + p];
  for (; k < n; ++k) parts[k % 8] += a[k] * (R)b[k];
  return ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7]));
}

template <class R, class T>
R norm(const T* x, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < n; ++k) sum += (double)(R)x[k] * (double)(R)x[k];
  return (R)std::sqrt(sum);
}

// 0 for a zero vector, and for one that is shorter than numbers go.
template <class R>
R inverse_of(R length) {
  return length < 4 * std::numeric_limits<R>::min() ? 0 : 1 / length;
}

// Labels as the kernels compare them; any int64 will do, so each different one gets a number.
std::vector<int32_t> numbered_labels(const Tensor& labels) {
  const int64_t count = labels.size(0);
  const int64_t* values = labels.const_data_ptr<int64_t>();
  std::unordered_map<int64_t, int32_t> number;
  std::vector<int32_t> out(count);
  for (int64_t i = 0; i < count; ++i) out[i] = number.try_emplace(values[i], (int32_t)number.size()).first->second;
  return out;
}

struct CpuBackend {
  static constexpr int64_t TILE_BYTES = 1 << 21;

  static void normalise(const Tensor& x, const Tensor& unit) {
    with_type(x.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      using R = Wide<T>;
      const int64_t dims = x.size(1);
      const T* from = static_cast<const T*>(x.const_data_ptr());
      R* to = static_cast<R*>(unit.mutable_data_ptr());
      over_rows(x.size(0), dims, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const R inverse = inverse_of(norm<R>(from + i * dims, dims));
          for (int64_t k = 0; k < dims; ++k) to[i * dims + k] = (R)from[i * dims + k] * inverse;
        }
      });
    });
  }

  static void inverse_norms(const Tensor& x, double factor, const Tensor& inverse) {
    with_type(x.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      using R = Wide<T>;
      const int64_t dims = x.size(1);
      const T* from = static_cast<const T*>(x.const_data_ptr());
      R* to = static_cast<R*>(inverse.mutable_data_ptr());
      over_rows(x.size(0), dims, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          to[i] = (R)factor * inverse_of(norm<R>(from + i * dims, dims));
        }
      });
    });
  }

  static void prototype_rows(const ContrastiveCall& call, const Tensor& tile, const Tensor& scale, const Pass& pass) {
    const int64_t* classes = call.labels.const_data_ptr<int64_t>() + pass.first;
    const std::vector<int32_t> labels(classes, classes + tile.size(0));  // checked to be below C
    ContrastiveRows rows = rows_of_pass(call, tile, pass, pass.factor);
    rows.labels = labels.data(), rows.scale = scale.const_data_ptr();
    run(kernels().prototype, tile, rows, pass);
  }

  static void supervised_rows(const ContrastiveCall& call, const Tensor& tile, const Pass& pass) {
    const std::vector<int32_t> labels = numbered_labels(call.labels);
    ContrastiveRows rows = rows_of_pass(call, tile, pass, factor_of(pass));
    rows.labels = labels.data();
    run(kernels().supervised, tile, rows, pass);
  }

  static void project(const Tensor& x, const Tensor& g, bool over_norm, const Tensor& out) {
    with_type(x.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      g.scalar_type() == ScalarType::Double ? project_rows<T, double>(x, g, over_norm, out)
                                            : project_rows<T, float>(x, g, over_norm, out);
    });
  }

  static void mean_over_anchors(const ContrastiveCall& call, const Tensor& factor) {
    const std::vector<int32_t> labels = numbered_labels(call.labels);
    std::vector<int64_t> count(call.rows);
    for (int64_t i = 0; i < call.rows; ++i) ++count[labels[i]];
    int64_t anchors = 0;
    for (int64_t images : count) anchors += images > 1 ? images : 0;
    write(factor, mean_factor(MEAN, anchors));
  }

  static void sum(const Tensor& rows, const Pass& pass, const Tensor& out) {
    double sum = 0;
    for (int64_t i = 0; i < rows.size(0); ++i) sum += read(rows, i);
    write(out, sum * factor_of(pass));
  }

 private:
  static double read(const Tensor& x, int64_t at = 0) {
    return x.scalar_type() == ScalarType::Double ? x.const_data_ptr<double>()[at] : x.const_data_ptr<float>()[at];
  }
  static void write(const Tensor& x, double value) {
    if (x.scalar_type() == ScalarType::Double) *x.mutable_data_ptr<double>() = value;
    else *x.mutable_data_ptr<float>() = (float)value;
  }
  static double factor_of(const Pass& pass) { return pass.device_factor ? read(*pass.device_factor) : pass.factor; }

  static ContrastiveRows rows_of_pass(const ContrastiveCall& call, const Tensor& tile, const Pass& pass, double factor) {
    ContrastiveRows rows{};
    rows.tile = tile.mutable_data_ptr(), rows.columns = tile.size(1), rows.first = pass.first;
    rows.temperature = call.temperature, rows.positive_in_denominator = call.positive_in_denominator;
    rows.gradient = pass.gradient, rows.scaling = scaling_of(pass.upstream, factor);
    return rows;
  }

  // Losses come as doubles of the tile's rows, and are written where the caller wants them.
  static void run(void (*const (&kernel)[2])(const ContrastiveRows&, int64_t, int64_t), const Tensor& tile,
                  ContrastiveRows rows, const Pass& pass) {
    const bool is_double = tile.scalar_type() == ScalarType::Double;
    std::vector<double> row_loss(tile.size(0));
    rows.row_loss = row_loss.data();
    over_rows(tile.size(0), tile.size(1),
              [&](int64_t begin, int64_t end) { kernel[is_double](rows, begin, end); });
    for (int64_t i = 0; pass.loss && i < tile.size(0); ++i)
      if (is_double) pass.loss->mutable_data_ptr<double>()[pass.first + i] = row_loss[i];
      else pass.loss->mutable_data_ptr<float>()[pass.first + i] = (float)row_loss[i];
  }

  template <class T, class R>
  static void project_rows(const Tensor& x, const Tensor& g, bool over_norm, const Tensor& out) {
    const int64_t dims = x.size(1);
    const T* from = static_cast<const T*>(x.const_data_ptr());
    const R* gradient = static_cast<const R*>(g.const_data_ptr());
    T* to = static_cast<T*>(out.mutable_data_ptr());  // may be g itself: each value is read before it is written
    over_rows(x.size(0), dims, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const R inverse = inverse_of(norm<R>(from + i * dims, dims));
        const R along = dot(gradient + i * dims, from + i * dims, dims) * inverse * inverse;
        const R scale = over_norm || inverse == 0 ? inverse : R(1);
        for (int64_t k = 0; k < dims; ++k)
          to[i * dims + k] = static_cast<T>((gradient[i * dims + k] - along * (R)from[i * dims + k]) * scale);
      }
    });
  }
};

ContrastiveCall check_prototype(const std::string& op, const Tensor& features, const Tensor& prototypes,
                                const Tensor& labels, double temperature, bool positive_in_denominator,
                                int64_t reduction, int64_t gradients) {
  const ContrastiveCall call = check_contrastive(op, features, prototypes, labels, temperature,
                                                 positive_in_denominator, reduction, gradients);
  check_range(op, call.labels, call.prototypes->size(0));
  return call;
}
std::tuple<Tensor, Tensor, Tensor> prototype_contrastive(const Tensor& features, const Tensor& prototypes,
                                                         const Tensor& labels, double temperature,
                                                         bool positive_in_denominator, int64_t reduction,
                                                         int64_t gradients) {
  const ContrastiveCall call = check_prototype("prototype_contrastive", features, prototypes, labels, temperature,
                                               positive_in_denominator, reduction, gradients);
  const ContrastiveResult r = run_prototype<CpuBackend>(call, {}, gradients);
  return {r.loss, r.grad_features, r.grad_prototypes};
}
std::tuple<Tensor, Tensor> prototype_contrastive_backward(const Tensor& upstream, const Tensor& features,
                                                          const Tensor& prototypes, const Tensor& labels,
                                                          double temperature, bool positive_in_denominator,
                                                          int64_t reduction) {
  const char* const op = "prototype_contrastive_backward";
  const ContrastiveCall call =
      check_prototype(op, features, prototypes, labels, temperature, positive_in_denominator, reduction, 0);
  const ContrastiveResult r =
      run_prototype<CpuBackend>(call, check_upstream(op, upstream, features, reduction), true);
  return {r.grad_features, r.grad_prototypes};
}

std::tuple<Tensor, Tensor> supervised_contrastive(const Tensor& features, const Tensor& labels, double temperature,
                                                  int64_t reduction, int64_t gradients) {
  const ContrastiveCall call =
      check_contrastive("supervised_contrastive", features, {}, labels, temperature, true, reduction, gradients);
  const ContrastiveResult r = run_supervised<CpuBackend>(call, {}, gradients);
  return {r.loss, r.grad_features};
}
Tensor supervised_contrastive_backward(const Tensor& upstream, const Tensor& features, const Tensor& labels,
                                       double temperature, int64_t reduction) {
  const char* const op = "supervised_contrastive_backward";
  const ContrastiveCall call = check_contrastive(op, features, {}, labels, temperature, true, reduction, 0);
  return run_supervised<CpuBackend>(call, check_upstream(op, upstream, features, reduction), true)
      .grad_features;
}

}  // namespace

int instruction_set_in_use() { return chosen_instruction_set(); }

}  // namespace fastlt

STABLE_TORCH_LIBRARY_IMPL(fastlt, CPU, m) {
  m.impl("sigmoid_loss", TORCH_BOX(&fastlt::sigmoid_loss));
  m.impl("sigmoid_loss_backward", TORCH_BOX(&fastlt::sigmoid_loss_backward));
  m.impl("lsep", TORCH_BOX(&fastlt::lsep));
  m.impl("lsep_backward", TORCH_BOX(&fastlt::lsep_backward));
  m.impl("balanced_softmax", TORCH_BOX(&fastlt::balanced_softmax));
  m.impl("balanced_softmax_backward", TORCH_BOX(&fastlt::balanced_softmax_backward));
  m.impl("dive", TORCH_BOX(&fastlt::dive));
  m.impl("dive_backward", TORCH_BOX(&fastlt::dive_backward));
  m.impl("prototype_contrastive", TORCH_BOX(&fastlt::prototype_contrastive));
  m.impl("prototype_contrastive_backward", TORCH_BOX(&fastlt::prototype_contrastive_backward));
  m.impl("supervised_contrastive", TORCH_BOX(&fastlt::supervised_contrastive));
  m.impl("supervised_contrastive_backward", TORCH_BOX(&fastlt::supervised_contrastive_backward));
}
STABLE_TORCH_LIBRARY_IMPL(fastlt, CompositeExplicitAutograd, m) {
  m.impl("instruction_set", TORCH_BOX(&fastlt::instruction_set));
}
