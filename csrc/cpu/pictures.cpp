// pictures_to_batch: decoded pictures of any sizes into one batch, cut, resized, flipped, coloured and normalised in one
// pass over each.
//
// The resize is Pillow's BILINEAR: a triangle, as wide as a source pixel where a side grows and as an output pixel where
// it shrinks, cut off at the border of the window and scaled up again there (Pillow, src/libImaging/Resample.c). Each
// thread takes the next picture that is left; none depends on another, nor the result on the number of threads.
#include <array>
#include <atomic>
#include <vector>

#include "../arguments.h"
#include "axis_table.h"

namespace fastlt {
namespace {

const char* const OP = "pictures_to_batch";

const PictureKernels* const AVAILABLE[] = {
    &picture_kernels_baseline,
#if FASTLT_X86
    &picture_kernels_avx2,
    &picture_kernels_avx512,
#endif
};

// ---- arguments

Tensor check_rows(const char* name, const Tensor& x, ScalarType type, const char* shape,
                  std::initializer_list<int64_t> sizes) {
  bool fits = x.scalar_type() == type && x.dim() == (int64_t)sizes.size();
  int64_t d = 0;
  for (int64_t size : sizes) fits = fits && x.size(d++) == size;
  require(fits && !x.is_cuda(), OP, ": ", name, " must be ", type == ScalarType::Int ? "int32 " : "float32 ", shape,
          ", one row for each picture");
  return as_contiguous(x);
}
std::optional<Tensor> check_rows(const char* name, const std::optional<Tensor>& x, ScalarType type, const char* shape,
                                 std::initializer_list<int64_t> sizes) {
  if (!x) return {};
  return check_rows(name, *x, type, shape, sizes);
}

PictureStorage storage_of_batch(const Tensor& batch) {
  switch (batch.scalar_type()) {
    case ScalarType::Float: return PICTURE_FLOAT32;
    case ScalarType::BFloat16: return PICTURE_BFLOAT16;
    case ScalarType::Half: return PICTURE_FLOAT16;
    case ScalarType::Byte: return PICTURE_UINT8;
    default: require(false, OP, ": batch must be float32, bfloat16, float16 or uint8");
  }
  return PICTURE_STORAGES;
}

// Where one picture lies.
struct Source {
  const uint8_t* pixels;
  int64_t height, width, pitch;
};

// Adds what a tensor holds, one picture or several of a size; gives the tensor that holds it. Rows may lie apart, and
// pictures; pixels may not.
Tensor add_sources(Tensor x, int64_t count, std::vector<Source>& to) {
  const int64_t d = x.dim() - 3;
  require(x.scalar_type() == ScalarType::Byte && (d == 0 || d == 1) && x.size(d + 2) == 3 && !x.is_cuda(), OP,
          ": picture ", to.size(), " must be uint8 [height, width, 3] on the CPU, or be one of [n, height, width, 3]");
  const int64_t height = x.size(d), width = x.size(d + 1), here = d ? x.size(0) : 1;
  require(here <= count - (int64_t)to.size(), OP, ": there are more pictures than the ", count, " of the batch");
  if (height && width && !(x.stride(d + 2) == 1 && x.stride(d + 1) == 3)) x = torch::stable::contiguous(x);
  const uint8_t* const pixels = x.const_data_ptr<uint8_t>();
  const int64_t apart = here > 1 ? x.stride(0) : 0, pitch = height > 1 ? x.stride(d) : 3 * width;
  for (int64_t k = 0; k < here; ++k) to.push_back({pixels + k * apart, height, width, pitch});
  return x;
}

// The pictures with these numbers, of many in one tensor, which is not copied.
void add_chosen(const std::vector<Tensor>& pictures, const Tensor& numbers, int64_t count, std::vector<Source>& to) {
  require(pictures.size() == 1 && pictures[0].dim() == 4 && pictures[0].is_contiguous() &&
              pictures[0].scalar_type() == ScalarType::Byte && pictures[0].size(3) == 3 && !pictures[0].is_cuda(),
          OP, ": with numbers, pictures must be one uint8 [N, height, width, 3], contiguous, on the CPU");
  require(numbers.scalar_type() == ScalarType::Long && numbers.dim() == 1 && numbers.size(0) == count &&
              numbers.is_contiguous() && !numbers.is_cuda(),
          OP, ": numbers must be int64 [B], contiguous, one for each picture");
  const Tensor& held = pictures[0];
  const int64_t there = held.size(0), height = held.size(1), width = held.size(2);
  const uint8_t* const pixels = held.const_data_ptr<uint8_t>();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t number = numbers.const_data_ptr<int64_t>()[i];
    require(number >= 0 && number < there, OP, ": number ", number, " is not one of the ", there, " pictures");
    to.push_back({pixels + number * height * width * 3, height, width, width * 3});
  }
}

using Three = std::array<float, 3>;
Three three(const char* name, const std::vector<double>& values) {
  require(values.size() == 3, OP, ": ", name, " must be three numbers, one for each channel, not ", values.size());
  return {(float)values[0], (float)values[1], (float)values[2]};
}

struct Call {
  Tensor batch;
  std::vector<Source> pictures;
  Tensor windows;
  std::optional<Tensor> offsets, mirrored, upside_down, matrices, shifts, erased;
  Three scale, shift;
  PictureStorage storage;
  int64_t count, height, width;

