// batch_norm_relu: the batch norm of training, a residual and the ReLU behind it, and their gradients (Ioffe and Szegedy,
// "Batch Normalization", 2015, section 3).
//
// Memory is what these take their time for. Channels-last values are seen as rows of a multiple of both C and NORM_COLUMNS
// values, so that one loop over whole vectors serves any number of channels; what each column found is added up for its
// channel at the end, in double.
#include <cmath>
#include <numeric>
#include <tuple>
#include <vector>

#include "norm.h"
#include "parts.h"
#include "pictures.h"

namespace fastlt {
namespace {

const NormKernels* const AVAILABLE[] = {
    &norm_kernels_baseline,
#if FASTLT_X86
    &norm_kernels_avx2,
    &norm_kernels_avx512,
#endif
};
const NormKernels& kernels() { return *AVAILABLE[instruction_set_in_use()]; }

// A chunk's sums are made in float for anything but double: few enough rows for that. What is read twice stays in a cache,
// but where C and NORM_COLUMNS have few factors in common and rows get long.
constexpr int64_t LEAST_ROWS = 64, MOST_ROWS = 256, CHUNK = 1 << 15;

struct Layout {
  int64_t channels, values, stride, chunk, chunks;

  explicit Layout(const Tensor& x) : channels(x.size(1)), values(x.numel()) {
    stride = std::lcm(channels, NORM_COLUMNS);
    chunk = stride * std::clamp(CHUNK / stride, LEAST_ROWS, MOST_ROWS);
    chunks = (values + chunk - 1) / chunk;
  }
  int64_t part() const { return (chunks + PARTS - 1) / PARTS; }  // chunks
  int64_t parts() const { return (chunks + part() - 1) / part(); }
  double each() const { return (double)(values / channels); }  // values of a channel

  // Calls with the first and behind the last value of every chunk, on any thread.
  template <class F>
  void over_chunks(const F& call) const {
    over_parts(chunks, part(), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) call(k * chunk, std::min((k + 1) * chunk, values));
    });
  }
  // Calls with a part's number and with the first value, the rows and the columns of all its blocks, in order: chunks,
  // and what the last one has beyond whole rows.
  template <class F>
  void over_blocks(const F& call) const {
    over_parts(parts(), 1, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p)
        for (int64_t k = p * part(); k < std::min((p + 1) * part(), chunks); ++k) {
          const int64_t begin = k * chunk, count = std::min(chunk, values - begin), rows = count / stride;
          if (rows) call(p, begin, rows, stride);
          if (count % stride) call(p, begin + rows * stride, 1, count % stride);
        }
    });
  }
};

// What is known of each column, or of each channel.
struct Moments {
  std::vector<double> count, mean, squares;
  explicit Moments(int64_t columns) : count(columns), mean(columns), squares(columns) {}

  // Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
  void add(double values, int64_t j, double middle, double apart) {
    const double both = count[j] + values, step = middle - mean[j];
    mean[j] += step * (values / both);
    squares[j] += apart + step * step * (count[j] * values / both);
    count[j] = both;
  }
};

// Mean and biased variance of each channel, wide [C] each.
template <class R>
void find_moments(const void* x, Storage storage, const Layout& layout, R* mean, R* variance) {
  const int64_t stride = layout.stride;
  std::vector<Moments> found(layout.parts(), Moments(stride));
  const auto kernel = kernels().moments[storage];
  const int64_t size = storage == FLOAT64 ? 8 : storage == FLOAT32 ? 4 : 2;
  layout.over_blocks([&](int64_t part, int64_t begin, int64_t rows, int64_t columns) {
    const Buffer<R> means(stride), squares(stride);
    kernel(static_cast<const char*>(x) + begin * size, rows, columns, stride, means.data(), squares.data());
    for (int64_t j = 0; j < columns; ++j) found[part].add((double)rows, j, means.data()[j], squares.data()[j]);
  });
  Moments whole(layout.channels);
  for (const Moments& part : found)
    for (int64_t j = 0; j < stride; ++j)
      if (part.count[j] > 0) whole.add(part.count[j], j % layout.channels, part.mean[j], part.squares[j]);
  for (int64_t c = 0; c < layout.channels; ++c) {
    mean[c] = (R)whole.mean[c];
    variance[c] = (R)(whole.squares[c] / layout.each());
  }
}

// A value of each channel, for every column.
template <class R>
class Columns {
 public:
  explicit Columns(const Layout& layout) : layout_(layout), values_(layout.stride) {}
  template <class F>
  const void* fill(const F& of_channel) const {
    for (int64_t c = 0; c < layout_.channels; ++c) values_.data()[c] = (R)of_channel(c);
    for (int64_t j = layout_.channels; j < layout_.stride; ++j) values_.data()[j] = values_.data()[j - layout_.channels];
    return values_.data();
  }

