// The passes of ../contrastive.h, a block for each row: norms, the two row losses on a tile of dot products, and the
// projection that the normalisation adds to a gradient.
#pragma once
#include "rows.cuh"
#include "sums.cuh"

namespace fastlt::gpu {

FASTLT_INLINE float square_root(float x) { return sqrtf(x); }
FASTLT_INLINE double square_root(double x) { return sqrt(x); }

// 1 / |x|, and 0 for a zero vector.
template <class R>
SIMT_DEV R inverse_norm(R squares) {
  return squares == R(0) ? R(0) : R(1) / square_root(squares);
}

template <int N, class T, class R>
SIMT_DEV R sum_of_squares(const T* row, int dims) {
  Sum<R> sum = Sum<R>::none();
  for_columns<N>(dims, [&](int d) {
    const Pack<T, N> x = load<N>(row + d);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) sum.total += static_cast<R>(x[k]) * static_cast<R>(x[k]);
  });
  return block_reduce(sum).total;
}

template <class T, int N>
SIMT_KERNEL(BLOCK) normalise_rows(const T* x, int dims, Wide<T>* unit) {
  using R = Wide<T>;
  const int64_t start = int64_t(blockIdx.x) * dims;
  const R scale = inverse_norm(sum_of_squares<N, T, R>(x + start, dims));
  for_columns<N>(dims, [&](int d) {
    Pack<R, N> row = load_wide<N>(x + start + d);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) row[k] *= scale;
    store(unit + start + d, row);
  });
}

// inverse [rows] = factor / |x|
template <class R, int N>
SIMT_KERNEL(BLOCK) inverse_norm_rows(const R* x, int dims, R factor, R* inverse) {
  const int64_t row = blockIdx.x;
  const R norm = inverse_norm(sum_of_squares<N, R, R>(x + row * dims, dims));
  if (threadIdx.x == 0) inverse[row] = factor * norm;
}

// A tile [R, columns] of dot products that becomes their gradient; its row r is row first + r of the batch.
template <class R>
struct Tile {
  R* dots;
  int64_t first;
  int columns;
  const int64_t* labels;  // [B]
  R* loss;                // [B], or null
  Upstream<R> upstream;
  bool gradient;
};

template <class R, int N>
SIMT_KERNEL(BLOCK, 2) prototype_rows(Tile<R> tile, const R* scale, bool positive_in_denominator) {
  const int64_t row = tile.first + blockIdx.x, label = tile.labels[row];
  R* const dots = tile.dots + int64_t(blockIdx.x) * tile.columns;
  const bool valid = label >= 0 && label < tile.columns;
  const R at_label = valid ? dots[label] * scale[label] : NOT_A_NUMBER<R>;  // read before others overwrite it
  const int64_t left_out = positive_in_denominator ? -1 : label;
  LogSum<R> sum = LogSum<R>::none();
  for_columns<N>(tile.columns, [&](int column) {
    Pack<R, N> z = load<N>(dots + column);
    const Pack<R, N> by = load<N>(scale + column);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) z[k] = column + k == left_out ? -INF<R> : z[k] * by[k];
    sum.add(z);
  });
  sum = block_reduce(sum);
  if (tile.loss && threadIdx.x == 0) tile.loss[row] = sum.above(at_label);
  if (!tile.gradient) return;
  const R lse = sum.value();
  const R upstream = valid ? tile.upstream.at(row) : NOT_A_NUMBER<R>;
  for_columns<N>(tile.columns, [&](int column) {
    Pack<R, N> z = load<N>(dots + column);
    const Pack<R, N> by = load<N>(scale + column);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const R p = keep(column + k != left_out, exponential(z[k] * by[k] - lse));
      z[k] = (p - keep(column + k == label, R(1))) * by[k] * upstream;
    }
    store(dots + column, z);
  });
}

template <class R>
struct AnchorSums {
  LogSum<R> others;
  R positives, count;  // the sum of z over those of the same label, and how many they are
  static SIMT_DEV AnchorSums none() { return {LogSum<R>::none(), R(0), R(0)}; }
  SIMT_DEV void merge(const AnchorSums& other) {
    others.merge(other.others);
    positives += other.positives, count += other.count;
  }
};

template <class R, int N>
SIMT_KERNEL(BLOCK, 2) supervised_rows(Tile<R> tile, R inverse_temperature) {
  const int64_t row = tile.first + blockIdx.x, label = tile.labels[row];
  R* const dots = tile.dots + int64_t(blockIdx.x) * tile.columns;
  AnchorSums<R> sums = AnchorSums<R>::none();
  for_columns<N>(tile.columns, [&](int column) {
    Pack<R, N> z = load<N>(dots + column);
    const Pack<int64_t, N> labels = load<N>(tile.labels + column);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const bool self = column + k == row, positive = !self && labels[k] == label;
      z[k] *= inverse_temperature;
      sums.positives += keep(positive, z[k]), sums.count += keep(positive, R(1));
      z[k] = pick(self, -INF<R>, z[k]);
    }
    sums.others.add(z);
  });
  sums = block_reduce(sums);
  const bool anchor = sums.count > R(0);
  const R share = keep(anchor, R(1) / sums.count);
  if (tile.loss && threadIdx.x == 0) tile.loss[row] = keep(anchor, sums.others.above(sums.positives * share));
  if (!tile.gradient) return;
  const R lse = sums.others.value();
  const R scale = inverse_temperature * tile.upstream.at(row);
  for_columns<N>(tile.columns, [&](int column) {
    Pack<R, N> z = load<N>(dots + column);
    const Pack<int64_t, N> labels = load<N>(tile.labels + column);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const R p = exponential(z[k] * inverse_temperature - lse) - keep(labels[k] == label, share);
      z[k] = keep(anchor && column + k != row, p * scale);
    }
    store(dots + column, z);
  });
}