  // Null, or the row of picture i.
  template <class R>
  static const R* row(const std::optional<Tensor>& x, int64_t i, int64_t size) {
    return x ? x->const_data_ptr<R>() + i * size : nullptr;
  }
  const int32_t* window(int64_t i) const { return windows.const_data_ptr<int32_t>() + 4 * i; }
};

void check_places(const Call& call) {
  for (int64_t i = 0; i < call.count; ++i) {
    const int32_t* w = call.window(i);
    const int64_t height = call.pictures[i].height, width = call.pictures[i].width;
    require(w[0] >= 0 && w[1] >= 0 && w[2] > 0 && w[3] > 0 && (int64_t)w[0] + w[2] <= height &&
                (int64_t)w[1] + w[3] <= width,
            OP, ": the window of picture ", i, " (top ", w[0], ", left ", w[1], ", height ", w[2], ", width ", w[3],
            ") is not inside the picture of ", height, " x ", width);
    const int32_t* e = Call::row<int32_t>(call.erased, i, 4);
    require(!e || (e[0] >= 0 && e[1] >= 0 && e[2] >= 0 && e[3] >= 0 && (int64_t)e[0] + e[2] <= call.height &&
                   (int64_t)e[1] + e[3] <= call.width),
            OP, ": what is erased of picture ", i, " is not inside the batch of ", call.height, " x ", call.width);
  }
}

// ---- a picture

struct Workplace {
  AxisTable rows, columns;
  std::vector<float> scratch;
};

// Bytes from which on a batch only pushes out of the caches what others need before it is looked at itself.
constexpr int64_t LARGE_BATCH = 1 << 18;

void set(float (&to)[2][3], const Three& scale, const Three& shift) {
  std::copy(scale.begin(), scale.end(), to[0]);
  std::copy(shift.begin(), shift.end(), to[1]);
}

void show(const Call& call, int64_t i, void (*kernel)(const Picture&, float*), Workplace& work) {
  const Source& source = call.pictures[i];
  const int32_t *window = call.window(i), *offset = Call::row<int32_t>(call.offsets, i, 2);
  const int32_t *mirrored = Call::row<int32_t>(call.mirrored, i, 1);
  const int32_t *upside_down = Call::row<int32_t>(call.upside_down, i, 1);
  Picture p{};
  p.pitch = source.pitch;
  p.pixels = source.pixels + window[0] * p.pitch + 3 * (int64_t)window[1];
  p.height = window[2], p.width = window[3];
  p.out_height = (int32_t)call.height, p.out_width = (int32_t)call.width;
  p.matrix = Call::row<float>(call.matrices, i, 9);
  p.mirrored = mirrored && *mirrored, p.upside_down = upside_down && *upside_down;
  if (offset) std::copy_n(offset, 2, p.offset);
  p.unresized = p.height == p.out_height && p.width == p.out_width && !p.matrix;
  if (!p.unresized) {
    work.rows.make(p.height, p.out_height, p.offset[0], false);
    work.columns.make(p.width, p.out_width, p.offset[1], p.mirrored);
    p.rows = work.rows.axis(), p.columns = work.columns.axis();
  }
  p.finish = p.matrix ? ROUNDED : AS_IT_IS;
  set(p.after, call.scale, call.shift);
  set(p.before, call.scale, call.shift);
  if (p.matrix) {
    const float* shift = Call::row<float>(call.shifts, i, 3);
    set(p.before, {1, 1, 1}, {shift[0], shift[1], shift[2]});
  }
  if (const int32_t* erased = Call::row<int32_t>(call.erased, i, 4)) std::copy_n(erased, 4, p.erased);
  const int64_t bytes = call.storage == PICTURE_FLOAT32 ? 4 : call.storage == PICTURE_UINT8 ? 1 : 2;
  p.output = static_cast<char*>(call.batch.mutable_data_ptr()) + i * call.height * call.width * 3 * bytes;
  p.large = call.count * call.height * call.width * 3 * bytes >= LARGE_BATCH;
  const size_t needed =
      p.unresized ? unresized_floats(p.width) : scratch_floats(p.width, p.rows.taps, p.out_width);
  if (work.scratch.size() < needed) work.scratch.resize(needed);
  kernel(p, work.scratch.data());
}

constexpr size_t KEPT_FLOATS = 1 << 20;  // of scratch, in every thread

// Fewer output pixels than this are not worth a thread.
constexpr int64_t PIXELS_A_THREAD = 1 << 14;

void pictures_to_batch(Tensor batch, std::vector<Tensor> pictures, std::optional<Tensor> numbers, Tensor windows,
                       std::optional<Tensor> offsets, std::optional<Tensor> mirrored,
                       std::optional<Tensor> upside_down, std::optional<Tensor> matrices,
                       std::optional<Tensor> shifts, std::optional<Tensor> erased, std::vector<double> scale,
                       std::vector<double> shift, bool parallel) {
  require(batch.dim() == 4 && batch.size(3) == 3 && batch.is_contiguous() && !batch.is_cuda(), OP,
          ": batch must be [B, height, width, 3], contiguous, on the CPU");
  const int64_t count = batch.size(0), height = batch.size(1), width = batch.size(2);
  require(height > 0 && width > 0 && height <= INT32_MAX / 4 && width <= INT32_MAX / 4, OP,
          ": pictures in the batch must have a height and a width, not ", height, " x ", width);
  std::vector<Source> sources;
  sources.reserve(count);
  if (numbers)
    add_chosen(pictures, *numbers, count, sources);
  else
    for (Tensor& picture : pictures) picture = add_sources(picture, count, sources);
  require((int64_t)sources.size() == count, OP, ": there are ", sources.size(), " pictures for a batch of ", count);
  require(matrices.has_value() == shifts.has_value(), OP, ": colour matrices and colour shifts come together");
  const ScalarType ints = ScalarType::Int, floats = ScalarType::Float;
  const Call call{batch,
                  std::move(sources),
                  check_rows("windows", windows, ints, "[B, 4]", {count, 4}),
                  check_rows("offsets", offsets, ints, "[B, 2]", {count, 2}),
                  check_rows("mirrored", mirrored, ints, "[B]", {count}),
                  check_rows("upside_down", upside_down, ints, "[B]", {count}),
                  check_rows("color matrices", matrices, floats, "[B, 3, 3]", {count, 3, 3}),
                  check_rows("color shifts", shifts, floats, "[B, 3]", {count, 3}),
                  check_rows("erased", erased, ints, "[B, 4]", {count, 4}),
                  three("scale", scale),
                  three("shift", shift),
                  storage_of_batch(batch),
                  count,
                  height,
                  width};
  require(call.storage != PICTURE_UINT8 || (call.scale == Three{1, 1, 1} && call.shift == Three{0, 0, 0}), OP,
          ": a batch of uint8 is not normalised, so scale must be 1 and shift 0");
  check_places(call);
  const auto kernel = AVAILABLE[instruction_set_in_use()]->show[call.storage];
  const int64_t grain = std::max<int64_t>(1, PIXELS_A_THREAD / (height * width));
  std::atomic<int64_t> next{0};
  const auto take_pictures = [&](int64_t, int64_t) {
    static thread_local Workplace work;  // its memory is used again by the next batch
    for (int64_t i; (i = next++) < count;) show(call, i, kernel, work);
    if (work.scratch.size() > KEPT_FLOATS) work = {};
  };
  if (parallel) return torch::stable::parallel_for(0, count, grain, take_pictures);
  take_pictures(0, count);
}

}  // namespace
}  // namespace fastlt

STABLE_TORCH_LIBRARY_IMPL(fastlt, CPU, m) { m.impl("pictures_to_batch", TORCH_BOX(&fastlt::pictures_to_batch)); }
