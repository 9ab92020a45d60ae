"""TResNet from its authors' weight files."""

import re

import pytest
import torch

from fastlt.config import ModelConfig
from fastlt.models import backbones

# How the authors' code nests a layer: convolution 0, norm 1, one level deeper where a blur follows at stride 2.
BLURRED = re.compile(r"(body\.layer2\.0\.conv1|body\.layer[34]\.0\.conv2)\.")


def their_name(name):
    name = BLURRED.sub(r"\1.0.", name)
    return name.replace(".conv.", ".0.").replace(".bn.", ".1.")


def their_state(model):
    """As the authors store it: the scale of an InPlaceABN may be negative, |weight| + 1e-5 is what counts."""
    state = {}
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        is_scale = name.endswith("bn.weight")
        state[their_name(name)] = (tensor - 1e-5) * (-1) ** number if is_scale else tensor
    return state


def made(seed, classes=5, **settings):
    """A network whose norms do something."""
    torch.manual_seed(seed)
    model = backbones.create(ModelConfig(backbone="tresnet_m", **settings), classes, report=lambda line: None)
    if "init" not in settings:
        for name, tensor in model.state_dict().items():
            if name.endswith(("bn.weight", "running_var")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("bn.bias", "running_mean")):
                tensor.normal_(0, 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def source():
    return made(1)


WRAPPED = {
    "model, as ASL and CSL": lambda state: {"model": state, "num_classes": 5, "idx_to_class": {0: "/m/01yrx"}},
    "state_dict, as ImageNet-21K": lambda state: {"state_dict": state},
    "data parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
}


def test_the_names_are_those_of_the_authors_code(source):
    state = their_state(source)
    assert {
        "body.conv1.0.weight",
        "body.conv1.1.running_mean",
        "body.layer1.0.conv1.0.weight",
        "body.layer1.0.se.fc1.bias",
        "body.layer2.0.conv1.0.0.weight",
        "body.layer2.0.conv1.0.1.bias",
        "body.layer2.0.downsample.1.1.weight",
        "body.layer3.0.conv2.0.1.running_var",
        "body.layer4.0.conv2.0.0.weight",
        "body.layer4.2.conv3.1.weight",
        "head.fc.weight",
    } <= set(state)


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_weights_in_the_authors_layout_give_the_same_scores(tmp_path, source, wrapping):
    path = tmp_path / "tresnet.pth"
    torch.save(WRAPPED[wrapping](their_state(source)), path)
    model = made(2, init=str(path), keep_head=True)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), source(images), rtol=1e-4, atol=1e-5)


def test_weights_in_timms_layout_are_taken_as_they_are(tmp_path, source):
    path = tmp_path / "tresnet.pth"
    torch.save({f"module.{name}": tensor for name, tensor in source.state_dict().items()}, path)
    model = made(2, init=str(path), keep_head=True)
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_the_head_of_other_classes_is_dropped_and_one_line_says_so(tmp_path, source):
    path = tmp_path / "tresnet.pth"
    torch.save({"model": their_state(source)}, path)
    lines = []
    config = ModelConfig(backbone="tresnet_m", init=str(path))
    model = backbones.create(config, 21, report=lines.append)
    assert model.get_classifier().weight.shape == (21, 2048)
    assert len(lines) == 1 and "100.0%" in lines[0]


@pytest.mark.slow
def test_the_large_network_takes_its_authors_file_too(tmp_path):
    source = backbones.create(ModelConfig(backbone="tresnet_l"), 5)
    torch.save({"model": their_state(source)}, tmp_path / "tresnet.pth")
    lines = []
    config = ModelConfig(backbone="tresnet_l", init=str(tmp_path / "tresnet.pth"))
    model = backbones.create(config, 5, report=lines.append)
    assert "100.0%" in lines[0]
    assert torch.equal(model.body.layer4[2].conv3.conv.weight, source.body.layer4[2].conv3.conv.weight)
