"""Copies answer as their networks do, in each phase: by outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras import ops
from tiny import adapted_teacher
from tiny import tiny_teacher

from tf_deepinversion import Preprocessing
from tf_deepinversion.incremental import grow_head
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.copies import twin_of
from tf_deepinversion.networks.replace_statistics import restated
from tf_deepinversion.networks.replicas import in_scope
from tf_deepinversion.pruning import sparsify

SHAPE = (6, 6, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), "uint8")
IMAGES = PIXELS.astype("float32")


def head(x):
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    return layers.Dense(3)(x)


def after(*stack, dtype="float32"):
    """The layers, then a small classifier."""
    x = inputs = keras.Input(SHAPE, dtype=dtype)
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, head(x))


def adapted(layer, pixels=IMAGES):
    layer.adapt(pixels)
    return layer


def adapted_normalization():
    return after(adapted(layers.Normalization()))


def given_normalization():
    return after(layers.Normalization(mean=[90, 100, 110], variance=[9, 8, 7]))


def inverted_normalization():
    return after(adapted(layers.Normalization(invert=True)))


def adapted_discretization():
    layer = adapted(layers.Discretization(num_bins=5))
    return after(layer, layers.Rescaling(1.0))


def adapted_table():
    table = layers.IntegerLookup(output_mode="int")
    table.adapt(PIXELS[:1].reshape(-1).astype("int64"))
    return after(table, layers.Rescaling(0.1), dtype="int64")


def given_table():
    table = layers.IntegerLookup(vocabulary=list(range(0, 256, 2)))
    return after(table, layers.Rescaling(0.1), dtype="int64")


def spectral_normalization():
    layer = layers.SpectralNormalization(layers.Conv2D(4, 3))
    model = after(layer)
    model(IMAGES, training=True)
    return model


def batch_normalization():
    model = after(layers.Conv2D(4, 3), layers.BatchNormalization(momentum=0.5))
    model(IMAGES, training=True)
    return model


def random_layers():
    """Their generators have been drawn from."""
    model = after(
        layers.RandomFlip(),
        layers.RandomContrast(0.3),
        layers.GaussianNoise(1.0),
        layers.Dropout(0.4, seed=3),
        layers.SpatialDropout2D(0.3),
    )
    model(IMAGES, training=True)
    return model


def augmentation_within():
    augment = [layers.RandomFlip(), layers.RandomTranslation(0.1, 0.1)]
    return after(keras.Sequential(augment), layers.Rescaling(1 / 255))


def base(frozen=0):
    x = inputs = keras.Input(SHAPE)
    x = adapted(layers.Normalization())(x)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
    x = layers.Lambda(lambda t: tf.nn.relu(t) + 0.5)(x)
    model = keras.Model(inputs, x, name="base")
    model(IMAGES, training=True)
    model.trainable = not frozen
    for layer in model.layers[-frozen:] if frozen else ():
        layer.trainable = True
    return model


def nested():
    inputs = keras.Input(SHAPE)
    x = base(frozen=2)(inputs, training=False)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def nested_twice_in_a_sequential():
    inner = keras.Sequential([keras.Input(SHAPE), base()])
    stack = [keras.Input(SHAPE), inner, layers.Flatten(), layers.Dense(3)]
    return keras.Sequential(stack)


class TwoFunctions(layers.Layer):
    """Holds two functions without a name."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.before, self.after = lambda x: x + 1, lambda x: 2 * x

    def call(self, x):
        return self.after(self.before(x))


def two_lambdas():
    return after(TwoFunctions())


def shared():
    """One layer twice in the graph, and once in a model within the model."""
    inputs = keras.Input(SHAPE)
    conv = layers.Conv2D(3, 3, padding="same", activation=lambda x: x * 0.1)
    inner = keras.Sequential([keras.Input(SHAPE), conv, layers.ReLU()])
    x = conv(inner(conv(inputs)))
    return keras.Model(inputs, head(x))


def built_by_call():
    stack = [layers.Flatten(), layers.Dense(4, "relu"), layers.Dense(3)]
    model = keras.Sequential(stack)
    model(IMAGES)
    return model


def operators():
    inputs = keras.Input(SHAPE)
    x = keras.applications.resnet50.preprocess_input(inputs)
    x = ops.concatenate([x / 255.0 - 0.5, 1.0 - ops.relu(x)], -1)
    x = layers.Lambda(keras.applications.mobilenet_v2.preprocess_input)(x)
    x = ops.image.resize(x, (4, 4))
    return keras.Model(inputs, head(x[:, 1:, ..., :4]))


class Remembers(layers.Layer):
    """Keeps what it has seen outside of its weights, as tables do."""

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.seen = scale, np.zeros(3, "float32")

    def call(self, x):
        return (x - self.seen) * self.scale

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["seen"] = self.seen

    def load_own_variables(self, store):
        self.seen = np.array(store["seen"])

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def remembering():
    layer = Remembers(0.01)
    layer.seen = np.array([80, 90, 100], "float32")
    return after(layers.Identity(), layer)


