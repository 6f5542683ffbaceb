"""Recipes are plain data, and mean what they say."""

import json

import numpy as np
import pytest
from distillation_recipes import DISTILLATIONS

from tf_deepinversion.inversion import recipes
from tf_deepinversion.transforms.augmentations import augmentations


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_recipe_is_plain_and_complete(name):
    recipe = recipes.RECIPES[name]
    assert json.loads(json.dumps(recipe)).keys() == recipe.keys()
    assert recipes.find(name) is recipe and recipes.find(recipe) is recipe
    terms = recipes.make_loss(recipe, with_student=True)
    assert len(terms) == len(recipe["loss"]) + 1
    kind, arguments = recipe["competition"]
    assert type(terms[-1]).__name__ == kind
    assert terms[-1].weight == arguments["weight"]
    for stage in recipe["stages"]:
        assert len(recipes.make_transforms(stage)) >= 1
        assert 0 < stage["scale"] <= 1 and stage["steps"] > 0


def test_the_papers_cifar10_recipe():
    recipe = recipes.find("cifar10_paper")
    weights = {t.name: t.weight for t in recipes.make_loss(recipe)}
    assert weights == {
        "cross_entropy": 1.0,
        "feature_statistics": 10.0,
        "total_variation": 2.5e-5,
    }
    (stage,) = recipe["stages"]
    adam = recipes.make_optimizer(stage, stage["steps"])
    assert stage["steps"] == 2000 and recipe["batch_size"] == 256
    assert float(adam.learning_rate) == pytest.approx(0.05)
    assert (adam.beta_1, adam.beta_2) == (0.9, 0.999)


@pytest.mark.parametrize("steps", [2000, 400])
def test_warm_up_and_cosine_fit_the_steps(steps):
    stage = recipes.find("imagenet_20k")["stages"][0]
    adam = recipes.make_optimizer(stage, steps)
    rate = adam._learning_rate
    assert (adam.beta_1, adam.beta_2) == (0.5, 0.9)
    at = np.array([0, 50, 100, (steps + 100) // 2, steps])
    np.testing.assert_allclose(
        [float(rate(s)) for s in at],
        [0, 0.125, 0.25, 0.125, 0],
        atol=1e-6,
    )


def test_a_stage_shorter_than_its_warm_up_is_all_warm_up():
    stage = recipes.find("imagenet_20k")["stages"][0]
    rate = recipes.make_optimizer(stage, 10)._learning_rate
    assert [round(float(rate(s)), 3) for s in (0, 4, 8)] == [0, 0.1, 0.2]


@pytest.mark.parametrize("name", sorted(DISTILLATIONS))
def test_a_distillation_is_plain_and_fits_its_recipes(name):
    plan = DISTILLATIONS[name]
    assert plan.keys() == DISTILLATIONS["fashion_mnist"].keys()
    assert json.loads(json.dumps(plan)).keys() == plan.keys()
    for method, recipe in plan["methods"].items():
        recipe = recipes.find(recipe)
        assert (recipe.get("moves") == "generator") == (method == "fast")
        # What is drawn needs latents that are not learned.
        if method == "fast" and plan["draws"]:
            assert recipe["latents"]["latent_scale"] == 0
    if isinstance(plan["transforms"], list):
        recipes.make_transforms(plan)
    else:
        augmentations(plan["transforms"])
    recipes.find(plan["fixed_recipe"])


def test_the_papers_distillation():
    plan = DISTILLATIONS["cifar10_paper"]
    assert (plan["images_per_round"], plan["synthesis_steps"]) == (256, 2000)
    assert (plan["steps_per_round"], plan["temperature"]) == (50, 3)
    assert plan["rounds"] * plan["images_per_round"] == plan["capacity"]


def test_the_published_rates_of_the_fast_generator():
    (stage,) = recipes.find("cifar10_fast")["stages"]
    adam = recipes.make_optimizer(stage, stage["steps"])
    assert float(adam.learning_rate) == pytest.approx(2e-3)
    assert (adam.beta_1, adam.beta_2) == (0.5, 0.999)
    latents = recipes.find("cifar10_fast")["latents"]
    assert latents["latent_rate"] * 2e-3 == pytest.approx(0.01)


def test_what_is_no_recipe():
    with pytest.raises(ValueError, match=r"copy one.*\['loss', 'stages'\]"):
        recipes.find({"source": "mine", "batch_size": 3})
    with pytest.raises(ValueError, match="one of .*Received: recipe='best'"):
        recipes.find("best")


STAGE = {**recipes.RECIPES["ours"]["stages"][0], "decay": "linear"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"snapshot": [0.5]}, r"no other fields.*Received: \['snapshot'\]"),
        ({"latents": {"latent_sacle": 0}}, r"`latents`.*\['latent_sacle'\]"),
        ({"stages": [{**STAGE, "feature_dropout": 0.5}]}, "feature_dropout"),
        ({"stages": [{"steps": 3}]}, r"A stage is.*without \['decay', 'l"),
        ({"stages": [STAGE]}, "`decay`.*Received: decay='linear'"),
    ],
)
def test_a_field_that_nobody_reads_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        recipes.find({**recipes.RECIPES["ours"], **changed})
    with pytest.raises(ValueError, match=r"student.*without \['competition'\]"):
        lone = {"batch_size": 1, "loss": [], "stages": []}
        recipes.make_loss(lone, with_student=True)