// has_positive [B] = 1 where another row has the same label, otherwise 0
template <class R>
SIMT_KERNEL(BLOCK) anchor_rows(const int64_t* labels, int rows, R* has_positive) {
  const int64_t row = blockIdx.x, label = labels[row];
  Sum<R> others = Sum<R>::none();
  for_columns<1>(rows, [&](int other) { others.total += keep(other != row && labels[other] == label, R(1)); });
  others = block_reduce(others);
  if (threadIdx.x == 0) has_positive[row] = keep(others.total > R(0), R(1));
}

template <class R>
struct Projection {
  R squares, along;  // x . x and g . x
  static SIMT_DEV Projection none() { return {R(0), R(0)}; }
  SIMT_DEV void merge(const Projection& other) { squares += other.squares, along += other.along; }
};

// out = g - (g . x) x / |x|^2, over |x| if over_norm; 0 for x = 0. out may be g.
template <class T, class R, int N>
SIMT_KERNEL(BLOCK) project_rows(const T* x, const R* g, int dims, bool over_norm, T* out) {
  const int64_t start = int64_t(blockIdx.x) * dims;
  Projection<R> sums = Projection<R>::none();
  for_columns<N>(dims, [&](int d) {
    const Pack<T, N> row = load<N>(x + start + d);
    const Pack<R, N> gradient = load<N>(g + start + d);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const R value = static_cast<R>(row[k]);
      sums.squares += value * value, sums.along += value * gradient[k];
    }
  });
  sums = block_reduce(sums);
  const bool zero = sums.squares == R(0);
  const R along = keep(!zero, sums.along / sums.squares);
  const R scale = over_norm ? inverse_norm(sums.squares) : keep(!zero, R(1));
  for_columns<N>(dims, [&](int d) {
    const Pack<T, N> row = load<N>(x + start + d);
    Pack<R, N> gradient = load<N>(g + start + d);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) gradient[k] = (gradient[k] - along * static_cast<R>(row[k])) * scale;
    store(out + start + d, gradient);
  });
}

// ---- host

template <class T>
void launch_normalise(const T* x, int64_t rows, int dims, Wide<T>* unit, cudaStream_t stream) {
  const auto launch = [&](auto width) {
    SIMT_LAUNCH((normalise_rows<T, width.value>), row_grid(rows), row_block(dims, width.value), stream, x, dims, unit);
  };
  with_width<T>(dims, launch, x, unit);
}

template <class R>
void launch_inverse_norms(const R* x, int64_t rows, int dims, double factor, R* inverse, cudaStream_t stream) {
  const auto launch = [&](auto width) {
    SIMT_LAUNCH((inverse_norm_rows<R, width.value>), row_grid(rows), row_block(dims, width.value), stream, x, dims,
                R(factor), inverse);
  };
  with_width<R>(dims, launch, x);
}

template <class R>
void launch_prototype_rows(const Tile<R>& tile, int64_t rows, const R* scale, bool positive_in_denominator,
                           cudaStream_t stream) {
  const auto launch = [&](auto width) {
    SIMT_LAUNCH((prototype_rows<R, width.value>), row_grid(rows), row_block(tile.columns, width.value), stream, tile,
                scale, positive_in_denominator);
  };
  with_width<R>(tile.columns, launch, tile.dots, scale);
}

template <class R>
void launch_supervised_rows(const Tile<R>& tile, int64_t rows, double inverse_temperature, cudaStream_t stream) {
  const auto launch = [&](auto width) {
    SIMT_LAUNCH((supervised_rows<R, width.value>), row_grid(rows), row_block(tile.columns, width.value), stream, tile,
                R(inverse_temperature));
  };
  with_width<R>(tile.columns, launch, tile.dots, tile.labels);
}

template <class R>
void launch_anchor_rows(const int64_t* labels, int64_t rows, R* has_positive, cudaStream_t stream) {
  SIMT_LAUNCH((anchor_rows<R>), row_grid(rows), row_block(rows, 1), stream, labels, int(rows), has_positive);
}

template <class T, class R>
void launch_project(const T* x, const R* g, int64_t rows, int dims, bool over_norm, T* out, cudaStream_t stream) {
  const auto launch = [&](auto width) {
    SIMT_LAUNCH((project_rows<T, R, width.value>), row_grid(rows), row_block(dims, width.value), stream, x, g, dims,
                over_norm, out);
  };
  with_width<T>(dims, launch, x, g, out);
}

}  // namespace fastlt::gpu
