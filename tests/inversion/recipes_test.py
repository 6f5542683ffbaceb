"""Recipes are plain data, and mean what they say."""

import json

import keras
import numpy as np
import pytest
from absl import app
from distillation_recipes import DISTILLATIONS
from inversions import NORMALIZED
from tiny import tiny_teacher

from tf_deepinversion.core.run_state import fingerprint
from tf_deepinversion.inversion import recipes
from tf_deepinversion.inversion._make_synthesizer import make_synthesizer
from tf_deepinversion.inversion.fast_inversion import FastInversion
from tf_deepinversion.inversion.generator_training import GeneratorTraining
from tf_deepinversion.inversion.recipe import Recipe
from tf_deepinversion.inversion.stage import Stage
from tf_deepinversion.inversion.starts import Noise
from tf_deepinversion.objective.image_terms import L2
from tf_deepinversion.objective.image_terms import TotalVariation
from tf_deepinversion.objective.teacher_terms import CrossEntropy
from tf_deepinversion.objective.teacher_terms import FeatureStatistics
from tf_deepinversion.objective.terms import Term
from tf_deepinversion.optimizers.pyramid_adam import PyramidAdam
from tf_deepinversion.transforms.shifts import Shift


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_recipe_is_whole_and_comes_back_from_json(name):
    recipe = recipes.find(name)
    assert recipes.find(recipe) is recipe
    *terms, last = recipe.terms(with_student=True)
    assert terms == list(recipe.loss) and last is recipe.competition
    for stage in recipe.stages:
        assert len(stage.transforms) >= 1 and recipe.source
    text = json.dumps(keras.saving.serialize_keras_object(recipe))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert isinstance(again, Recipe) and again is not recipe
    assert again.get_config() == recipe.get_config()
    for stage, other in zip(recipe.stages, again.stages, strict=True):
        assert other.optimizer is stage.optimizer
        assert [type(t) for t in other.transforms] == [
            type(t) for t in stage.transforms
        ]


def test_the_papers_cifar10_recipe():
    recipe = recipes.find("cifar10_paper")
    weights = {t.name: t.weight for t in recipe.terms()}
    assert weights == {
        "cross_entropy": 1.0,
        "feature_statistics": 10.0,
        "total_variation": 2.5e-5,
    }
    (stage,) = recipe.stages
    adam = stage.make_optimizer(stage.steps)
    assert stage.steps == 2000 and recipe.batch_size == 256
    assert type(adam) is keras.optimizers.Adam
    assert float(adam.learning_rate) == pytest.approx(0.05)
    assert (adam.beta_1, adam.beta_2) == (0.9, 0.999)
    assert [t.pixels for t in stage.transforms] == [2]


