"""What the losses may be given: every layout, nothing, wrong things; and what they must leave alone."""

import itertools

import pytest
import torch
from loss_cases import BY_NAME, CASES, ONE_EACH, assert_same

from fastlt import ops

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.op)


def transposed(x):
    return x.t().contiguous().t() if x.ndim == 2 else x


def strided(x):
    """Every second element of a larger tensor."""
    larger = x.new_zeros([2 * size for size in x.shape])
    view = larger[tuple(slice(None, None, 2) for _ in x.shape)]
    return view.copy_(x)


def offset(x):
    """Begins at an odd element, so that no wide load is aligned."""
    storage = x.new_zeros(x.numel() + 1)
    return storage[1:].view(x.shape).copy_(x)


def from_channels_last(x):
    """As pooled features of a channels-last network come: [B, C] with the strides of [B, C, 1, 1]."""
    if x.ndim != 2:
        return x
    wide = x[:, :, None, None].expand(*x.shape, 2, 3).contiguous(memory_format=torch.channels_last)
    return wide[:, :, 0, 0]


@one_each
@pytest.mark.parametrize("layout", [transposed, strided, offset, from_channels_last])
def test_any_layout_gives_the_same(backend, case, layout):
    for dtype in (torch.float32, torch.bfloat16):
        inputs = case.inputs(5, 33, dtype)
        changed = inputs.change(layout)
        found = case.value_and_gradients(ops, changed)
        assert all(torch.equal(x, y) for x, y in zip(changed.learnt.values(), inputs.learnt.values(), strict=True))
        assert_same(found, case.value_and_gradients(ops, inputs))


@pytest.mark.parametrize("name", ["everything", "lsep", "dive"])
def test_expanded_inputs_get_their_gradient(backend, name):
    case = BY_NAME[name]
    inputs = case.inputs(4, 9)
    row = inputs.learnt["logits"][:1].clone().requires_grad_()
    inputs.learnt["logits"] = row.expand(4, 9)
    case.loss(ops, inputs).backward()
    wanted = case.exact(inputs)["logits"].sum(0, keepdim=True)
    assert_same({"row": row.grad}, {"row": wanted})


@each_case
def test_nothing_in_gives_zero_and_not_nan(backend, case):
    inputs = case.inputs(0, 7)
    for reduction, shape in (("mean", ()), ("sum", ()), ("row", (0,))):
        found = case.value_and_gradients(ops, inputs, reduction=reduction)
        assert found["loss"].shape == shape
        assert (found["loss"] == 0).all()
        for name, x in inputs.learnt.items():
            assert found[name].shape == x.shape
            assert (found[name] == 0).all()


@pytest.mark.parametrize("name", ["everything", "asymmetric", "lsep"])
def test_multi_label_rows_without_classes_are_nothing_too(backend, name):
    case = BY_NAME[name]
    found = case.value_and_gradients(ops, case.inputs(3, 0))
    assert found["loss"] == 0
    assert found["logits"].shape == (3, 0)


@pytest.mark.parametrize("name", ["bce", "everything", "lsep", "balanced_softmax", "dive", "prototype_all"])
def test_one_class_is_enough(backend, name):
    case = BY_NAME[name]
    for batch in (1, 9):
        inputs = case.inputs(batch, 1)
        assert_same(case.value_and_gradients(ops, inputs), case.exact(inputs))


@pytest.mark.parametrize("only", [-1, 0, 1])
@pytest.mark.parametrize("name", ["bce", "asymmetric", "everything", "lsep"])
def test_targets_of_one_kind(backend, name, only):
    case = BY_NAME[name]
    inputs = case.inputs(4, 19)
    inputs.given["targets"].fill_(only)
    found = case.value_and_gradients(ops, inputs)
    assert_same(found, case.exact(inputs))
    if only == -1 and name != "everything":
        assert found["loss"] == 0
        assert (found["logits"] == 0).all()


