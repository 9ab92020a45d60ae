// Compiled once for each instruction set, as kernels.cc.
#include "picture_rows.h"
#include "unresized_rows.h"

#define FASTLT_PASTE(a, b) a##b
#define FASTLT_TABLE(isa) FASTLT_PASTE(picture_kernels_, isa)

namespace fastlt {
namespace FASTLT_ISA {

template <class T>
void show(const Picture& p, float* scratch) {
  if (p.unresized) return show_unresized<T>(p, scratch);
  if constexpr (sizeof(T) == 1)
    (p.matrix ? show_as<T, true, true> : show_as<T, true, false>)(p, scratch);
  else if (p.finish == ROUNDED)
    (p.matrix ? show_as<T, true, true> : show_as<T, true, false>)(p, scratch);
  else
    (p.matrix ? show_as<T, false, true> : show_as<T, false, false>)(p, scratch);
}

}  // namespace FASTLT_ISA

using namespace FASTLT_ISA;

extern const PictureKernels FASTLT_TABLE(FASTLT_ISA) = {{show<float>, show<Bf16>, show<Fp16>, show<Byte>}};

}  // namespace fastlt
