// Every operator's schema, once. Backends add their implementations in blocks of their own: cpu/ops.cpp, cuda/ops.cu.
//
// reduction: 0 a loss for each row [B], 1 their sum, 2 their mean. gradients: 0 none (those outputs are empty), 1 of the
// loss with respect to logits or features, 2 also with respect to the four compensation vectors, as [4, C].
#include <torch/csrc/stable/library.h>

#ifndef FASTLT_LIBRARY
#define FASTLT_LIBRARY fastlt
#endif
#define FASTLT_DEFINE(name, m) STABLE_TORCH_LIBRARY(name, m)  // expands the name before it is pasted

#define SIGMOID_ARGUMENTS                                                                                              \
  "Tensor logits, Tensor targets, Tensor? positive_scale, Tensor? positive_shift, Tensor? negative_scale, "            \
  "Tensor? negative_shift, Tensor? positive_weight, Tensor? negative_weight, Tensor? weight, float gamma_positive, "   \
  "float gamma_negative, float gamma_unknown, float margin, bool detach_focus, bool ignore_unknown, int reduction"

FASTLT_DEFINE(FASTLT_LIBRARY, m) {
  m.def("sigmoid_loss(" SIGMOID_ARGUMENTS
        ", int gradients) -> (Tensor loss, Tensor grad_logits, Tensor grad_classes)");
  m.def("sigmoid_loss_backward(Tensor upstream, " SIGMOID_ARGUMENTS
        ", bool class_gradients) -> (Tensor grad_logits, Tensor grad_classes)");
  m.def(
      "lsep(Tensor logits, Tensor targets, int reduction, int gradients) -> (Tensor loss, Tensor grad_logits)");
  m.def("lsep_backward(Tensor upstream, Tensor logits, Tensor targets, int reduction) -> Tensor");
  m.def(
      "balanced_softmax(Tensor logits, Tensor labels, Tensor log_prior, int reduction, int gradients) -> "
      "(Tensor loss, Tensor grad_logits)");
  m.def(
      "balanced_softmax_backward(Tensor upstream, Tensor logits, Tensor labels, Tensor log_prior, int reduction) -> "
      "Tensor");
  m.def(
      "dive(Tensor logits, Tensor teacher_logits, Tensor labels, Tensor log_prior, float temperature, float power, "
      "float alpha, int reduction, int gradients) -> (Tensor loss, Tensor grad_logits)");
  m.def(
      "dive_backward(Tensor upstream, Tensor logits, Tensor teacher_logits, Tensor labels, Tensor log_prior, "
      "float temperature, float power, float alpha, int reduction) -> Tensor");
  m.def(
      "prototype_contrastive(Tensor features, Tensor prototypes, Tensor labels, float temperature, "
      "bool positive_in_denominator, int reduction, int gradients) -> "
      "(Tensor loss, Tensor grad_features, Tensor grad_prototypes)");
  m.def(
      "prototype_contrastive_backward(Tensor upstream, Tensor features, Tensor prototypes, Tensor labels, "
      "float temperature, bool positive_in_denominator, int reduction) -> "
      "(Tensor grad_features, Tensor grad_prototypes)");
  m.def(
      "supervised_contrastive(Tensor features, Tensor labels, float temperature, int reduction, int gradients) -> "
      "(Tensor loss, Tensor grad_features)");
  m.def(
      "supervised_contrastive_backward(Tensor upstream, Tensor features, Tensor labels, float temperature, "
      "int reduction) -> Tensor");
#ifndef FASTLT_SIM
  m.def(
      "batch_norm_relu(Tensor x, Tensor? residual, Tensor weight, Tensor bias, float eps) -> "
      "(Tensor y, Tensor mean, Tensor variance)");
  m.def(
      "batch_norm_relu_backward(Tensor grad, Tensor x, Tensor? residual, Tensor? y, Tensor weight, Tensor bias, "
      "Tensor mean, Tensor variance, float eps) -> (Tensor grad_x, Tensor grad_residual, Tensor grad_weight, Tensor grad_bias)");
  m.def(
      "pictures_to_batch(Tensor(a!) batch, Tensor[] pictures, Tensor? numbers, Tensor windows, Tensor? offsets, "
      "Tensor? mirrored, Tensor? upside_down, Tensor? color_matrices, Tensor? color_shifts, Tensor? erased, "
      "float[] scale, float[] shift, bool parallel) -> ()");
  m.def("read_parts(Tensor(a!) to, Tensor file, Tensor start, Tensor size) -> int");
  m.def("crc32_parts(Tensor bytes, Tensor start, Tensor end, bool fold) -> Tensor");
  m.def("instruction_set(int wanted) -> int");
#endif
}