@each_case
def test_inputs_are_not_written(backend, case):
    inputs = case.inputs(5, 20)
    before = inputs.change(torch.clone)
    case.value_and_gradients(ops, inputs)
    case.value_and_gradients(ops, inputs, reduction="row")
    for now, then in ((inputs.learnt, before.learnt), (inputs.given, before.given)):
        assert all(torch.equal(now[name], then[name]) for name in now)


@each_case
def test_every_element_of_the_results_is_written(backend, case, poisoned_memory):
    for shape, dtype in itertools.product(((5, 7), (3, 33)), (torch.float32, torch.bfloat16, torch.float64)):
        inputs = case.inputs(*shape, dtype)
        for reduction in ("mean", "row"):
            found = case.value_and_gradients(ops, inputs, reduction=reduction)
            assert not any(x.isnan().any() for x in found.values())
            assert_same(found, case.exact(inputs, reduction=reduction))


@pytest.fixture
def poisoned_memory():
    """New tensors are full of NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@each_case
def test_results_have_the_same_bits_every_time_and_for_any_number_of_threads(compiled, case):
    """The contrastive losses every time only: torch's matrix products depend on the number of threads."""
    shape = (17, 40) if compiled.simulated else (67, 1001)
    for dtype in (torch.float32, torch.bfloat16):
        inputs = case.inputs(*shape, dtype)
        results = []
        for threads in (2, 2, 2) if "contrastive" in case.op else (1, 2, 1, 3):
            torch.set_num_threads(threads)
            rows = case.value_and_gradients(ops, inputs, reduction="row")
            results.append([*rows.values(), *case.value_and_gradients(ops, inputs).values()])
        for other in results[1:]:
            assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@each_case
def test_a_row_does_not_depend_on_the_rows_around_it(compiled, case):
    """So its loss has the same bits in every batch."""
    if case.op == "supervised_contrastive":
        pytest.skip("whose rows are each other's classes")
    inputs = case.inputs(9, 33)
    batch = inputs.learnt.get("features", inputs.learnt.get("logits"))
    rows = case.loss(ops, inputs, reduction="row")
    some = inputs.change(
        lambda x: (
            x[2:5] if x.shape[0] == len(batch) and x.ndim == batch.ndim or x.ndim == 1 and x.dtype == torch.int64 else x
        )
    )
    assert torch.equal(case.loss(ops, some, reduction="row"), rows[2:5])


LOGITS = torch.zeros(3, 4)
TARGETS = torch.zeros(3, 4, dtype=torch.int8)
LABELS = torch.tensor([0, 1, 3])
PRIOR = torch.zeros(4)

