"""Class-aware selective loss against an independent writing of its formulas in float64, as in the authors' code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fastlt.batch import Batch
from fastlt.class_prior import ClassPrior
from fastlt.errors import UserError
from fastlt.methods.csl import CSL, Options, likeliest_of_batch, likeliest_of_each
from fastlt.progress import Progress, TrainingSet

NOW = Progress(step=0, steps=10, epoch=0.0, epochs=1.0)
MODES = ("negative", "ignore", "ignore_normalize_classes", "selective")
GAMMAS = {"gamma_positive": 0.0, "gamma_negative": 1.0, "gamma_unknown": 4.0}
PLAIN = {"gamma_positive": 0.0, "gamma_negative": 0.0, "gamma_unknown": 0.0}


def method(classes, prior=None, **options):
    data = TrainingSet("made", "0", [f"class {c}" for c in range(classes)], [3] * classes, {}, True, images=9)
    found = CSL(Options(**options), nn.Identity(), data).double()
    if prior is not None:
        found.prior.copy_(torch.as_tensor(prior))
    return found


def sample(batch=8, classes=7, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 2, (batch, classes), generator=generator, dtype=torch.int8)
    labels[generator.initial_seed() % batch] = -1  # an image of which nothing is known
    return scale * torch.randn(batch, classes, generator=generator, dtype=torch.float64), labels


def left_out(logits, labels, prior, threshold, top_k, over):
    """Entry by entry: unknown labels of common classes, and the likeliest unknown ones."""
    out = torch.zeros(labels.shape, dtype=torch.bool)
    unknown = [(i, c) for i, row in enumerate(labels.tolist()) for c, label in enumerate(row) if label == -1]
    for i, c in unknown:
        out[i, c] = prior[c] > threshold
    groups = [unknown] if over == "batch" else [[e for e in unknown if e[0] == i] for i in range(len(labels))]
    for group in groups:
        likely = sorted(group, key=lambda entry: -logits[entry].item())
        for entry in likely[: top_k * len(labels) if over == "batch" else top_k]:
            out[entry] = True
    return out


def truth(logits, labels, o, prior=None):
    """Sum over entries of w alpha (1 - probability of the right answer)^gamma -log(it), the factor detached."""
    total = torch.zeros((), dtype=torch.float64)
    out = torch.zeros(labels.shape, dtype=torch.bool)
    if o.mode == "selective":
        prior = [0.0] * labels.shape[1] if prior is None else prior
        out = left_out(logits, labels, prior, o.prior_threshold, o.top_k, o.top_k_over)
    for i, row in enumerate(labels.tolist()):
        g = 1 + 1 / (1 + sum(label >= 0 for label in row))
        for c, label in enumerate(row):
            if label == -1 and (o.mode.startswith("ignore") or out[i, c]):
                continue
            p = torch.sigmoid(logits[i, c])
            right = p if label == 1 else torch.clamp(1 - p + o.margin, max=1)
            kind = {1: "positive", 0: "negative", -1: "unknown"}[label]
            focus = (1 - right.detach()) ** getattr(o, f"gamma_{kind}")
            weight = getattr(o, f"alpha_{kind}") * (g if o.mode == "ignore_normalize_classes" else 1)
            total = total - weight * focus * right.log()
    return total


def check(made, logits, labels, prior=None):
    own, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = made.loss(own, labels), truth(other, labels, made.options, prior)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(own.grad, other.grad, rtol=1e-8, atol=1e-10)


class TestFormula:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("margin", [0.0, 0.1])
    @pytest.mark.parametrize(
        "weights", [{}, {"alpha_positive": 2.0, "alpha_negative": 0.5, "alpha_unknown": 0.125}, {"gamma_positive": 3.0}]
    )
    def test_loss_and_gradient_are_those_of_the_formula(self, mode, margin, weights):
        logits, labels = sample()
        check(method(7, mode=mode, margin=margin, top_k=1, **GAMMAS | weights), logits, labels)

    @pytest.mark.parametrize("over", ["batch", "image"])
    @pytest.mark.parametrize("top_k", [0, 1, 3, 50])
    def test_selection_by_prior_and_likelihood(self, over, top_k):
        logits, labels = sample(seed=3)
        prior = [0.1, 0.6, 0.5, 0.9, 0.0, 0.2, 0.3]
        made = method(7, prior, top_k=top_k, top_k_over=over, prior_threshold=0.5)
        check(made, logits, labels, prior)

    def test_without_focus_and_margin_the_negative_mode_is_summed_binary_cross_entropy(self):
        logits, labels = sample()
        expected = nn.functional.binary_cross_entropy_with_logits(logits, (labels == 1).double(), reduction="sum")
        torch.testing.assert_close(method(7, mode="negative", **PLAIN).loss(logits, labels), expected)

    def test_the_ignore_mode_has_no_gradient_where_the_label_is_unknown(self):
        logits, labels = sample()
        logits.requires_grad_()
        method(7, mode="ignore", **GAMMAS).loss(logits, labels).backward()
        assert not logits.grad[labels == -1].any() and logits.grad[labels >= 0].all()

    def test_selecting_nothing_is_the_negative_mode(self):
        logits, labels = sample()
        prior = torch.rand(7)
        selective = method(7, prior, mode="selective", top_k=0, prior_threshold=1.0)
        torch.testing.assert_close(
            selective.loss(logits, labels), method(7, mode="negative").loss(logits, labels), rtol=0, atol=0
        )

    def test_normalising_weighs_the_known_labels_of_sparsely_annotated_images_more(self):
        """1 + 1 / (1 + k) with k known labels: 2 in the limit of none, 1.5 of one, 1.25 of three."""
        logits = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
        labels = torch.tensor([[1, -1, -1, -1], [1, 0, 0, -1]], dtype=torch.int8)
        method(4, mode="ignore_normalize_classes", **PLAIN).loss(logits, labels).backward()
        assert logits.grad.tolist() == [[-0.75, 0, 0, 0], [-0.625, 0.625, 0.625, 0]]

    def test_the_focusing_factor_gets_no_gradient(self):
        """d/dx of p^4 softplus(x) with p^4 constant is p^5; with its own gradient it would be more."""
        logits = torch.full((1, 1), 1.0, dtype=torch.float64, requires_grad=True)
        method(1, mode="negative", **GAMMAS).loss(logits, torch.full((1, 1), -1, dtype=torch.int8)).backward()
        torch.testing.assert_close(logits.grad, torch.sigmoid(logits.detach()) ** 5)


class TestSelection:
    def test_the_likeliest_of_the_batch_may_all_lie_in_one_image(self):
        """As the authors' code has it: K x B labels of the whole batch, not K of each image."""
        logits = torch.tensor([[5.0, 4.0, 3.0], [-5.0, -4.0, -3.0]])
        unknown = torch.full((2, 3), -1, dtype=torch.int8)
        of_batch = method(3, top_k=1)._left_out(logits, unknown < 0)
        of_image = method(3, top_k=1, top_k_over="image")._left_out(logits, unknown < 0)
        assert of_batch.tolist() == [[True, True, False], [False, False, False]]
        assert of_image.tolist() == [[True, False, False], [False, False, True]]

    def test_where_fewer_are_unknown_than_are_wanted_no_other_is_taken(self):
        unknown = torch.tensor([[True, False, False], [False, False, False]])
        for likeliest in (likeliest_of_batch, likeliest_of_each):
            assert torch.equal(likeliest(torch.randn(2, 3), unknown, 2), unknown)

    def test_annotated_labels_are_never_left_out(self):
        logits, labels = torch.full((4, 5), 9.0), torch.randint(0, 2, (4, 5), dtype=torch.int8)
        out = method(5, torch.ones(5), top_k=5, prior_threshold=0.0)._left_out(logits, labels < 0)
        assert not out.any()

    def test_a_prior_is_of_the_class_at_its_index_whatever_it_is_called(self, tmp_path):
        """A published table has seven rows of the same name; a dict of names would shift all others."""
        classes = ["Neck 0"] * 7 + ["Sleeve 0", "Sleeve 3"]
        prior = [0.1] * 6 + [0.9, 0.2, 0.8]
        ClassPrior(classes, prior, 9, "made", "ignore", "best.pt", "0").write(tmp_path)
        data = TrainingSet("made", "0", classes, [1] * 9, {}, True, images=9)
        made = CSL(Options(prior=tmp_path, top_k=0), nn.Identity(), data)
        made.start_from(open_run=None)
        out = made._left_out(torch.zeros(1, 9), torch.ones(1, 9, dtype=torch.bool))
        assert out[0].nonzero().flatten().tolist() == [6, 8]

    def test_a_prior_of_other_classes_is_refused(self, tmp_path):
        ClassPrior(["a", "b"], [0.1, 0.2], 9, "made", "ignore", "best.pt", "0").write(tmp_path)
        for classes, message in ((["a", "c"], "class 1 is 'b' in the prior and 'c'"), (["a"], "of 2 classes")):
            data = TrainingSet("made", "0", classes, [1] * len(classes), {}, True, images=9)
            made = CSL(Options(prior=tmp_path), nn.Identity(), data)
            with pytest.raises(UserError, match=message):
                made.start_from(open_run=None)

    def test_the_prior_is_kept_in_the_state(self):
        first = method(3, [0.1, 0.7, 0.2])
        second = method(3)
        second.load_state_dict(first.state_dict())
        assert torch.equal(second.prior, first.prior)


