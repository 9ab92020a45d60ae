// Which source pixels an output pixel is made of, along one side of a picture. Not for the kernels: it has vectors.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "pictures.h"

namespace fastlt {

class AxisTable {
 public:
  // `source` pixels are resized to `size`; output pixel k shows resized pixel k + offset, from the other end if mirrored.
  void make(int32_t source, int32_t size, int32_t offset, bool mirrored) {
    const double step = (double)source / size, reach = std::max(step, 1.0);
    first_.resize(size), last_.resize(size);
    taps_ = 1;
    for (int32_t k = 0; k < size; ++k) {
      const int64_t o = (int64_t)k + offset;
      const int32_t at = mirrored ? size - 1 - k : k;
      first_[at] = -1;
      if (o < 0 || o >= size) continue;
      const double centre = (o + 0.5) * step;  // pixels whose middle is less than `reach` away
      first_[at] = (int32_t)std::max(0.0, centre - reach + 0.5);
      last_[at] = (int32_t)std::min((double)source, above(centre + reach - 0.5));
      taps_ = std::max(taps_, last_[at] - first_[at]);
    }
    weights_.assign((int64_t)size * taps_, 0.f);
    for (int32_t k = 0; k < size; ++k) {
      const int32_t at = mirrored ? size - 1 - k : k;
      if (first_[at] >= 0) weigh(at, ((int64_t)k + offset + 0.5) * step, reach, source);
    }
  }
  Axis axis() const { return {first_.data(), weights_.data(), taps_}; }

 private:
  // std::ceil of a positive number, which is a call where the processor may be any.
  static double above(double x) {
    const double whole = (double)(int64_t)x;
    return whole < x ? whole + 1 : whole;
  }
  void weigh(int32_t at, double centre, double reach, int32_t source) {
    const int32_t begin = first_[at], end = last_[at];
    first_[at] = std::min(begin, source - taps_);  // a whole window even at the border, with weights of 0
    float* w = &weights_[(int64_t)at * taps_ + begin - first_[at]];
    double sum = 0;
    const auto triangle = [&](int32_t i) { return reach - std::fabs(i + 0.5 - centre); };
    for (int32_t i = begin; i < end; ++i) sum += triangle(i);
    const double one = 1 / sum;
    for (int32_t i = begin; i < end; ++i) w[i - begin] = (float)(triangle(i) * one);
  }
  std::vector<int32_t> first_, last_;
  std::vector<float> weights_;
  int32_t taps_ = 1;
};

}  // namespace fastlt
