"""The generator that draws the images: gradients, learning, interruptions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import LABELS
from inversions import NORMALIZED
from inversions import TERMS
from inversions import plain_loss_and_gradient
from inversions import two_replicas
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion import RECIPES
from tf_deepinversion import DeepInversion
from tf_deepinversion import FastInversion
from tf_deepinversion.models.generator import Generator


def fast(teacher=None, seed=0, draws=0, latent_noise=1e-30, **changes):
    """By a recipe with so little noise that it changes nothing."""
    return FastInversion(
        teacher or tiny_teacher(),
        NORMALIZED,
        generator=Generator(SHAPE, CLASSES, latents=5, width=8),
        recipe=RECIPES["generator"].replace(
            latent_noise=latent_noise, **changes
        ),
        seed=seed,
        draws=draws,
    )


def still(model, **kwargs):
    """By a constant rate and terms without dropout."""
    model.compile(
        keras.optimizers.SGD(kwargs.pop("rate", 0.01)),
        TERMS,
        **kwargs,
    )


def drawn(generator, latents):
    """z of the images, by the definition."""
    inputs = tf.concat([latents, tf.one_hot(LABELS, CLASSES)], -1)
    black, white = NORMALIZED.bounds()
    return black + (white - black) * generator(inputs, training=True)


def noise(batch=0, seed=0):
    return np.float32(0.5) * np.stack(
        [
            np.random.default_rng((seed, batch, i)).standard_normal(
                5, "float32"
            )
            for i in range(len(LABELS))
        ]
    )


@pytest.mark.parametrize(
    ("jit", "micro_batch"),
    [
        (False, None),
        (True, 2),
        pytest.param(False, 2, marks=pytest.mark.slow),
        pytest.param(True, None, marks=pytest.mark.slow),
    ],
)
def test_one_step_moves_weights_and_latents_by_their_gradients(
    jit, micro_batch
):
    teacher = tiny_teacher()
    model = fast(teacher, latent_rate=3.0, transforms=[])
    twin = keras.models.clone_model(model.generator)
    twin.set_weights(model.generator.get_weights())
    before = [w.numpy() for w in twin.trainable_variables]
    latents = tf.constant(noise())
    with tf.GradientTape() as tape:
        tape.watch(latents)
        z = drawn(twin, latents)
        _, upstream = plain_loss_and_gradient(teacher, z, LABELS)
        pulled = tf.reduce_sum(z * upstream)
    expected = tape.gradient(pulled, [latents, *twin.trainable_variables])
    still(model, jit_compile=jit, micro_batch=micro_batch)
    history = model.fit(LABELS, steps=1, verbose=0)
    loss, _ = plain_loss_and_gradient(teacher, z, LABELS)
    assert history.history["loss"][0] == pytest.approx(loss, rel=1e-5)
    moved_latents, *moved = (v.numpy() for v in model.trainable_variables)
    # The variable is latents / 3, and so its gradient three times theirs.
    np.testing.assert_allclose(
        noise() / 3 - moved_latents, 0.01 * 3 * expected[0], atol=2e-6
    )
    for old, new, gradient in zip(before, moved, expected[1:], strict=True):
        scale = np.abs(gradient).max() * 0.01
        np.testing.assert_allclose(
            old - new, 0.01 * gradient, atol=1e-4 * scale + 1e-6
        )
    np.testing.assert_array_equal(model.images, NORMALIZED.to_pixels(z.numpy()))


def test_a_generator_learns_what_pixels_would():
    model = fast(transforms=[])
    model.compile(keras.optimizers.Adam(0.01), TERMS)
    history = model.fit(LABELS, steps=60, verbose=0, steps_per_epoch=1)
    loss = history.history["loss"]
    assert loss[-1] < 0.75 * loss[0]


def test_weights_that_a_callback_restores_are_the_images_too():
    model, shown = fast(transforms=[]), []
    still(model)
    model.fit(
        LABELS,
        steps=4,
        steps_per_epoch=1,
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: shown.append(model.images)
            ),
            # No loss is greater than that of the first step.
            keras.callbacks.EarlyStopping(
                "loss", mode="max", patience=2, restore_best_weights=True
            ),
        ],
    )
    assert len(shown) == 3
    np.testing.assert_array_equal(model.images, shown[0])
    assert np.abs(model.images.astype(int) - shown[-1]).max() > 1


@pytest.mark.slow
def test_a_loss_scale_changes_no_step():
    weights = []
    for scale in (None, 128.0):
        model = fast(transforms=[])
        optimizer = keras.optimizers.SGD(0.01, loss_scale_factor=scale)
        model.compile(optimizer, TERMS)
        model.fit(LABELS, steps=2, verbose=0)
        weights.append(model.generator.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_later_batches_start_from_what_earlier_ones_have_learned():
    model = fast(transforms=[])
    still(model)
    untrained = model.generator.get_weights()
    model.fit(LABELS, steps=20, verbose=0)
    learned = model.generator.get_weights()
    assert any(
        np.abs(a - b).max() > 1e-3
        for a, b in zip(untrained, learned, strict=True)
    )
    model.fit(LABELS, steps=1, batch_index=1, verbose=0)
    twin = keras.models.clone_model(model.generator)
    twin.set_weights(learned)
    z = drawn(twin, tf.constant(noise(batch=1)))
    gap = model.images.astype(int) - NORMALIZED.to_pixels(z.numpy())
    assert np.abs(gap).max() <= 1


def test_meta_rate_says_how_far_the_generator_goes():
    whole = fast(transforms=[])
    part = fast(transforms=[], meta_rate=0.25)
    start = whole.generator.get_weights()
    for model in (whole, part):
        still(model)
        model.fit(LABELS, steps=5, verbose=0)
    np.testing.assert_array_equal(whole.images, part.images)
    for old, new, found in zip(
        start,
        whole.generator.get_weights(),
        part.generator.get_weights(),
        strict=True,
    ):
        np.testing.assert_allclose(
            found, old + 0.25 * (new - old), rtol=1e-5, atol=1e-7
        )


@pytest.mark.slow
def test_noise_is_added_to_the_latents_anew_every_step():
    model = fast(latent_noise=0.25, transforms=[])
    still(model, rate=0.0)
    model.fit(LABELS, steps=1, verbose=0)
    draws = [
        model.step.draws(tf.constant([seed, 0]), tf.constant(step)).noise
        for seed, step in [(0, 0), (0, 1), (1, 0), *((2, i) for i in range(99))]
    ]
    assert len({d.numpy().tobytes() for d in draws}) == len(draws)
    assert np.std(draws) == pytest.approx(0.25, rel=0.05)
    z = drawn(model.generator, tf.constant(noise()) + draws[0])
    gap = model.images.astype(int) - NORMALIZED.to_pixels(z.numpy())
    assert np.abs(gap).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16", "float16"])
def test_the_generator_computes_in_the_dtype_of_the_images(policy):
    """Keras's global policy must not decide where `dtype` is given."""
    teacher = tiny_teacher()

    def generator():
        model = FastInversion(teacher, NORMALIZED, dtype="float32")
        return model.generator

    expected, before = generator(), keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        found = generator()
    finally:
        keras.config.set_dtype_policy(before)
    # The input computes nothing.
    computing = found.layers[1:]
    assert {layer.compute_dtype for layer in computing} == {"float32"}
    for pair in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(*pair)


