// sigmoid_rows, sigmoid_gradients, sum_partials and sum_rows against double; gradients against finite differences.
#include "../../../csrc/cuda/sigmoid.cuh"

#include "../../../csrc/cuda/sums.cuh"
#include "check.h"

using namespace fastlt;
using namespace fastlt::gpu;

namespace {

struct Setting {
  double gamma_positive, gamma_negative, gamma_unknown, margin;
  bool detach, ignore_unknown;
  bool vectors, some_vectors, weight, mask;
};
const Setting SETTINGS[] = {
    {0, 0, 0, 0, false, true, false, false, false, false},      // binary cross-entropy
    {0, 0, 0, 0, false, false, true, false, true, false},       // all class vectors, element weights
    {2, 2, 1, 0, false, false, true, true, false, false},       // focal
    {0, 4, 0, 0.05, true, true, false, false, false, true},     // asymmetric, focus detached, mask
    {0.5, 1.5, 2.5, 0.1, false, false, true, false, true, false},
};
struct Shape {
  int rows, classes, shift;  // shift: the arrays begin so many values off a multiple of 16 bytes
};

template <class T>
struct Case {
  using R = Wide<T>;
  Setting setting;
  Shape shape;
  Array<T> logits;
  Array<int8_t> targets;
  Array<R> vectors[6], weight, upstream;
  Array<uint8_t> mask;

  Case(const Setting& setting, const Shape& shape)
      : setting(setting), shape(shape), logits(size(), shape.shift), targets(size(), shape.shift),
        vectors{Array<R>(shape.classes), Array<R>(shape.classes), Array<R>(shape.classes),
                Array<R>(shape.classes), Array<R>(shape.classes), Array<R>(shape.classes)},
        weight(size()), upstream(shape.rows), mask(size(), shape.shift) {
    for (size_t i = 0; i < size(); ++i) {
      logits[i] = T(R(normal(3))), targets[i] = int8_t(integer(-1, 1));
      weight[i] = R(uniform(0, 2)), mask[i] = uint8_t(integer(0, 2) > 0);
    }
    for (int k = 0; k < 6; ++k)
      for (int c = 0; c < shape.classes; ++c) vectors[k][c] = k == 1 || k == 3 ? R(normal()) : R(uniform(0.5, 1.5));
    for (int b = 0; b < shape.rows; ++b) upstream[b] = R(normal());
  }
  size_t size() const { return size_t(shape.rows) * shape.classes; }
  bool has(int k) const { return setting.vectors && (!setting.some_vectors || k % 2 == 0); }
  double vector(int k, int c) const { return has(k) ? double(vectors[k][c]) : k == 1 || k == 3 ? 0 : 1; }
  const R* given(int k) const { return has(k) ? vectors[k].data() : nullptr; }

  SigmoidInput<T> input() const {
    const Setting& s = setting;
    return {logits.data(),
            targets.data(),
            {given(0), given(1), given(2), given(3), given(4), given(5)},
            s.weight ? weight.data() : nullptr,
            s.mask ? mask.data() : nullptr,
            {power_of<R>(s.gamma_positive), power_of<R>(s.gamma_negative), power_of<R>(s.gamma_unknown), R(s.margin),
             s.detach, s.ignore_unknown},
            shape.rows,
            shape.classes};
  }