def local_things():
    """Classes and functions that no other module can import."""

    def cube(x):
        return x**3 / 1e6

    class Residual(layers.Layer):
        def __init__(self, inner, **kwargs):
            super().__init__(**kwargs)
            self.inner = inner

        def build(self, shape):
            if not self.inner.built:
                self.inner.build(shape)
            self.scale = self.add_weight(shape=(1,), initializer="ones")

        def call(self, x):
            return x + self.scale * self.inner(x)

        def get_config(self):
            inner = keras.saving.serialize_keras_object(self.inner)
            return {**super().get_config(), "inner": inner}

        @classmethod
        def from_config(cls, config):
            inner = keras.saving.deserialize_keras_object(config.pop("inner"))
            return cls(inner, **config)

    conv = layers.Conv2D(3, 3, padding="same", activation=cube)
    return after(Residual(conv), layers.Activation(cube))


class Counted(layers.Layer):
    """Its weights are made by `build_from_config`, and by nothing else."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.extra = None

    def grow(self, count):
        self.extra = self.add_weight(shape=(count,), initializer="ones")
        self.built = True

    def call(self, x):
        return x if self.extra is None else x * ops.sum(self.extra)

    def get_build_config(self):
        return {"count": int(self.extra.shape[0])}

    def build_from_config(self, config):
        self.grow(config["count"])


def built_from_config():
    layer = Counted()
    layer.grow(4)
    return after(layer)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.norm = adapted(layers.Normalization())
        self.blocks = [layers.Conv2D(width, 3), layers.BatchNormalization()]
        self.top = layers.Dense(3)

    def call(self, x, training=False):
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        return self.top(ops.mean(x, (1, 2)))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def subclassed():
    model = Subclassed(4)
    model(IMAGES)
    model.norm.mean = model.norm.mean + 1.0
    model.norm.adapt_mean.assign(model.norm.adapt_mean + 40.0)
    model.norm.finalize_state()
    return model


class Doubled(keras.Model):
    """A graph, and a `call` of its own that no walk of the graph would see."""

    def __init__(self, width=4, **kwargs):
        inputs = keras.Input(SHAPE)
        outputs = head(layers.Conv2D(width, 3)(inputs))
        super().__init__(inputs, outputs, **kwargs)

    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training)


def mixed_precision():
    policy = keras.DTypePolicy("mixed_bfloat16")
    norm = adapted(layers.Normalization())
    stack = [norm, layers.Conv2D(4, 3, dtype=policy, activation="relu")]
    return after(*stack, layers.BatchNormalization(dtype=policy))


def quantized():
    model = after(layers.Rescaling(1 / 255))
    model.quantize("int8")
    return model


def low_rank():
    model = after(layers.Rescaling(1 / 255))
    model.layers[-1].enable_lora(2)
    model.layers[-1].lora_kernel_b.assign(np.ones((2, 3)))
    return model


def compiled():
    """With a loss that cannot be rebuilt."""
    model = after(adapted(layers.Normalization()))
    model.compile("adam", lambda y, p: ops.mean(p - y), metrics=["mse"])
    return model


BUILDERS = [
    adapted_normalization,
    given_normalization,
    inverted_normalization,
    adapted_discretization,
    adapted_table,
    given_table,
    spectral_normalization,
    batch_normalization,
    random_layers,
    augmentation_within,
    nested,
    nested_twice_in_a_sequential,
    two_lambdas,
    shared,
    built_by_call,
    operators,
    remembering,
    local_things,
    built_from_config,
    subclassed,
    Doubled,
    mixed_precision,
    quantized,
    low_rank,
    compiled,
]


@pytest.mark.parametrize("build", BUILDERS)
def test_a_copy_answers_as_its_network_and_keeps_names_flags_and_types(build):
    keras.utils.set_random_seed(0)
    model = build()
    model(IMAGES)
    copy = copy_of(model)
    for training in (False, True, True, False):
        expected = np.array(model(IMAGES, training=training))
        assert expected.std() > 0
        found = copy(IMAGES, training=training)
        np.testing.assert_array_equal(found, expected, str(training))
    assert type(copy) is type(model) and copy.name == model.name
    assert not copy.compiled
    old, new = model._flatten_layers(), copy._flatten_layers()
    for a, b in zip(old, new, strict=True):
        assert a is not b and a.trainable == b.trainable
        assert a.dtype_policy == b.dtype_policy
    for a, b in zip(model.variables, copy.variables, strict=True):
        assert a is not b and a.trainable == b.trainable
        assert a.dtype == b.dtype
    if build not in (subclassed, Doubled):  # which name their own layers
        kind = "operations" if hasattr(model, "operations") else "layers"
        names = [x.name for x in getattr(model, kind)]
        assert names == [x.name for x in getattr(copy, kind)]


def test_what_is_done_to_a_copy_leaves_its_network():
    model = remembering()
    before = np.array(model(IMAGES))
    copy = copy_of(model)
    copy.layers[2].seen += 5.0
    for variable in copy.variables:
        variable.assign(variable + 1)
    np.testing.assert_array_equal(model(IMAGES), before)


def test_a_model_that_is_frozen_in_part_stays_so():
    model = nested()
    copy = copy_of(model)
    flags = [x.trainable for x in copy.get_layer("base").layers]
    assert flags == [False, False, False, True, True]
    assert not copy.get_layer("base").trainable
    assert len(copy.trainable_variables) == 4  # of a norm, and of the head
    model.layers[-1].bias.trainable = False
    assert len(copy_of(model).trainable_variables) == 3


def test_regularizers_and_constraints_stay():
    conv = layers.Conv2D(
        4, 3, kernel_regularizer="l2", kernel_constraint="non_neg"
    )
    model = after(conv)
    copy = copy_of(model)
    np.testing.assert_allclose(copy.losses, model.losses)
    assert type(copy.layers[1].kernel_constraint) is type(
        conv.kernel_constraint
    )


def test_a_network_of_open_size():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, head(adapted(layers.Normalization())(inputs)))
    copy = copy_of(model)
    assert copy.input_shape == model.input_shape
    np.testing.assert_array_equal(copy(IMAGES), model(IMAGES))


def test_several_inputs_by_name():
    inputs = {"a": keras.Input(SHAPE, name="a"), "b": keras.Input(SHAPE)}
    x = layers.Concatenate()(list(inputs.values()))
    model = keras.Model(inputs, {"logits": head(x)})
    copy = copy_of(model)
    given = {"a": IMAGES, "b": IMAGES[::-1]}
    np.testing.assert_array_equal(copy(given)["logits"], model(given)["logits"])


def test_layers_of_another_width_take_the_places_of_others():
    model = tiny_teacher()

    def changed(layer):
        if isinstance(layer, layers.Dense):
            return twin_of(layer, units=5)

    copy = copy_of(model, changed)
    assert copy.output_shape == (None, 5)
    inner = keras.Model(model.input, model.layers[-2].output)
    same = keras.Model(copy.input, copy.layers[-2].output)
    images = IMAGES[..., :1]
    images = np.pad(images, ((0, 0), (0, 2), (0, 2), (0, 0)))
    np.testing.assert_array_equal(same(images), inner(images))


def mirrored(model):
    return in_scope(model, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))


def measured(model):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 8, 8, 1), "uint8")
    return restated(model, pixels, Preprocessing(127, 74))


def nearly_dense(model):
    images = np.zeros((4, 8, 8, 1), "uint8"), np.zeros(4, "int32")
    return sparsify(model, images, target=1e-9, steps=0)[0]


@pytest.mark.parametrize(
    "makes", [mirrored, measured, nearly_dense, lambda m: grow_head(m, 5)]
)
def test_no_copy_of_the_library_forgets_what_a_layer_has_adapted(makes):
    model = adapted_teacher()
    images = np.random.default_rng(2).uniform(0, 255, (4, 8, 8, 1))
    expected = np.array(model(images))
    np.testing.assert_allclose(
        np.array(makes(model)(images))[:, :3], expected, rtol=1e-3, atol=1e-4
    )


class NoConfig(keras.Model):
    def __init__(self, top):
        super().__init__()
        self.top = top

    def call(self, x):
        return self.top(x)


class Forgets(layers.Layer):
    """Its config says nothing of its argument."""

    def __init__(self, width=2, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(width)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return super().get_config()


def test_what_cannot_be_copied_is_refused_by_name():
    model = NoConfig(layers.Dense(3))
    model(IMAGES)
    with pytest.raises(ValueError, match="'no_config' .*get_config"):
        copy_of(model)
    with pytest.raises(ValueError, match="'forgets.*cannot be rebuilt.*\\(3, "):
        copy_of(after(Forgets(5, name="forgets")))
    with pytest.raises(ValueError, match="Build the model"):
        copy_of(keras.Sequential([layers.Dense(3)]))


def test_two_functions_of_one_name_within_a_layer_are_refused():
    def scaled(by):
        def function(x):
            return x * by

        return function

    conv = layers.Conv2D(3, 3, activation=scaled(2.0))
    model = after(conv, layers.Activation(scaled(3.0)))
    np.testing.assert_array_equal(copy_of(model)(IMAGES), model(IMAGES))
    both = [conv, layers.Activation(scaled(3.0))]

    class Pair(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.both = both

        def call(self, x):
            return both[1](both[0](x))

        def get_config(self):
            return super().get_config()

    with pytest.raises(ValueError, match="two different things.*'function'"):
        copy_of(after(Pair()))
