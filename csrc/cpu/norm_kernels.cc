// Compiled once for each instruction set, as kernels.cc.
#include "norm_rows.h"

#define FASTLT_PASTE(a, b) a##b
#define FASTLT_TABLE(isa) FASTLT_PASTE(norm_kernels_, isa)
#define FASTLT_STORAGES(kernel) {kernel<Floats, float>, kernel<Floats, Bf16>, kernel<Floats, Fp16>, kernel<double, double>}

namespace fastlt {

using namespace FASTLT_ISA;

extern const NormKernels FASTLT_TABLE(FASTLT_ISA) = {
    FASTLT_STORAGES(norm_moments),
    FASTLT_STORAGES(norm_forward),
    FASTLT_STORAGES(norm_sums),
    FASTLT_STORAGES(norm_backward),
};

}  // namespace fastlt