  // Of one entry, with x moved by `dx` and the class vector k by `dv`; a detached focus stays where nothing is moved.
  REFERENCE double loss(int b, int c, double dx = 0, int k = 0, double dv = 0) const {
    const size_t i = size_t(b) * shape.classes + c;
    const int y = targets[i];
    if ((y < 0 && setting.ignore_unknown) || (setting.mask && !mask[i])) return 0;
    const double w = vector(y > 0 ? 4 : 5, c) * (setting.weight ? double(weight[i]) : 1);
    const double moved = logit(b, c, dx, k, dv), still = setting.detach ? logit(b, c, 0, 0, 0) : moved;
    const double margin = y > 0 ? 0 : setting.margin;
    const double gamma = y > 0 ? setting.gamma_positive : y < 0 ? setting.gamma_unknown : setting.gamma_negative;
    const double q = std::max(sigmoid(moved) - margin, 0.0), focus = std::max(sigmoid(still) - margin, 0.0);
    const double softplus = std::max(moved, 0.0) + std::log1p(std::exp(-std::fabs(moved)));
    const double minus_log = margin > 0 ? -std::log1p(-q) : softplus;
    return w * (gamma == 0 ? 1 : std::pow(focus, gamma)) * minus_log;
  }
  REFERENCE double logit(int b, int c, double dx, int k, double dv) const {
    const size_t i = size_t(b) * shape.classes + c;
    const int side = targets[i] > 0 ? 0 : 2;
    const double x = double(logits[i]) + dx;
    const double t = x * (vector(side, c) + (k == side ? dv : 0)) + vector(side + 1, c) + (k == side + 1 ? dv : 0);
    return targets[i] > 0 ? -t : t;
  }
  static double sigmoid(double t) { return 1 / (1 + std::exp(-t)); }
};

constexpr double STEP = 1e-5, BY_DIFFERENCES = 1e-7;

template <class T>
REFERENCE std::vector<double> row_losses(const Case<T>& of) {
  std::vector<double> rows(of.shape.rows);
  for (int b = 0; b < of.shape.rows; ++b)
    for (int c = 0; c < of.shape.classes; ++c) rows[b] += of.loss(b, c);
  return rows;
}

template <class T>
REFERENCE std::vector<double> logit_gradients(const Case<T>& of, const std::vector<double>& upstream) {
  std::vector<double> gradients;
  for (int b = 0; b < of.shape.rows; ++b)
    for (int c = 0; c < of.shape.classes; ++c)
      gradients.push_back(upstream[b] * (of.loss(b, c, STEP) - of.loss(b, c, -STEP)) / (2 * STEP));
  return gradients;
}

template <class T>
REFERENCE std::vector<double> class_gradients(const Case<T>& of, const std::vector<double>& upstream) {
  std::vector<double> gradients(size_t(4) * of.shape.classes);
  for (int k = 0; k < 4; ++k)
    for (int c = 0; c < of.shape.classes; ++c)
      for (int b = 0; b < of.shape.rows; ++b)
        gradients[size_t(k) * of.shape.classes + c] +=
            upstream[b] * (of.loss(b, c, 0, k, STEP) - of.loss(b, c, 0, k, -STEP)) / (2 * STEP);
  return gradients;
}

template <class T>
void check(Report& report, const std::string& name, const Case<T>& of, int seeds) {
  using R = Wide<T>;
  const int rows = of.shape.rows, classes = of.shape.classes;
  const SigmoidInput<T> in = of.input();
  const double wide = std::max(TOLERANCE<R>, BY_DIFFERENCES), narrow = std::max(TOLERANCE<T>, BY_DIFFERENCES);

  constexpr int PARTS = 3;
  Array<R> loss(rows), parts(PARTS * rows), total(1), factor(1);
  factor[0] = R(0.5);
  run_all(report, name, seeds, [&] {
    launch_sigmoid_rows<T>(in, 1, loss.data(), nullptr);
    launch_sigmoid_rows<T>(in, PARTS, parts.data(), nullptr);
    launch_sum_rows<R>(parts.data(), PARTS * rows, 0.25, factor.data(), total.data(), nullptr);
  }, loss, parts, total);
  const std::vector<double> want = row_losses(of);
  double sum = 0;
  for (double w : want) sum += w * 0.125;
  report.compare(name + " sigmoid_rows", loss, want, TOLERANCE<R>);
  report.compare(name + " sum_rows", total, {sum}, TOLERANCE<R>);

  Array<T> gradient(of.size(), of.shape.shift);
  const int64_t walkers = sigmoid_walkers<T>(in, gradient.data());
  Array<R> partial(walkers * 4 * classes), of_classes(4 * classes);
  const Upstream<R> by_row{of.upstream.data(), true, R(0.5), nullptr}, one{nullptr, false, R(0.25), nullptr};
  std::vector<double> scale(rows);
  for (int b = 0; b < rows; ++b) scale[b] = double(of.upstream[b]) * 0.5;

  run_all(report, name, seeds, [&] {
    launch_sigmoid_gradients<T>(in, by_row, gradient.data(), partial.data(), nullptr);
    launch_sum_partials<R>(partial.data(), walkers, int64_t(4) * classes, of_classes.data(), nullptr);
  }, gradient, partial, of_classes);
  report.compare(name + " sigmoid_gradients", gradient, logit_gradients(of, scale), narrow);
  report.compare(name + " sum_partials", of_classes, class_gradients(of, scale), 10 * wide);

  run_all(report, name, seeds, [&] {
    launch_sigmoid_gradients<T>(in, one, gradient.data(), nullptr, nullptr);
  }, gradient);
  const std::vector<double> quarters(rows, 0.25);
  report.compare(name + " sigmoid_gradients alone", gradient, logit_gradients(of, quarters), narrow);
}

template <class T>
void check_type(Report& report, const char* type, const std::vector<Shape>& shapes, int seeds) {
  for (size_t s = 0; s < std::size(SETTINGS); ++s)
    for (const Shape& shape : shapes)
      check(report, std::string(type) + " setting " + std::to_string(s) + " [" + std::to_string(shape.rows) + ", " +
                        std::to_string(shape.classes) + "]", Case<T>(SETTINGS[s], shape), seeds);
}

// Rows whose elements lie beyond 2^31: all logits are 0, so each loss is C log 2, each gradient 1/2.
void check_large(Report& report) {
  const int64_t classes = 1024, rows = (int64_t(1) << 21) + 5;
  BFloat16 *logits = sparse<BFloat16>(rows * classes), *gradient = sparse<BFloat16>(rows * classes);
  int8_t* targets = sparse<int8_t>(rows * classes);
  float* loss = sparse<float>(rows);
  if (!logits || !gradient || !targets || !loss) return (void)printf("no room to test large indices\n");
  const SigmoidSettings<float> plain{{0, 0}, {0, 0}, {0, 0}, 0, false, true};
  const SigmoidInput<BFloat16> in{logits, targets, {}, nullptr, nullptr, plain, rows, int(classes)};
  try {
    simt::simulator().window = {uint64_t(rows - 1), 1};
    launch_sigmoid_rows<BFloat16>(in, 1, loss, nullptr);
    const GradientShape shape = gradient_shape(rows, classes, VECTOR<BFloat16>, false);
    const int64_t walker = (rows - 1) % shape.walkers();  // the one that has the last row
    simt::simulator().window = {uint64_t(walker / shape.block.y), 1};
    launch_sigmoid_gradients<BFloat16>(in, {nullptr, false, 1, nullptr}, gradient, nullptr, nullptr);
  } catch (const simt::Error& error) {
    report.fail(std::string("large: ") + error.what());
  }
  simt::simulator().window = {};
  if (std::fabs(loss[rows - 1] - 1024 * std::log(2.)) > 1e-3) report.fail("large: sigmoid_rows");
  if (float(gradient[rows * classes - 1]) != 0.5f) report.fail("large: sigmoid_gradients");
  munmap(logits, rows * classes * 2), munmap(gradient, rows * classes * 2), munmap(targets, rows * classes);
}

}  // namespace

int main(int argc, char** argv) {
  const int seeds = seeds_of(argc, argv);
  Report report;
  check_type<float>(report, "float", {{1, 1, 0}, {3, 7, 0}, {40, 24, 0}, {2, 24, 1}, {2, 301, 0}, {2, 1028, 0}}, seeds);
  check_type<BFloat16>(report, "bfloat16", {{3, 7, 0}, {36, 24, 0}, {2, 2064, 0}}, seeds);
  check_type<double>(report, "double", {{3, 8, 0}, {36, 5, 0}}, seeds);
  check_large(report);
  return report.finish("sigmoid");
}
