// The passes of the contrastive losses against double.
#include "../../../csrc/cuda/contrastive.cuh"

#include "check.h"

using namespace fastlt;
using namespace fastlt::gpu;

namespace {

using Values = std::vector<double>;

struct Shape {
  int rows, columns;
};
std::string named(const std::string& type, const Shape& shape) {
  return type + " [" + std::to_string(shape.rows) + ", " + std::to_string(shape.columns) + "] ";
}

// ---- norms and projection, on [rows, dims]; row 1 is zero

template <class T, class R>
void check_norms(Report& report, const std::string& type, const Shape& shape, int seeds) {
  const int rows = shape.rows, dims = shape.columns;
  const std::string name = named(type, shape);
  const size_t size = size_t(rows) * dims;
  Array<T> x(size), out(size);
  Array<R> g(size), in_place(size);
  Array<Wide<T>> unit(size);
  for (size_t i = 0; i < size; ++i) x[i] = T(Wide<T>(int64_t(i) / dims == 1 ? 0 : normal())), g[i] = R(normal());

  Values squares(rows), along(rows), want_unit, want_inverse, over_norm, plain;
  for (size_t i = 0; i < size; ++i)
    squares[i / dims] += double(x[i]) * double(x[i]), along[i / dims] += double(g[i]) * double(x[i]);
  for (int r = 0; r < rows; ++r) want_inverse.push_back(squares[r] > 0 ? 0.5 / std::sqrt(squares[r]) : 0);
  for (size_t i = 0; i < size; ++i) {
    const double s = squares[i / dims], projected = s > 0 ? double(g[i]) - along[i / dims] * double(x[i]) / s : 0;
    want_unit.push_back(s > 0 ? double(x[i]) / std::sqrt(s) : 0);
    over_norm.push_back(s > 0 ? projected / std::sqrt(s) : 0), plain.push_back(projected);
  }
  run_all(report, name, seeds, [&] { launch_normalise<T>(x.data(), rows, dims, unit.data(), nullptr); }, unit);
  report.compare(name + "normalise_rows", unit, want_unit, TOLERANCE<Wide<T>>);
  const auto project = [&](bool over) {
    launch_project<T, R>(x.data(), g.data(), rows, dims, over, out.data(), nullptr);
  };
  run_all(report, name, seeds, [&] { project(true); }, out);
  report.compare(name + "project_rows over norm", out, over_norm, TOLERANCE<T>);
  run_all(report, name, seeds, [&] { project(false); }, out);
  report.compare(name + "project_rows", out, plain, TOLERANCE<T>);
  if constexpr (std::is_same_v<T, R>) {
    Array<R> inverse(rows);
    run_all(report, name, seeds, [&] {
      launch_inverse_norms<R>(x.data(), rows, dims, 0.5, inverse.data(), nullptr);
    }, inverse);
    report.compare(name + "inverse_norm_rows", inverse, want_inverse, TOLERANCE<R>);
    run_all(report, name, seeds, [&] {
      for (size_t i = 0; i < size; ++i) in_place[i] = g[i];
      launch_project<T, R>(x.data(), in_place.data(), rows, dims, true, in_place.data(), nullptr);
    }, in_place);
    report.compare(name + "project_rows in place", in_place, over_norm, TOLERANCE<T>);
  }
}

// ---- the two losses on a tile of `rows` rows that begins at FIRST

constexpr int FIRST = 2;

template <class R>
struct TileCase {
  Shape shape;
  Array<R> dots, tile, scale, upstream, loss;
  Array<int64_t> labels;