 private:
  const Layout& layout_;
  const Buffer<R> values_;
};

// What (x - mean) is multiplied with before the bias, in both directions alike, so that masks agree.
template <class R>
double scale_of(const R* weights, const R* variances, int64_t channel, double eps) {
  return weights[channel] / std::sqrt(variances[channel] + eps);
}

// ---- arguments

// The channels of a pixel lie side by side, and the pixels of a picture, and the pictures.
bool is_channels_last(const Tensor& x) {
  int64_t apart = 1;
  for (const int64_t d : {1, 3, 2, 0}) {
    if (x.size(d) > 1 && x.stride(d) != apart) return false;
    apart *= x.size(d);
  }
  return true;
}
void check_shape(const char* op, const char* name, const Tensor& x, const Tensor& like) {
  bool fits = x.dim() == 4 && is_floating(x.scalar_type()) && x.scalar_type() == like.scalar_type() && !x.is_cuda();
  for (int64_t d = 0; d < 4; ++d) fits = fits && x.size(d) == like.size(d);
  require(fits, op, ": ", name, " must be [B, C, H, W] like x, floating, on the CPU");
}
const void* check_values(const char* op, const char* name, const Tensor& x, const Tensor& like) {
  check_shape(op, name, x, like);
  require(is_channels_last(x), op, ": ", name, " must be channels-last in memory");
  return x.const_data_ptr();
}
template <class R>
const R* check_channels(const char* op, const char* name, const Tensor& x, const Tensor& like) {
  require(x.dim() == 1 && x.size(0) == like.size(1) && x.scalar_type() == wide_type(like.scalar_type()) &&
              x.is_contiguous() && !x.is_cuda(),
          op, ": ", name, " must be [C], contiguous, float32 (float64 beside float64 values)");
  return x.const_data_ptr<R>();
}
const void* check_x(const char* op, const Tensor& x) {
  require(x.dim() == 4 && x.numel() > 0, op, ": x must be [B, C, H, W], and not empty");
  return check_values(op, "x", x, x);
}

// ---- the operators

template <class R>
std::tuple<Tensor, Tensor, Tensor> run_forward(const Tensor& x, const std::optional<Tensor>& residual,
                                               const Tensor& weight, const Tensor& bias, double eps) {
  const char* const op = "batch_norm_relu";
  NormRows rows{};
  rows.x = check_x(op, x);
  const R *const weights = check_channels<R>(op, "weight", weight, x), *const biases = check_channels<R>(op, "bias", bias, x);
  if (residual) rows.residual = check_values(op, "residual", *residual, x);
  const ScalarType wide = wide_type(x.scalar_type());
  const Layout layout(x);
  const Storage storage = storage_of(x.scalar_type());
  Tensor y = torch::stable::empty_like(x);
  rows.y = y.mutable_data_ptr();
  Tensor mean = empty(x, {x.size(1)}, wide), variance = empty(x, {x.size(1)}, wide);
  const R *const means = mean.const_data_ptr<R>(), *const variances = variance.const_data_ptr<R>();
  find_moments<R>(rows.x, storage, layout, static_cast<R*>(mean.mutable_data_ptr()),
                  static_cast<R*>(variance.mutable_data_ptr()));
  const Columns<R> middle(layout), scale(layout), shift(layout);
  rows.columns.mean = middle.fill([&](int64_t c) { return means[c]; });
  rows.columns.scale = scale.fill([&](int64_t c) { return scale_of(weights, variances, c, eps); });
  rows.columns.bias = shift.fill([&](int64_t c) { return biases[c]; });
  const auto kernel = kernels().forward[storage];
  layout.over_chunks([&](int64_t begin, int64_t end) { kernel(rows, begin, end, layout.stride); });
  return {y, mean, variance};
}

