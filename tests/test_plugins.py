"""What a recipe names is a file; a wrong name is answered with the nearest right one."""

import pytest

from fastlt import losses, methods, plugins
from fastlt.config import LossConfig, MethodConfig, StreamConfig
from fastlt.errors import UserError


def test_every_method_and_loss_has_options_that_bear_its_name():
    assert {name: methods.options(name)().name for name in ("erm",)} == {"erm": "erm"}
    for name in losses.loss_names():
        assert issubclass(losses.options(name), LossConfig) and losses.options(name)().name == name


def test_helpers_and_the_contract_are_no_methods():
    assert "base" not in methods.method_names()
    assert not [name for name in methods.method_names() if name.startswith("_")]


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"method.name emr is unknown; did you mean erm\?"):
        methods.options("emr")
    with pytest.raises(UserError, match="method.loss hinge is unknown; known are .*cross_entropy"):
        losses.options("hinge")


def test_the_class_that_a_file_imports_is_not_its_own():
    assert plugins.defined_in(plugins.find(methods, "method.name", "erm"), MethodConfig) is not MethodConfig


@pytest.mark.parametrize("name", methods.method_names())
def test_no_method_trains_in_order(name):
    """An evaluation's stream shows the same images first in every epoch."""
    kind = methods.options(name)
    streams = [field for field, value in kind() if isinstance(value, StreamConfig)]
    assert streams
    for field in streams:
        with pytest.raises(ValueError, match="sequential is for evaluation"):
            kind.model_validate({"name": name, field: {"sampling": "sequential"}})
