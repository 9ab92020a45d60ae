"""The page of methods names every one there is, and no command that does not work."""

import re
from pathlib import Path

import pytest

from fastlt import losses, methods, resources

PAGE = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^\*\*.*?(?=\n\n|\Z)", PAGE, re.MULTILINE | re.DOTALL)
KNOWN = {"recipe": resources.list_recipes(), "sweep": resources.list_sweeps()}


@pytest.mark.parametrize("name", [*methods.method_names(), *losses.loss_names()])
def test_every_method_and_loss_is_explained(name):
    assert any(f"`{name}`" in section.splitlines()[0] for section in SECTIONS)


def test_each_in_three_lines():
    assert len(SECTIONS) > 10 and {len(section.splitlines()) for section in SECTIONS} == {3}


@pytest.mark.parametrize(("command", "kind"), [("train", "recipe"), ("gradients", "recipe"), ("sweep", "sweep")])
def test_its_commands_name_what_is_there(command, kind):
    named = re.findall(rf"fastlt {command} ((?:[a-z0-9_]+/[a-z0-9_]+ ?)+)", PAGE)
    assert named and set(" ".join(named).split()) <= set(KNOWN[kind])