def test_one_seed_one_result():
    a, b, c = fast(), fast(), fast(seed=1)
    for model in (a, b, c):
        model.fit(LABELS, steps=3, verbose=0)
    np.testing.assert_array_equal(a.images, b.images)
    assert (a.images != c.images).mean() > 0.5


@pytest.mark.slow
def test_interrupted_it_goes_on_to_the_same_images(tmp_path):
    def run(name, stop=None):
        class Stop(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if epoch == stop:
                    raise KeyboardInterrupt

        model = fast(meta_rate=0.5)
        start = model.generator.get_weights()
        try:
            model.fit(
                LABELS,
                steps=6,
                steps_per_epoch=2,
                verbose=0,
                keep="best",
                checkpoint=tmp_path / name,
                callbacks=[Stop()],
            )
        except KeyboardInterrupt:
            for old, new in zip(
                start, model.generator.get_weights(), strict=True
            ):
                np.testing.assert_array_equal(old, new)
            return None
        return [model.images, *model.generator.get_weights()]

    whole = run("whole.npz")
    assert run("state.npz", stop=1) is None
    for a, b in zip(whole, run("state.npz"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_same_call_in_the_same_process_is_the_same_run(tmp_path):
    model = fast(meta_rate=0.5, transforms=[])
    still(model)

    def run(batch=0, name="state.npz", steps=3):
        model.fit(
            LABELS,
            steps,
            batch_index=batch,
            checkpoint=tmp_path / name,
            verbose=0,
        )
        return [model.images, *model.generator.get_weights()]

    first = run()
    for a, b in zip(first, run(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="another run"):
        run(batch=1)
    for a, b in zip(first[1:], model.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    second = run(1, "next.npz")
    other = fast(meta_rate=0.5, transforms=[])
    still(other)
    for batch in range(2):
        other.fit(LABELS, 3, batch_index=batch, verbose=0)
    for a, b in zip(second[1:], other.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="another run"):
        run()  # from what the second has led to


def test_a_run_that_diverges_leaves_the_generator_as_it_was():
    model = fast(transforms=[])
    start = model.generator.get_weights()
    still(model, rate=float("nan"))
    with pytest.raises(FloatingPointError, match="step 0"):
        model.fit(LABELS, steps=3, verbose=0)
    for old, new in zip(start, model.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "shape", [(28, 28, 1), (32, 32, 3), (30, 20, 2), (8, 8, 1), (65, 64, 3)]
)
def test_generators_draw_images_of_any_shape(shape):
    generator = Generator(shape, 4, latents=3, width=8)
    assert generator.input_shape == (None, 7)
    random = np.random.default_rng(0).normal(size=(6, 7)).astype("float32")
    images = generator(random, training=True).numpy()
    assert images.shape == (6, *shape)
    assert 0 <= images.min() < 0.45 and 0.55 < images.max() <= 1
    again = Generator(shape, 4, latents=3, width=8)
    np.testing.assert_array_equal(again(random, training=True), images)
    other = Generator(shape, 4, latents=3, width=8, seed=1)
    assert np.abs(other(random, training=True) - images).max() > 0.01


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`meta_rate` must.*meta_rate=1.5"):
        fast(meta_rate=1.5)
    with pytest.raises(ValueError, match=r"`latent_rate` must.*latent_rate=0"):
        fast(latent_rate=0)
    with pytest.raises(ValueError, match="needs a recipe that trains a gene"):
        FastInversion(tiny_teacher(), NORMALIZED, recipe="ours")
    with pytest.raises(ValueError, match="use FastInversion.*'ours, after"):
        DeepInversion(tiny_teacher(), NORMALIZED, recipe="generator")
    wrong = Generator((28, 28, 1), CLASSES)
    with pytest.raises(ValueError, match=r"to \(batch, 8, 8, 1\). Received"):
        FastInversion(tiny_teacher(), NORMALIZED, generator=wrong)
    with two_replicas().scope(), pytest.raises(ValueError, match="one device"):
        fast()


def live(teacher=None, **kwargs):
    return FastInversion(
        teacher or tiny_teacher(),
        NORMALIZED,
        generator=Generator(SHAPE, CLASSES, latents=5, width=8),
        recipe="distillation",
        **kwargs,
    )


def test_drawn_images_are_the_generator_s_of_new_latents():
    model = live(seed=3)
    model.fit(LABELS, steps=2, verbose=0)
    before = model.generator.get_weights()
    images = model.draw(LABELS, batch_index=7)
    latents = tf.random.stateless_normal((len(LABELS), 5), (3, 7), alg="philox")
    twin = keras.models.clone_model(model.generator)
    twin.set_weights(before)
    z = drawn(twin, latents)
    gap = images.astype(int) - NORMALIZED.to_pixels(z.numpy())
    assert images.dtype == np.uint8 and np.abs(gap).max() <= 1
    for old, new in zip(before, model.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model.draw(LABELS, batch_index=7), images)
    assert (model.draw(LABELS, batch_index=8) != images).mean() > 0.5


def test_latents_that_are_drawn_are_not_learned():
    model = live()
    model.fit(LABELS, steps=2, verbose=0)
    weights = model.generator.trainable_variables
    assert len(model.trainable_variables) == len(weights)


def test_learned_latents_cannot_be_drawn_anew():
    model = fast()
    with pytest.raises(ValueError, match="can draw images.*latent_scale=0.5"):
        model.draw(LABELS)
    with pytest.raises(ValueError, match="can draw.*draws=2, latent_scale"):
        fast(draws=2)
    with pytest.raises(ValueError, match="`draws` must be.*draws=-1"):
        live(draws=-1)
    with pytest.raises(ValueError, match="labels from 0 to 99"):
        live().draw([0, 99])


def test_the_generator_is_of_the_recipe_s_width():
    recipe = RECIPES["generator"].replace(width=6)
    made = FastInversion(tiny_teacher(), NORMALIZED, recipe=recipe)
    expected = Generator(SHAPE, CLASSES, width=6)
    for weight, other in zip(
        made.generator.get_weights(), expected.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weight, other)