@pytest.mark.parametrize("steps", [2000, 400])
def test_warm_up_and_cosine_fit_the_steps(steps):
    (stage,) = recipes.find("imagenet_20k").stages
    adam = stage.make_optimizer(steps)
    rate = adam._learning_rate
    assert (adam.beta_1, adam.beta_2) == (0.5, 0.9)
    at = np.array([0, 50, 100, (steps + 100) // 2, steps])
    np.testing.assert_allclose(
        [float(rate(s)) for s in at],
        [0, 0.125, 0.25, 0.125, 0],
        atol=1e-6,
    )


def test_a_stage_shorter_than_its_warm_up_is_all_warm_up():
    (stage,) = recipes.find("imagenet_20k").stages
    rate = stage.make_optimizer(10)._learning_rate
    assert [round(float(rate(s)), 3) for s in (0, 4, 8)] == [0, 0.1, 0.2]


@pytest.mark.parametrize("name", sorted(DISTILLATIONS))
def test_a_distillation_fits_its_recipes(name):
    plan = DISTILLATIONS[name]
    for method, recipe in plan.methods.items():
        training = recipes.find(recipe).generator
        assert (training is not None) == (method == "fast")
        # What is drawn needs latents that are not learned.
        if method == "fast" and plan.draws:
            assert training.latent_scale == 0
    names = [type(x).__name__ for x in plan.transforms]
    assert (names == ["Shift", "HorizontalFlip"]) == ("cifar" in name)


def test_the_papers_distillation():
    plan = DISTILLATIONS["cifar10_paper"]
    assert (plan.images_per_round, plan.synthesis_steps) == (256, 2000)
    assert (plan.steps_per_round, plan.temperature) == (50, 3)
    assert plan.rounds * plan.images_per_round == plan.capacity


def test_a_distillation_with_other_numbers():
    plan = DISTILLATIONS["fashion_mnist"]
    changed = plan.changed(["rounds=4,learning_rate=0.1", "optimizer=sgd"])
    assert (changed.rounds, changed.learning_rate) == (4, 0.1)
    assert changed.optimizer == "sgd" and plan.rounds == 32
    assert changed.methods == plan.methods and plan.changed([]) == plan
    for wrong in ("round=4", "methods=adi", "rounds"):
        with pytest.raises((app.UsageError, ValueError)):
            plan.changed([wrong])


def test_the_published_rates_of_the_fast_generator():
    recipe = recipes.find("cifar10_fast")
    (stage,) = recipe.stages
    adam = stage.make_optimizer(stage.steps)
    assert float(adam.learning_rate) == pytest.approx(2e-3)
    assert (adam.beta_1, adam.beta_2) == (0.5, 0.999)
    assert recipe.generator.latent_rate * 2e-3 == pytest.approx(0.01)


def test_replace_changes_the_recipe_each_stage_and_the_generator():
    old = recipes.find("imagenet_multiresolution")
    new = old.replace(batch_size=3, transforms=[Shift(1)])
    assert (new.batch_size, old.batch_size) == (3, 84)
    assert [stage.transforms[0].pixels for stage in new.stages] == [1, 1]
    assert [stage.steps for stage in new.stages] == [2000, 1000]
    assert [stage.transforms[0].pixels for stage in old.stages] == [15, 30]
    assert new.loss == old.loss
    drawn = recipes.find("generator").replace(meta_rate=0.5)
    assert drawn.generator.meta_rate == 0.5
    assert drawn.generator.latent_noise == 0.3


class Contrast(Term):
    """A term of a user's, which Keras does not know."""

    name = "contrast"


def test_a_recipe_without_statistics_has_its_other_terms():
    old = recipes.find("distillation_pixels")
    new = old.without(FeatureStatistics)
    # The sum of the other terms, and nothing else of the recipe.
    assert [type(term) for term in new.loss] == [CrossEntropy, TotalVariation]
    assert new.loss == (old.loss[0], old.loss[2])
    assert new.replace(loss=old.loss).get_config() == old.get_config()
    with pytest.raises(ValueError, match="'CrossEntropy'.*Received: L2"):
        old.without(L2)


def test_terms_and_optimizers_of_the_users_own():
    own = Contrast(2.0)
    recipe = recipes.find("ours").replace(
        loss=[CrossEntropy(), own], optimizer="Lion", learning_rate=0.5
    )
    assert recipe.terms()[1] is own
    lion = recipe.stages[0].make_optimizer(10)
    assert type(lion) is keras.optimizers.Lion
    again = keras.optimizers.serialize(PyramidAdam())["registered_name"]
    assert recipe.replace(optimizer=again).stages[0].optimizer is PyramidAdam


@pytest.mark.parametrize(
    ("share", "steps", "step"),
    [(0.07, 100, 7), (0.55, 100, 55), (0.14, 50, 7), (0.5, 3, 2)],
)
def test_a_snapshot_is_of_the_step_that_its_share_names(share, steps, step):
    """0.07 * 100 is a little more than 7 in floating point."""
    recipe = recipes.find("ours").replace(snapshots=[share])
    assert recipe.moments(steps) == [step]


class SGD(keras.optimizers.Adam):
    """A user's, of the name that another has in Keras."""


class Unregistered(keras.optimizers.Adam):
    """A user's, of a name that nobody else has."""


def test_parts_of_a_recipe_may_come_from_an_iterator():
    ours = recipes.find("ours")
    assert ours.replace(loss=iter(ours.loss)).loss == ours.loss


def test_the_identity_of_an_optimizer_of_the_users_own_is_its_name():
    stage = Stage(5, optimizer=Unregistered)
    assert stage.get_config()["optimizer"] == "Unregistered"


def test_an_optimizer_is_not_taken_for_another_of_its_name():
    own, theirs = Stage(5, optimizer=SGD), Stage(5, optimizer="SGD")
    assert fingerprint(own) != fingerprint(theirs)
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(own)))
    with pytest.raises(ValueError, match="register_keras_serializable.*SGD"):
        keras.saving.deserialize_keras_object(stored)
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(theirs)))
    again = keras.saving.deserialize_keras_object(stored)
    assert again.optimizer is keras.optimizers.SGD


def test_which_terms_there_are():
    recipe = recipes.find("ours")
    assert recipe.terms()[0].feature_dropout == 0.5
    whole, *others = recipe.terms(with_features=False)
    assert (whole.weight, whole.feature_dropout) == (1.0, 0)
    assert others == list(recipe.loss[1:])
    with pytest.raises(ValueError, match="no `competition`.*recipe 'ours'"):
        recipe.replace(competition=None).terms(with_student=True)


