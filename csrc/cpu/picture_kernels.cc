// Compiled once for each instruction set, as kernels.cc.
#include "picture_rows.h"

#define FASTLT_PASTE(a, b) a##b
#define FASTLT_TABLE(isa) FASTLT_PASTE(picture_kernels_, isa)

namespace fastlt {

using namespace FASTLT_ISA;

extern const PictureKernels FASTLT_TABLE(FASTLT_ISA) = {{show<float>, show<Bf16>, show<Fp16>, show<Byte>}};

}  // namespace fastlt