REFUSED = {
    "targets of another type": (ops.sigmoid_loss, (LOGITS, TARGETS.long()), {}, "targets must be int8"),
    "targets of another shape": (ops.sigmoid_loss, (LOGITS, TARGETS[:2]), {}, "targets must be int8"),
    "logits of one dimension": (ops.sigmoid_loss, (LOGITS[0], TARGETS[0]), {}, "logits must be .B, C., but has 1"),
    "whole-numbered logits": (ops.sigmoid_loss, (TARGETS, TARGETS), {}, "logits must be float64, float32, bfloat16"),
    "a negative exponent": (
        ops.sigmoid_loss,
        (LOGITS, TARGETS),
        {"gamma_unknown": -1.0},
        "focusing exponents must be at least 0",
    ),
    "an infinite exponent": (
        ops.sigmoid_loss,
        (LOGITS, TARGETS),
        {"gamma_positive": torch.inf},
        "focusing exponents must be",
    ),
    "a margin of one": (ops.sigmoid_loss, (LOGITS, TARGETS), {"margin": 1.0}, "margin must be at least 0 and below 1"),
    "a short vector": (
        ops.sigmoid_loss,
        (LOGITS, TARGETS),
        {"positive_scale": PRIOR[:3]},
        "positive_scale must be .C.",
    ),
    "a vector of another type": (
        ops.sigmoid_loss,
        (LOGITS, TARGETS),
        {"negative_weight": PRIOR.double()},
        "negative_weight must be float32",
    ),
    "a single vector beside double logits": (
        ops.sigmoid_loss,
        (LOGITS.double(), TARGETS),
        {"positive_shift": PRIOR},
        "positive_shift must be float64",
    ),
    "a weight of another shape": (
        ops.sigmoid_loss,
        (LOGITS, TARGETS),
        {"weight": PRIOR},
        "weight must be bool or float32",
    ),
    "a whole-numbered weight": (
        ops.sigmoid_loss,
        (LOGITS, TARGETS),
        {"weight": TARGETS},
        "weight must be bool or float32",
    ),
    "another shape for lsep": (ops.lsep, (LOGITS, TARGETS[:, :2]), {}, "targets must be int8"),
    "labels of another type": (ops.balanced_softmax, (LOGITS, LABELS.int(), PRIOR), {}, "labels must be int64"),
    "too few labels": (ops.balanced_softmax, (LOGITS, LABELS[:2], PRIOR), {}, "labels must be int64"),
    "a short prior": (ops.balanced_softmax, (LOGITS, LABELS, PRIOR[:2]), {}, "log_prior must be .C. with C = 4"),
    "another teacher": (ops.dive, (LOGITS, LOGITS[:2], LABELS, PRIOR), {"temperature": 1.0}, "teacher_logits must"),
    "no temperature": (ops.dive, (LOGITS, LOGITS, LABELS, PRIOR), {"temperature": 0.0}, "temperature must be above 0"),
    "no power": (
        ops.dive,
        (LOGITS, LOGITS, LABELS, PRIOR),
        {"temperature": 1.0, "power": 0.0},
        "power must be above 0",
    ),
    "a large alpha": (
        ops.dive,
        (LOGITS, LOGITS, LABELS, PRIOR),
        {"temperature": 1.0, "alpha": 1.5},
        "alpha must be from",
    ),
    "other prototypes": (
        ops.prototype_contrastive,
        (LOGITS, torch.zeros(5, 3), LABELS),
        {"temperature": 1.0},
        "prototypes must",
    ),
    "one class without a denominator": (
        ops.prototype_contrastive,
        (LOGITS, LOGITS[:1], torch.zeros(3, dtype=torch.int64)),
        {"temperature": 1.0},
        "without the positive in the denominator at least two",
    ),
    "a negative temperature": (
        ops.supervised_contrastive,
        (LOGITS, LABELS),
        {"temperature": -1.0},
        "temperature must be above 0",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_wrong_arguments_are_refused_in_one_line_that_names_the_operator(backend, what):
    function, arguments, settings, message = REFUSED[what]
    with pytest.raises(RuntimeError, match=f"{function.__name__}: {message}") as refusal:
        function(*arguments, **settings)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("label", [-1, 4, 2**40])
def test_labels_out_of_range(backend, label):
    """An error on the CPU; CUDA, which cannot raise, makes the row NaN."""
    labels = torch.tensor([0, label, 3])
    calls = {
        "balanced_softmax": lambda: ops.balanced_softmax(LOGITS, labels, PRIOR, reduction="row"),
        "dive": lambda: ops.dive(LOGITS, LOGITS, labels, PRIOR, temperature=2.0, reduction="row"),
        "prototype_contrastive": lambda: ops.prototype_contrastive(
            LOGITS, torch.eye(4), labels, temperature=1.0, reduction="row"
        ),
    }
    for name, call in calls.items():
        if not backend.raises_for_labels:
            assert call().isnan().tolist() == [False, True, False]
        elif backend.kernels is None:  # torch's own words
            with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
                call()
        else:
            with pytest.raises(RuntimeError, match=f"{name}: label {label} of row 1 is not a class"):
                call()


@one_each
def test_unknown_words_are_refused(backend, case):
    with pytest.raises(ValueError, match=f"{case.op}: reduction must be one of row, sum, mean, not average"):
        case.loss(ops, case.inputs(2, 3), reduction="average")
    if case.op == "sigmoid_loss":
        with pytest.raises(ValueError, match="sigmoid_loss: unknown must be ignore or negative, not positive"):
            case.loss(ops, case.inputs(2, 3), unknown="positive")