class Sharp(CrossEntropy):
    """A user's cross-entropy: twice as steep."""

    def value(self, sums, batch_norms):
        return 2 * super().value(sums, batch_norms)


def test_a_cross_entropy_of_the_users_own_stays_without_a_dense_head():
    recipe = recipes.find("ours").replace(
        loss=[Sharp(3.0, temperature=2.0), Sharp(feature_dropout=0.5)]
    )
    plain, dropping = recipe.terms(with_features=False)
    assert plain is recipe.loss[0] and type(dropping) is Sharp
    assert (dropping.weight, dropping.feature_dropout) == (1.0, 0.0)


def test_make_synthesizer_takes_what_the_recipe_moves():
    teacher = tiny_teacher()
    drawn = make_synthesizer(
        teacher, NORMALIZED, recipe="distillation", draws=3, seed=4
    )
    assert type(drawn) is FastInversion
    assert (drawn.images_per_label, drawn.seed) == (3, 4)
    pixels = make_synthesizer(teacher, NORMALIZED, recipe="ours", seed=4)
    assert not isinstance(pixels, FastInversion) and pixels.seed == 4
    with pytest.raises(ValueError, match="Only a generator draws.*draws=3"):
        make_synthesizer(teacher, NORMALIZED, recipe="ours", draws=3)


OURS, GENERATOR = (recipes.RECIPES[name] for name in ("ours", "generator"))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: recipes.find("best"), ValueError, "of .*recipe='best'"),
        (lambda: recipes.find({"loss": []}), ValueError, "or a `Recipe`"),
        (lambda: OURS.replace(snapshot=[0.5]), TypeError, "ived: snapshot="),
        (lambda: OURS.replace(snapshots=[1]), ValueError, r"in \(0, 1\)"),
        (lambda: OURS.replace(loss=[]), ValueError, "one term.*0 terms"),
        (lambda: OURS.replace(loss=["CE"]), TypeError, "`Term`.*'CE'"),
        (lambda: OURS.replace(competition=1), TypeError, "`Term`.*: 1"),
        (lambda: OURS.replace(stages=[{}]), TypeError, "`Stage`.*{}"),
        (lambda: OURS.replace(generator=5), TypeError, "`GeneratorTr.*5"),
        (lambda: OURS.replace(batch_size=0), ValueError, "batch_size"),
        (
            lambda: GENERATOR.replace(latent_scale=-1),
            ValueError,
            "latent_scale=-1",
        ),
        (
            lambda: OURS.replace(width=8),
            ValueError,
            "no generator.*Received: .'width': 8",
        ),
        (lambda: Stage(0), ValueError, "steps"),
        (lambda: Stage(3, scale=1.5), ValueError, "scale=1.5"),
        (lambda: Stage(3, learning_rate=-1.0), ValueError, "g_rate=-1.0"),
        (lambda: Stage(3, learning_rate=np.nan), ValueError, "g_rate=nan"),
        (
            lambda: Stage(3, warmup_steps=2, decay="constant"),
            ValueError,
            "warmup_steps=2",
        ),
        (lambda: Stage(3, decay="linear"), ValueError, "decay='linear'"),
        (lambda: Stage(3, optimizer="Best"), ValueError, "optimizer='Best'"),
        (
            lambda: Stage(3, optimizer=keras.optimizers.Adam(0.1)),
            ValueError,
            "makes its own optimizer",
        ),
        (lambda: Stage(3, [keras.layers.ReLU()]), TypeError, "transforms"),
        (lambda: Stage(3, momentum=0.5), TypeError, "momentum"),
        (
            lambda: Stage(3, optimizer_arguments={"learning_rate": 1}),
            ValueError,
            "Pass `learning_rate` to the stage",
        ),
        (lambda: Recipe(CrossEntropy(), [Stage(5)]), TypeError, "must be a li"),
        (lambda: Recipe([CrossEntropy()], Stage(5)), TypeError, "must be a li"),
        *[
            (lambda wrong=wrong: CrossEntropy(wrong), ValueError, "`weight` mu")
            for wrong in ("1", None, [1.0, 2.0], -1.0, np.inf, np.nan, True)
        ],
        (
            lambda: Recipe(
                [TotalVariation()],
                [Stage(1), Stage(1)],
                generator=GeneratorTraining(),
            ),
            ValueError,
            "images of one size.*2 stages",
        ),
        (
            lambda: recipes.find("generator").replace(start=Noise(2)),
            ValueError,
            "no coarse noise",
        ),
    ],
)
def test_what_is_no_recipe(make, error, message):
    with pytest.raises(error, match=message):
        make()
