// lsep_rows, softmax_losses and softmax_gradients against double.
#include "../../../csrc/cuda/softmax.cuh"

#include "../../../csrc/cuda/lsep.cuh"
#include "check.h"

using namespace fastlt;
using namespace fastlt::gpu;

namespace {

using Values = std::vector<double>;

struct Shape {
  int rows, classes, shift;  // shift: the arrays begin so many values off a multiple of 16 bytes
};

REFERENCE double log_sum_exp(const Values& x) {
  double top = -INFINITY, sum = 0;
  for (double v : x) top = std::max(top, v);
  if (top == -INFINITY) return top;
  for (double v : x) sum += std::exp(v - top);
  return top + std::log(sum);
}

template <class T>
struct Case {
  using R = Wide<T>;
  Shape shape;
  Array<T> logits, teacher;
  Array<int8_t> targets;
  Array<int64_t> labels;
  Array<R> log_prior, upstream;
  double temperature = 2.5, power = 0.75, alpha = 0.25;

  explicit Case(const Shape& shape)
      : shape(shape), logits(size(), shape.shift), teacher(size(), shape.shift), targets(size(), shape.shift),
        labels(shape.rows), log_prior(shape.classes), upstream(shape.rows) {
    for (size_t i = 0; i < size(); ++i)
      logits[i] = T(R(normal(4))), teacher[i] = T(R(normal(4))), targets[i] = int8_t(integer(-1, 1));
    for (int b = 0; b < shape.rows; ++b) labels[b] = integer(0, shape.classes - 1), upstream[b] = R(normal());
    for (int c = 0; c < shape.classes; ++c) log_prior[c] = R(normal());
    if (shape.classes > 4) log_prior[2] = -INFINITY;  // a class without images
    if (shape.rows > 1) labels[1] = shape.classes;    // out of range
    if (shape.rows > 2) labels[2] = -1, no_positives(2);
    if (shape.classes > 4 && labels[0] == 2) labels[0] = 3;
  }
  void no_positives(int b) {
    for (int c = 0; c < shape.classes; ++c) targets[at(b, c)] = int8_t(integer(-1, 0));
  }
  size_t size() const { return size_t(shape.rows) * shape.classes; }
  size_t at(int b, int c) const { return size_t(b) * shape.classes + c; }
  LsepInput<T> lsep() const { return {logits.data(), targets.data(), shape.rows, shape.classes}; }
  SoftmaxInput<T> softmax(bool distil) const {
    return {logits.data(), distil ? teacher.data() : nullptr, labels.data(), log_prior.data(), R(temperature), R(power),
            R(alpha), shape.rows, shape.classes};
  }
};

// Loss and gradient of row b.
struct Row {
  double loss = 0;
  Values gradient;
};

template <class T>
REFERENCE Row lsep_row(const Case<T>& of, int b) {
  Values negative, positive;
  for (int c = 0; c < of.shape.classes; ++c) {
    const double x = double(of.logits[of.at(b, c)]);
    if (of.targets[of.at(b, c)] == 0) negative.push_back(x);
    if (of.targets[of.at(b, c)] > 0) positive.push_back(-x);
  }
  Row row{0, Values(of.shape.classes)};
  if (negative.empty() || positive.empty()) return row;
  const double above = log_sum_exp(negative), below = log_sum_exp(positive), t = above + below;
  row.loss = std::max(t, 0.0) + std::log1p(std::exp(-std::fabs(t)));
  const double slope = 1 / (1 + std::exp(-t));
  for (int c = 0; c < of.shape.classes; ++c) {
    const double x = double(of.logits[of.at(b, c)]);
    if (of.targets[of.at(b, c)] == 0) row.gradient[c] = slope * std::exp(x - above);
    if (of.targets[of.at(b, c)] > 0) row.gradient[c] = -slope * std::exp(-x - below);
  }
  return row;
}

template <class T>
REFERENCE Row softmax_row(const Case<T>& of, int b, bool distil) {
  const int classes = of.shape.classes;
  const int64_t label = of.labels[b];
  if (label < 0 || label >= classes) return {NAN, Values(classes, NAN)};
  Values shifted, student, teacher;
  for (int c = 0; c < classes; ++c) {
    const double x = double(of.logits[of.at(b, c)]);
    shifted.push_back(x + double(of.log_prior[c]));
    student.push_back(x / of.temperature);
    teacher.push_back(of.power * double(of.teacher[of.at(b, c)]) / of.temperature);
  }
  const double lse = log_sum_exp(shifted), lse_s = log_sum_exp(student), lse_t = log_sum_exp(teacher);
  Row row{lse - shifted[label], {}};
  double kl = 0;
  for (int c = 0; c < classes; ++c) {
    double g = std::exp(shifted[c] - lse) - (c == label);
    const double s = std::exp(student[c] - lse_s), t = std::exp(teacher[c] - lse_t);
    kl += t * ((teacher[c] - lse_t) - (student[c] - lse_s));
    if (distil) g = (1 - of.alpha) * g + of.alpha * of.temperature * (s - t);
    row.gradient.push_back(g);
  }
  if (distil) row.loss = (1 - of.alpha) * row.loss + of.alpha * of.temperature * of.temperature * kl;
  return row;
}

template <class T, class RowOf, class Losses, class Gradients>
void check_op(Report& report, const std::string& name, const Case<T>& of, int seeds, const RowOf& row_of,
              const Losses& losses, const Gradients& gradients) {
  using R = Wide<T>;
  Array<R> loss(of.shape.rows);
  Array<T> gradient(of.size(), of.shape.shift);
  Values want_loss, want_gradient;
  for (int b = 0; b < of.shape.rows; ++b) {
    const Row row = row_of(b);
    want_loss.push_back(row.loss);
    for (double g : row.gradient) want_gradient.push_back(g * double(of.upstream[b]) * 0.5);
  }
  run_all(report, name, seeds, [&] { losses(loss.data()); }, loss);
  report.compare(name + " loss", loss, want_loss, TOLERANCE<R>);
  const Upstream<R> upstream{of.upstream.data(), true, R(0.5), nullptr};
  run_all(report, name, seeds, [&] { gradients(upstream, gradient.data()); }, gradient);
  report.compare(name + " gradient", gradient, want_gradient, TOLERANCE<T>);
}

template <class T>
void check_type(Report& report, const std::string& type, const std::vector<Shape>& shapes, int seeds) {
  using R = Wide<T>;
  const Upstream<R> one{nullptr, false, R(1), nullptr};
  for (const Shape& shape : shapes) {
    const Case<T> of(shape);
    const std::string name = type + " [" + std::to_string(shape.rows) + ", " + std::to_string(shape.classes) + "] ";
    check_op(report, name + "lsep", of, seeds, [&](int b) { return lsep_row(of, b); },
             [&](R* loss) { launch_lsep<T>(of.lsep(), one, loss, nullptr, nullptr); },
             [&](const Upstream<R>& by, T* gradient) { launch_lsep<T>(of.lsep(), by, nullptr, gradient, nullptr); });
    for (bool distil : {false, true}) {
      const SoftmaxInput<T> in = of.softmax(distil);
      check_op(report, name + (distil ? "dive" : "balanced_softmax"), of, seeds,
               [&](int b) { return softmax_row(of, b, distil); },
               [&](R* loss) { launch_softmax<T>(in, one, loss, nullptr, nullptr); },
               [&](const Upstream<R>& by, T* gradient) { launch_softmax<T>(in, by, nullptr, gradient, nullptr); });
    }
  }
}

// Rows whose elements lie beyond 2^31: all logits are 0, the label of the last row is 0.
void check_large(Report& report) {
  const int64_t classes = 1024, rows = (int64_t(1) << 21) + 5;
  BFloat16 *logits = sparse<BFloat16>(rows * classes), *gradient = sparse<BFloat16>(rows * classes);
  int8_t* targets = sparse<int8_t>(rows * classes);
  int64_t* labels = sparse<int64_t>(rows);
  float* loss = sparse<float>(rows);
  if (!logits || !gradient || !targets || !labels || !loss) return (void)printf("no room to test large indices\n");
  const int64_t row = rows - 1, start = row * classes;
  Array<float> prior(classes);
  for (int c = 0; c < classes; ++c) prior[c] = 0;
  targets[start] = 1;
  const Upstream<float> one{nullptr, false, 1, nullptr};
  const auto holds = [&](const char* what, double got, double want) {
    if (!(std::fabs(got - want) < 1e-3)) report.fail(std::string("large: ") + what);
  };
  try {
    simt::simulator().window = {uint64_t(row), 1};
    launch_lsep<BFloat16>({logits, targets, rows, int(classes)}, one, loss, nullptr, nullptr);
    holds("lsep loss", loss[row], std::log(1024.));
    launch_lsep<BFloat16>({logits, targets, rows, int(classes)}, one, nullptr, gradient, nullptr);
    holds("lsep gradient", float(gradient[start]), -1023 / 1024.);
    const SoftmaxInput<BFloat16> in{logits, logits, labels, prior.data(), 1, 1, 0, rows, int(classes)};
    launch_softmax<BFloat16>(in, one, loss, nullptr, nullptr);
    holds("dive loss", loss[row], std::log(1024.));
    gradient[start] = 0;
    launch_softmax<BFloat16>(in, one, nullptr, gradient, nullptr);
    holds("dive gradient", float(gradient[start]), -1023 / 1024.);
  } catch (const simt::Error& error) {
    report.fail(std::string("large: ") + error.what());
  }
  simt::simulator().window = {};
}

}  // namespace

int main(int argc, char** argv) {
  const int seeds = seeds_of(argc, argv);
  Report report;
  check_type<float>(report, "float", {{1, 1, 0}, {4, 7, 0}, {3, 24, 1}, {4, 301, 0}, {3, 1028, 0}}, seeds);
  check_type<BFloat16>(report, "bfloat16", {{4, 7, 0}, {3, 2064, 0}}, seeds);
  check_type<double>(report, "double", {{4, 40, 0}}, seeds);
  check_large(report);
  return report.finish("softmax");
}
