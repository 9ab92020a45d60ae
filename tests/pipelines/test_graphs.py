"""The graphs as DALI serialises them: nothing random inside, and the GPU form is whole, without a GPU."""

import pytest
from dali_graphs import ALL_OPTIONS, gpu_operators, operators, whole_graph

from fastlt import augment
from fastlt.config import PipelineConfig

POLICIES = [{"rand_augment": {}}, *({"auto_augment": name} for name in ("imagenet", "cifar10", "svhn"))]
CONFIGS = [PipelineConfig(name=name, size=64, **ALL_OPTIONS) for name in augment.NAMES]
CONFIGS += [PipelineConfig(name="squash", size=64, **ALL_OPTIONS, **policy) for policy in POLICIES]
# What DALI computes from drawn numbers stays on the CPU; all of it is a few numbers a picture.
ON_CPU = {"ExternalSource", "Constant", "_ArithmeticGenericOp", "_TensorSubscript", "_conditional__Split"}
ON_CPU |= {"Cat", "transforms__Shear", "transforms__Translation"}


@pytest.fixture(params=augment.NAMES)
def recipe(request):
    return request.param


def label(config: PipelineConfig) -> str:
    return config.auto_augment or ("rand_augment" if config.rand_augment else config.name)


@pytest.fixture(params=CONFIGS, ids=label)
def config(request):
    return request.param


def test_a_random_operator_would_be_noticed():
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=1, num_threads=1, device_id=None, exec_dynamic=True)
    def define():
        return fn.random.uniform(range=[0, 1], seed=3)

    (operator,) = operators(define().serialize())
    assert "random" in operator.name and "seed" in operator.arguments


def test_nothing_in_a_graph_is_random(config):
    for operator in operators(whole_graph(config, "encoded", "cpu").serialize()):
        assert "random" not in operator.name.lower(), operator.name
        assert "seed" not in operator.arguments, operator.name


@pytest.mark.parametrize("encoding", ["encoded", "raw"])
def test_the_gpu_form_leaves_pictures_on_the_gpu(config, encoding):
    found = gpu_operators(config, encoding)
    decoders = [op for op in found if op.name.startswith("decoders__")]
    assert [op.device for op in decoders] == (["mixed"] if encoding == "encoded" else [])
    for operator in found:
        if operator.device == "cpu":
            assert operator.name in ON_CPU, f"{operator.name} runs on the CPU"
            assert not any(device == "gpu" for _, device in operator.inputs)
    last = next(op for op in reversed(found) if op.name == "CropMirrorNormalize")
    assert last.device == "gpu"
    assert last.outputs[0][1] == "gpu"


def test_the_gpu_form_has_the_operators_of_the_cpu_form(config):
    cpu = operators(whole_graph(config, "encoded", "cpu").serialize())
    assert {op.name for op in gpu_operators(config, "encoded")} == {op.name for op in cpu}


def test_half_precision_comes_out_of_the_normalisation(recipe):
    def kind(half: bool) -> bytes:
        found = gpu_operators(PipelineConfig(name=recipe), "encoded", half)
        return next(op for op in found if op.name == "CropMirrorNormalize").arguments["dtype"]

    assert kind(True) != kind(False)


def test_an_operator_that_the_config_does_not_ask_for_is_not_there(recipe):
    names = {op.name for op in gpu_operators(PipelineConfig(name=recipe), "encoded")}
    assert ("CoordTransform" in names) == (recipe == "photometric")
    assert not names & {"Flip", "Erase", "_conditional__Split"}