class TestExtremes:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("extreme", [80.0, -80.0])
    def test_large_logits_stay_finite_and_wrong_ones_keep_their_gradient(self, dtype, mode, extreme):
        """log(clamp(1 - p, 1e-8)) has no gradient for the worst false positives."""
        labels = torch.tensor([[1, 0, -1], [0, 1, -1]], dtype=torch.int8)
        logits = torch.full((2, 3), extreme, dtype=dtype, requires_grad=True)
        loss = method(3, mode=mode, top_k=0, **PLAIN).float().loss(logits, labels)
        loss.backward()
        assert loss.isfinite() and logits.grad.isfinite().all() and loss.dtype == torch.float32
        wrong = labels == (0 if extreme > 0 else 1)
        factor = {"ignore_normalize_classes": 4 / 3}.get(mode, 1.0)
        torch.testing.assert_close(logits.grad[wrong].abs().float(), torch.full((2,), factor), rtol=1e-2, atol=0)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("shape", [(0, 3), (2, 3)])
    def test_an_empty_batch_and_one_of_which_nothing_is_known(self, mode, shape):
        logits = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        labels = torch.full(shape, -1, dtype=torch.int8)
        loss = method(3, mode=mode).loss(logits, labels)
        loss.backward()
        assert loss.isfinite() and logits.grad.isfinite().all()
        if mode.startswith("ignore"):
            assert loss.item() == 0 and not logits.grad.any()

    def test_one_label_an_image_is_one_positive_class_among_negatives(self):
        labels, images = torch.tensor([2, 0]), torch.randn(2, 3, dtype=torch.float64)
        found = method(3)(Batch({"main": images}, {"main": labels}, {}, {}), NOW)["loss"]
        hot = nn.functional.one_hot(labels, 3).to(torch.int8)
        torch.testing.assert_close(found, method(3).loss(images, hot))


