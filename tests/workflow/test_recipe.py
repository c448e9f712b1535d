from __future__ import annotations

import pytest

from beampipe.errors import ConfigError
from beampipe.workflow import Input, Recipe

RECIPE = Recipe("fill", "code", {"cut": 1.5}, (Input("events", "ab", "events.root"),), label="dijet 1/3")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Recipe("fill", "code", {"cut": 1.5}, (Input("events", "ab", "elsewhere"),), label="x"), True),
        (Recipe("fill", "code", {"cut": 1.6}, RECIPE.inputs), False),
        (Recipe("fill", "other", {"cut": 1.5}, RECIPE.inputs), False),
        (Recipe("full", "code", {"cut": 1.5}, RECIPE.inputs), False),
        (Recipe("fill", "code", {"cut": 1.5}, (Input("events", "ac"),)), False),
        (Recipe("fill", "code", {"cut": 1.5}, (Input("weights", "ab"),)), False),
    ],
)
def test_labels_are_no_part_of_the_key_and_all_else_is(other: Recipe, same: bool) -> None:
    assert (other.key == RECIPE.key) == same


@pytest.mark.parametrize("stage", ["", "../x", "a/b", "A", ".parts"])
def test_a_stage_is_a_plain_name(stage: str) -> None:
    with pytest.raises(ConfigError, match="stage: got"):
        Recipe(stage, "code")


def test_a_recipe_is_called_by_its_label_or_its_key() -> None:
    assert str(RECIPE) == "fill of dijet 1/3"
    assert str(Recipe("fill", "code")) == f"fill of {Recipe('fill', 'code').key}"