template <class R>
std::tuple<Tensor, Tensor, Tensor, Tensor> run_backward(const Tensor& grad, const Tensor& x,
                                                        const std::optional<Tensor>& residual,
                                                        const std::optional<Tensor>& y, const Tensor& weight,
                                                        const Tensor& bias, const Tensor& mean, const Tensor& variance,
                                                        double eps) {
  const char* const op = "batch_norm_relu_backward";
  NormRows rows{};
  rows.x = check_x(op, x);
  check_shape(op, "grad", grad, x);
  const R *const weights = check_channels<R>(op, "weight", weight, x), *const biases = check_channels<R>(op, "bias", bias, x);
  const R *const means = check_channels<R>(op, "mean", mean, x);
  const R *const variances = check_channels<R>(op, "variance", variance, x);
  const ScalarType wide = wide_type(x.scalar_type());
  const Layout layout(x);
  const Storage storage = storage_of(x.scalar_type());
  const int64_t channels = layout.channels, stride = layout.stride;
  // A copy of a gradient that lies otherwise is nobody else's: the first result is written over it, value by value.
  const bool lies_like_x = is_channels_last(grad);
  Tensor first = torch::stable::empty_like(x);
  if (!lies_like_x) torch::stable::copy_(first, grad);
  require(!(residual && y), op, ": either the residual or y tells what was cut off, not both");
  const bool added = residual || y;
  Tensor grad_x = added ? torch::stable::empty_like(x) : first, grad_residual = added ? first : nothing(x);
  Tensor grad_weight = empty(x, {channels}, wide), grad_bias = empty(x, {channels}, wide);
  rows.grad = (lies_like_x ? grad : first).const_data_ptr();
  rows.grad_x = grad_x.mutable_data_ptr();
  if (residual) rows.residual = check_values(op, "residual", *residual, x);
  if (y) rows.y = const_cast<void*>(check_values(op, "y", *y, x));
  if (added) rows.grad_masked = grad_residual.mutable_data_ptr();
  const auto inverse = [&](int64_t c) { return 1 / std::sqrt(variances[c] + eps); };
  const Columns<R> middle(layout), scale(layout), shift(layout), of_centred(layout), of_ones(layout);
  rows.columns.mean = middle.fill([&](int64_t c) { return means[c]; });
  rows.columns.scale = scale.fill([&](int64_t c) { return scale_of(weights, variances, c, eps); });
  rows.columns.bias = shift.fill([&](int64_t c) { return biases[c]; });

  std::vector<std::vector<double>> found(layout.parts(), std::vector<double>(2 * stride));
  const auto sums = kernels().sums[storage];
  layout.over_blocks([&](int64_t part, int64_t begin, int64_t height, int64_t columns) {
    const Buffer<R> grads(stride), products(stride);
    sums(rows, begin, height, columns, stride, grads.data(), products.data());
    for (int64_t j = 0; j < columns; ++j) {
      found[part][j] += grads.data()[j];
      found[part][stride + j] += products.data()[j];
    }
  });
  std::vector<double> ones(channels), centred(channels);
  for (const auto& part : found)
    for (int64_t j = 0; j < stride; ++j) ones[j % channels] += part[j], centred[j % channels] += part[stride + j];
  R *const grad_weights = static_cast<R*>(grad_weight.mutable_data_ptr());
  R *const grad_biases = static_cast<R*>(grad_bias.mutable_data_ptr());
  for (int64_t c = 0; c < channels; ++c) {
    grad_weights[c] = (R)(centred[c] * inverse(c));
    grad_biases[c] = (R)ones[c];
  }
  rows.columns.of_centred = of_centred.fill([&](int64_t c) {
    return -weights[c] * inverse(c) * inverse(c) * inverse(c) * centred[c] / layout.each();
  });
  rows.columns.of_ones = of_ones.fill([&](int64_t c) { return -weights[c] * inverse(c) * ones[c] / layout.each(); });
  const auto kernel = kernels().backward[storage];
  layout.over_chunks([&](int64_t begin, int64_t end) { kernel(rows, begin, end, stride); });
  return {grad_x, grad_residual, grad_weight, grad_bias};
}

std::tuple<Tensor, Tensor, Tensor> batch_norm_relu(const Tensor& x, std::optional<Tensor> residual, const Tensor& weight,
                                                   const Tensor& bias, double eps) {
  return x.scalar_type() == ScalarType::Double ? run_forward<double>(x, residual, weight, bias, eps)
                                               : run_forward<float>(x, residual, weight, bias, eps);
}
std::tuple<Tensor, Tensor, Tensor, Tensor> batch_norm_relu_backward(const Tensor& grad, const Tensor& x,
                                                                    std::optional<Tensor> residual,
                                                                    std::optional<Tensor> y, const Tensor& weight,
                                                                    const Tensor& bias, const Tensor& mean,
                                                                    const Tensor& variance, double eps) {
  return x.scalar_type() == ScalarType::Double
             ? run_backward<double>(grad, x, residual, y, weight, bias, mean, variance, eps)
             : run_backward<float>(grad, x, residual, y, weight, bias, mean, variance, eps);
}

}  // namespace
}  // namespace fastlt

STABLE_TORCH_LIBRARY_IMPL(fastlt, CPU, m) {
  m.impl("batch_norm_relu", TORCH_BOX(&fastlt::batch_norm_relu));
  m.impl("batch_norm_relu_backward", TORCH_BOX(&fastlt::batch_norm_relu_backward));
}