def test_a_batch_cut_into_parts_has_the_gradient_of_the_whole():
    """The trainer takes the mean over parts, and this loss is a sum."""
    logits, labels = sample()
    made = method(7, mode="ignore")
    whole = made(Batch({"main": logits}, {"main": labels}, {}, {}), NOW)["loss"]
    parts = Batch({"main": logits}, {"main": labels}, {}, {}).parts(2)
    cut = Progress(0, 10, 0.0, 1.0, parts=2)
    torch.testing.assert_close(sum(made(part, cut)["loss"] for part in parts) / 2, whole)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="serves the mode selective alone"):
        Options(mode="ignore", prior="run")
    with pytest.raises(ValueError, match="sequential is for evaluation"):
        Options(stream={"sampling": "sequential"})


RANK = """
import sys, torch, torch.distributed as dist
from tests.methods.test_csl import NOW, Batch, method
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
found = {}
for name, (logits, labels, prior, options) in torch.load(f"{folder}/cases.pt").items():
    own = logits[4 * rank :][:4].clone().requires_grad_()
    batch = Batch({"main": own}, {"main": labels[4 * rank :][:4]}, {}, {})
    loss = method(7, prior, **options)(batch, NOW)["loss"]
    loss.backward()
    found[name] = loss.detach(), own.grad
torch.save(found, f"{folder}/found{rank}.pt")
dist.destroy_process_group()
"""


def test_two_ranks_are_one_process_the_likeliest_of_the_batch_too(tmp_path):
    logits, labels = sample()
    logits[:4] += 3  # most of the likeliest lie on the first rank
    ties = logits.round()
    prior = torch.rand(7, generator=torch.Generator().manual_seed(1))
    cases = {mode: (logits, labels, prior, {"mode": mode, "top_k": 1}) for mode in MODES}
    cases["ties"] = ties, labels, prior, {"top_k": 2}
    cases["image"] = logits, labels, prior, {"top_k": 1, "top_k_over": "image"}
    cases["all"] = logits, labels, prior, {"top_k": 50}
    torch.save(cases, tmp_path / "cases.pt")
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path)], env=environment, cwd=root)
        for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"found{rank}.pt") for rank in range(2))
    for name, (logits, labels, prior, options) in cases.items():
        whole = logits.clone().requires_grad_()
        loss = method(7, prior, **options)(Batch({"main": whole}, {"main": labels}, {}, {}), NOW)["loss"]
        loss.backward()
        torch.testing.assert_close((first[name][0] + second[name][0]) / 2, loss.detach(), rtol=1e-10, atol=0, msg=name)
        grad = torch.cat([first[name][1], second[name][1]]) / 2  # what data parallelism averages
        torch.testing.assert_close(grad, whole.grad, rtol=1e-10, atol=1e-14, msg=name)
