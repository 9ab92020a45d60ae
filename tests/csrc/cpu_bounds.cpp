// Runs every CPU kernel on arrays of exactly the size that kernels.h promises, for the sanitizers to watch; prints how
// many runs there were. Built for one instruction set, -DKERNELS=kernels_avx2 or so.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../csrc/cpu/kernels.h"

using namespace fastlt;

template <class T>
std::vector<T> filled(int64_t count, T value) {
  std::vector<T> values(count, value);
  values.shrink_to_fit();
  return values;
}

constexpr int64_t ROWS = 3;
const int64_t BYTES[STORAGES] = {4, 2, 2, 8};
int runs = 0;

// Logits are zeros of any type; targets go through every kind.
struct Entries {
  std::vector<char> logits, gradients;
  std::vector<int8_t> targets;
  std::vector<double> loss = filled<double>(ROWS, 0), wide;
  Entries(int storage, int64_t classes, int kind)
      : logits(ROWS * classes * BYTES[storage]), gradients(logits.size()), targets(ROWS * classes) {
    for (size_t i = 0; i < targets.size(); ++i)
      targets[i] = kind < 3 ? kind - 1 : kind == 3 ? int8_t(i % 3) - 1 : few(i, kind, classes);
  }
  static int8_t few(size_t i, int kind, size_t classes) {  // positives among negatives, and perhaps unknown labels
    if (kind == 6) return i % classes >= classes - classes / 8;  // as many as can be few, at the end of each row
    return i % 17 == 0 ? 1 : kind == 5 && i % 5 == 0 ? -1 : 0;
  }
};

void run_sigmoid(int storage, int64_t classes, int kind, double gamma, double margin, bool vectors, bool weighted) {
  Entries e(storage, classes, kind);
  const int64_t wide = storage == FLOAT64 ? 8 : 4;
  const std::vector<std::vector<char>> by_class(6, std::vector<char>(classes * wide));  // no value behind the last
  std::vector<double> sums(4 * padded(classes));  // wide enough for either type
  std::vector<int8_t> weight = filled<int8_t>(ROWS * classes, 1);
  SigmoidRows rows{};
  rows.logits = e.logits.data(), rows.targets = e.targets.data(), rows.classes = classes;
  rows.gammas[0] = rows.gammas[1] = rows.gammas[2] = gamma, rows.margin = margin;
  rows.ignore_unknown = kind % 2, rows.row_loss = e.loss.data(), rows.grad_logits = e.gradients.data();
  rows.scaling.factor = 1;
  if (weighted) rows.weight = weight.data(), rows.weight_is_bytes = true;
  for (int k = 0; vectors && k < 6; ++k) rows.vectors[k] = by_class[k].data();
  KERNELS.sigmoid[storage](rows, 0, ROWS, vectors ? sums.data() : nullptr);
  ++runs;
}

void run_lsep(int storage, int64_t classes, int kind) {
  Entries e(storage, classes, kind);
  std::vector<double> scratch(padded(classes));
  LsepRows rows{};
  rows.logits = e.logits.data(), rows.targets = e.targets.data(), rows.classes = classes, rows.scaling.factor = 1;
  rows.row_loss = e.loss.data(), rows.grad_logits = e.gradients.data();
  KERNELS.lsep[storage](rows, 0, ROWS, scratch.data());
  ++runs;
}

void run_softmax(int storage, int64_t classes, bool distil) {
  Entries e(storage, classes, 0);
  std::vector<double> scratch(3 * padded(classes)), prior(padded(classes));
  const std::vector<int64_t> labels = filled<int64_t>(ROWS, classes - 1);
  SoftmaxRows rows{};
  rows.logits = e.logits.data(), rows.classes = classes, rows.labels = labels.data(), rows.log_prior = prior.data();
  if (distil) rows.teacher = e.logits.data();
  rows.temperature = rows.power = 1, rows.alpha = 0.5, rows.scaling.factor = 1;
  rows.row_loss = e.loss.data(), rows.grad_logits = e.gradients.data();
  KERNELS.softmax[storage](rows, 0, ROWS, scratch.data());
  ++runs;
}

template <class R>
void run_contrastive(int type, int64_t columns) {
  const int64_t count = columns < ROWS ? columns : ROWS;
  for (int64_t first = 0; first + count <= columns; first += count) {
    std::vector<R> tile(count * columns), scale(columns, R(1));
    std::vector<int32_t> labels = filled<int32_t>(columns, 0);
    std::vector<double> loss(count);
    ContrastiveRows rows{};
    rows.tile = tile.data(), rows.columns = columns, rows.first = first, rows.labels = labels.data();
    rows.scale = scale.data(), rows.temperature = 0.5, rows.gradient = true, rows.scaling.factor = 1;
    rows.row_loss = loss.data();
    KERNELS.supervised[type](rows, 0, count);
    if (columns > 1) KERNELS.prototype[type](rows, 0, count);
    runs += 2;
  }
}

int main() {
  for (int64_t classes : {1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 1101, 4199}) {
    for (int storage = 0; storage < STORAGES; ++storage) {
      for (int kind = 0; kind < 7; ++kind) {
        run_lsep(storage, classes, kind);
        for (int options = 0; options < 4; ++options) {
          run_sigmoid(storage, classes, kind, 0, 0, options & 1, options & 2);
          run_sigmoid(storage, classes, kind, 1.5, 0, options & 1, options & 2);
          run_sigmoid(storage, classes, kind, 4, 0.05, options & 1, options & 2);
        }
      }
      run_softmax(storage, classes, false);
      run_softmax(storage, classes, true);
    }
    if (classes > 100) continue;  // what follows takes the square of it
    run_contrastive<float>(0, classes);
    run_contrastive<double>(1, classes);
  }
  std::printf("%d runs\n", runs);
  return runs > 0 ? 0 : 1;
}
