// Compiled once for each instruction set, with -DFASTLT_ISA=avx512, avx2 or baseline and the flags for it.
#include "contrastive_rows.h"
#include "kernels.h"
#include "lsep_rows.h"
#include "sigmoid_rows.h"
#include "softmax_rows.h"

#define FASTLT_PASTE(a, b) a##b
#define FASTLT_TABLE(isa) FASTLT_PASTE(kernels_, isa)

namespace fastlt {

using namespace FASTLT_ISA;

#if defined(__AVX512F__)
constexpr int INSTRUCTION_SET = 2;
#elif defined(__AVX2__)
constexpr int INSTRUCTION_SET = 1;
#else
constexpr int INSTRUCTION_SET = 0;
#endif

extern const Kernels FASTLT_TABLE(FASTLT_ISA) = {
    INSTRUCTION_SET,
    WIDTH,
    {sigmoid_rows<Floats, float>, sigmoid_rows<Floats, Bf16>, sigmoid_rows<Floats, Fp16>, sigmoid_rows<double, double>},
    {lsep_rows<Floats, float>, lsep_rows<Floats, Bf16>, lsep_rows<Floats, Fp16>, lsep_rows<double, double>},
    {softmax_rows<Floats, float>, softmax_rows<Floats, Bf16>, softmax_rows<Floats, Fp16>, softmax_rows<double, double>},
    {prototype_rows<Floats>, prototype_rows<double>},
    {supervised_rows<Floats>, supervised_rows<double>},
};

}  // namespace fastlt