  // As many labels as columns if they are labels of columns too, as in supervised_contrastive.
  TileCase(const Shape& shape, int labels_count, int classes)
      : shape(shape), dots(size()), tile(size()), scale(shape.columns), upstream(labels_count), loss(labels_count),
        labels(labels_count) {
    for (size_t i = 0; i < size(); ++i) dots[i] = R(uniform(-1, 1));
    for (int c = 0; c < shape.columns; ++c) scale[c] = R(uniform(1, 8));
    for (int i = 0; i < labels_count; ++i) labels[i] = integer(0, classes - 1), upstream[i] = R(normal());
  }
  size_t size() const { return size_t(shape.rows) * shape.columns; }
  double dot(int r, int c) const { return double(dots[size_t(r) * shape.columns + c]); }
  Tile<R> given(bool with_loss, bool gradient) {
    return {tile.data(), FIRST, shape.columns, labels.data(), with_loss ? loss.data() : nullptr,
            {upstream.data(), true, R(0.5), nullptr}, gradient};
  }
  template <class Call>
  void check(Report& report, const std::string& name, int seeds, const Values& want_loss, const Values& gradient,
             const Call& launch) {
    const auto filled = [&](bool with_loss, bool with_gradient) {
      for (size_t i = 0; i < size(); ++i) tile[i] = dots[i];
      for (size_t i = 0; i < loss.size(); ++i) loss[i] = R(-7);
      launch(given(with_loss, with_gradient));
    };
    Values only_these(loss.size(), -7), untouched;
    for (int r = 0; r < shape.rows; ++r) only_these[FIRST + r] = want_loss[r];
    for (size_t i = 0; i < size(); ++i) untouched.push_back(double(dots[i]));
    run_all(report, name, seeds, [&] { filled(true, false); }, loss, tile);
    report.compare(name + " loss", loss, only_these, TOLERANCE<R>);
    report.compare(name + " tile", tile, untouched, 0);
    run_all(report, name, seeds, [&] { filled(true, true); }, loss, tile);
    report.compare(name + " loss beside gradient", loss, only_these, TOLERANCE<R>);
    report.compare(name + " gradient", tile, gradient, TOLERANCE<R>);
    run_all(report, name, seeds, [&] { filled(false, true); }, loss, tile);
    report.compare(name + " gradient alone", tile, gradient, TOLERANCE<R>);
    report.compare(name + " no loss", loss, Values(loss.size(), -7), 0);
  }
};

template <class R>
void check_prototypes(Report& report, const std::string& type, const Shape& shape, int seeds) {
  TileCase<R> of(shape, FIRST + shape.rows + 1, shape.columns);
  if (shape.rows > 2) of.labels[FIRST + 1] = -1, of.labels[FIRST + 2] = shape.columns;
  for (bool in_denominator : {true, false}) {
    Values loss, gradient;
    for (int r = 0; r < shape.rows; ++r) {
      const int64_t label = of.labels[FIRST + r];
      const bool valid = label >= 0 && label < shape.columns;
      double top = -INFINITY, sum = 0;
      const auto z = [&](int c) {
        return !in_denominator && c == label ? -INFINITY : of.dot(r, c) * double(of.scale[c]);
      };
      for (int c = 0; c < shape.columns; ++c) top = std::max(top, z(c));
      for (int c = 0; c < shape.columns; ++c) sum += std::exp(z(c) - top);
      loss.push_back(valid ? top + std::log(sum) - of.dot(r, label) * double(of.scale[label]) : NAN);
      for (int c = 0; c < shape.columns; ++c) {
        const double p = std::exp(z(c) - top) / sum;
        const double by = double(of.scale[c]) * 0.5 * double(of.upstream[FIRST + r]);
        gradient.push_back(valid ? (p - (c == label)) * by : NAN);
      }
    }
    of.check(report, named(type, shape) + "prototype_rows", seeds, loss, gradient, [&](const Tile<R>& tile) {
      launch_prototype_rows<R>(tile, shape.rows, of.scale.data(), in_denominator, nullptr);
    });
  }
}

template <class R>
void check_supervised(Report& report, const std::string& type, const Shape& shape, int seeds) {
  TileCase<R> of(shape, shape.columns, 3);
  of.labels[FIRST] = 77;  // nobody else has it
  const double by = 2;    // 1 / temperature
  Values loss, gradient;
  for (int r = 0; r < shape.rows; ++r) {
    const int row = FIRST + r;
    const auto z = [&](int c) { return c == row ? -INFINITY : of.dot(r, c) * by; };
    const auto positive = [&](int c) { return c != row && of.labels[c] == of.labels[row]; };
    double top = -INFINITY, sum = 0, positives = 0;
    int count = 0;
    for (int c = 0; c < shape.columns; ++c) top = std::max(top, z(c));
    for (int c = 0; c < shape.columns; ++c) {
      sum += std::exp(z(c) - top);
      if (positive(c)) positives += z(c), ++count;
    }
    loss.push_back(count ? top + std::log(sum) - positives / count : 0);
    for (int c = 0; c < shape.columns; ++c) {
      const double d = std::exp(z(c) - top) / sum - (positive(c) ? 1.0 / count : 0);
      gradient.push_back(count && c != row ? d * by * 0.5 * double(of.upstream[row]) : 0);
    }
  }
  of.check(report, named(type, shape) + "supervised_rows", seeds, loss, gradient, [&](const Tile<R>& tile) {
    launch_supervised_rows<R>(tile, shape.rows, by, nullptr);
  });
}

template <class R>
void check_anchors(Report& report, const std::string& name, int rows, int seeds) {
  Array<int64_t> labels(rows);
  for (int i = 0; i < rows; ++i) labels[i] = integer(0, rows);
  Array<R> has_positive(rows), factor(1);
  Values want;
  double anchors = 0;
  for (int i = 0; i < rows; ++i) {
    bool any = false;
    for (int j = 0; j < rows; ++j) any |= i != j && labels[i] == labels[j];
    want.push_back(any), anchors += any;
  }
  run_all(report, name, seeds, [&] {
    launch_anchor_rows<R>(labels.data(), rows, has_positive.data(), nullptr);
    launch_reciprocal_of_sum<R>(has_positive.data(), rows, factor.data(), nullptr);
  }, has_positive, factor);
  report.compare(name + " anchor_rows", has_positive, want, 0);
  report.compare(name + " sum_rows reciprocal", factor, {1 / std::max(anchors, 1.0)}, TOLERANCE<R>);
}

// Rows whose elements lie beyond 2^31.
void check_large(Report& report) {
  const int64_t dims = 1024, rows = (int64_t(1) << 21) + 5, start = (rows - 1) * dims;
  BFloat16* x = sparse<BFloat16>(rows * dims);
  float* unit = sparse<float>(rows * dims);
  if (!x || !unit) return (void)printf("no room to test large indices\n");
  for (int d = 0; d < dims; ++d) x[start + d] = BFloat16(2.f);
  try {
    simt::simulator().window = {uint64_t(rows - 1), 1};
    launch_normalise<BFloat16>(x, rows, int(dims), unit, nullptr);
    if (std::fabs(unit[start + dims - 1] - 1 / 32.) > 1e-6) report.fail("large: normalise_rows");
    unit[start] = 1;  // now a gradient: along x it has 1023 parts of 1/32 and one of 1
    launch_project<BFloat16, float>(x, unit, rows, int(dims), false, x, nullptr);
    if (std::fabs(float(x[start]) - (1 - 1 / 32. - (1 - 1 / 32.) / 1024)) > 1e-2) report.fail("large: project_rows");
  } catch (const simt::Error& error) {
    report.fail(std::string("large: ") + error.what());
  }
  simt::simulator().window = {};
}

}  // namespace

int main(int argc, char** argv) {
  const int seeds = seeds_of(argc, argv);
  Report report;
  for (const Shape& shape : {Shape{2, 1}, Shape{3, 7}, Shape{3, 64}, Shape{2, 301}, Shape{2, 1028}})
    check_norms<float, float>(report, "float", shape, seeds);
  for (const Shape& shape : {Shape{3, 7}, Shape{2, 2064}})
    check_norms<BFloat16, float>(report, "bfloat16", shape, seeds);
  check_norms<double, double>(report, "double", {3, 20}, seeds);
  check_norms<float, double>(report, "float in double", {3, 20}, seeds);
  for (const Shape& shape : {Shape{1, 2}, Shape{3, 7}, Shape{4, 64}, Shape{2, 301}, Shape{2, 1028}})
    check_prototypes<float>(report, "float", shape, seeds);
  check_prototypes<double>(report, "double", {4, 33}, seeds);
  for (const Shape& shape : {Shape{1, 3}, Shape{4, 7}, Shape{5, 64}, Shape{2, 301}, Shape{2, 1028}})
    check_supervised<float>(report, "float", shape, seeds);
  check_supervised<double>(report, "double", {4, 33}, seeds);
  for (int rows : {1, 2, 40}) check_anchors<float>(report, "float " + std::to_string(rows), rows, seeds);
  check_anchors<double>(report, "double", 9, seeds);
  check_large(report);
  return report.finish("contrastive");
}
