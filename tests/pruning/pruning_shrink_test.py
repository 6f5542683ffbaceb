"""Shrunken networks do what masked ones do, for every way to join channels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras import ops
from pruned import chain
from pruned import conv
from pruned import pooled_head
from pruned import random_keep
from pruned import randomized
from tiny import adapted_teacher

from tf_deepinversion import Preprocessing
from tf_deepinversion.models import VGG11BN
from tf_deepinversion.models import ResNet14
from tf_deepinversion.models import load_pretrained
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import LatencyTable
from tf_deepinversion.pruning import mask_channels
from tf_deepinversion.pruning import narrow
from tf_deepinversion.pruning import prune
from tf_deepinversion.pruning import shrink
from tf_deepinversion.pruning.channels.cost import flops
from tf_deepinversion.pruning.channels.cost import parameters
from tf_deepinversion.pruning.channels.functional import functional

RANDOM = np.random.default_rng(0)


def calibrated(model, scale):
    """Statistics of images, so that the outputs of a deep network differ."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    randomized(model)
    model(
        random.normal(size=(8, *model.input_shape[1:])) * scale, training=True
    )


def check(model, seed=0, scale=1.0, draw=True):
    """Shrinks at random widths; returns the smaller model."""
    if draw:
        randomized(model, seed)
    graph = ChannelGraph(model)
    keep = random_keep(graph, seed)
    assert 0 < keep.sum() < graph.count
    images = np.random.default_rng(1).normal(size=(3, *model.input_shape[1:]))
    images = (images * scale).astype("float32")
    whole = np.asarray(model(images, training=False))
    smaller = shrink(model, keep)
    same = model(images, training=False)
    np.testing.assert_array_equal(same, whole)  # left as it was
    masked = mask_channels(model, keep)(images, training=False)
    masked = np.asarray(masked)
    assert masked.std(0).max() > 1e-3, "The outputs do not depend on images."
    assert np.abs(masked - whole).max() > 1e-2
    tolerance = 1e-4 * max(1.0, np.abs(masked).max())
    for network in (smaller, shrink(model)):
        found = network(images, training=False)
        np.testing.assert_allclose(found, masked, atol=tolerance)
    assert shrink(model).count_params() == smaller.count_params()
    assert smaller.count_params() < model.count_params()
    return smaller


def with_biases():
    return chain(conv(6), layers.ReLU(), conv(5), layers.ELU(), *pooled_head())


def functions_of_zero_are_not_zero():
    return chain(
        conv(6, activation="sigmoid"),
        layers.BatchNormalization(),
        layers.Activation("softplus"),
        conv(6),
        layers.Activation("sigmoid"),
        *pooled_head(),
    )


def depthwise_and_separable():
    return chain(
        conv(4),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        layers.SeparableConv2D(6, 3, depth_multiplier=3),
        layers.PReLU(shared_axes=[1, 2]),
        *pooled_head(),
    )


def flattened():
    return chain(
        conv(5),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(8, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(3, activation="softmax"),
    )


def transposed():
    return chain(
        conv(6),
        layers.Conv2DTranspose(5, 3, strides=2),
        layers.BatchNormalization(scale=False),
        layers.LeakyReLU(),
        layers.Cropping2D(1),
        layers.UpSampling2D(),
        conv(4),
        layers.ZeroPadding2D(),
        *pooled_head(),
        layers.Softmax(),
    )


def one_dimensional():
    return chain(
        layers.Conv1D(6, 3),
        layers.BatchNormalization(center=False),
        layers.AveragePooling1D(2),
        layers.SeparableConv1D(5, 3),
        layers.GlobalMaxPooling1D(),
        layers.Dense(3),
        shape=(12, 2),
    )


def branches():
    """Concatenation, addition of what was concatenated, excitation."""
    inputs = keras.Input((8, 8, 2))
    a, b = conv(3)(inputs), conv(4)(inputs)
    joined = layers.Concatenate()([a, b])
    x = layers.ReLU()(layers.BatchNormalization()(joined))
    x = layers.Add()([joined, conv(7)(x)])
    squeezed = layers.GlobalAveragePooling2D()(x)
    squeezed = layers.Reshape((1, 1, 7))(squeezed)
    squeezed = conv(4, 1, activation="relu")(squeezed)
    squeezed = conv(7, 1, activation="sigmoid")(squeezed)
    x = layers.Multiply()([x, squeezed])
    x = layers.Maximum()([x, conv(7)(inputs)])
    attention = conv(1, 1, activation="sigmoid")(x)
    x = layers.Multiply()([x, attention])
    stacked = layers.Concatenate(axis=1)([x, layers.Average()([x, joined])])
    x = layers.GlobalMaxPooling2D()(stacked)
    return keras.Model(inputs, layers.Dense(3)(x))


def shared():
    inputs = keras.Input((8, 8, 2))
    twice, normalize = conv(6), layers.BatchNormalization()
    x = conv(6)(inputs)
    x = normalize(twice(x))
    x = normalize(twice(layers.ReLU()(x)))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def sequential():
    return keras.Sequential(
        [keras.Input((8, 8, 2)), conv(6), layers.ReLU(), *pooled_head()]
    )


def operators():
    """As a network is written without `Add`, `ReLU` and their kin."""
    x = inputs = keras.Input((8, 8, 2))
    x = x / 255.0 - 0.5
    x = ops.relu(layers.BatchNormalization()(conv(6)(x)))
    x = x + keras.activations.gelu(conv(6)(x))
    x = ops.concatenate([x, 2.0 - conv(3)(x) * 3.0], -1)
    squeezed = ops.mean(x, (1, 2), keepdims=True)
    x = x * ops.sigmoid(conv(9, 1)(squeezed)) - conv(9)(x)
    x = ops.cast(ops.clip(ops.maximum(x, 0.1), 0.0, 5.0), "float32")
    x = ops.minimum(ops.square(conv(5)(x)), conv(1)(x) * 2.0 + 1.0)
    return keras.Model(inputs, layers.Dense(3)(ops.max(x, (1, 2))))


def nested():
    """A base within a model, and in it another; what follows is within too."""
    inner = keras.Sequential(
        [keras.Input((8, 8, 5)), conv(6), layers.ReLU(), conv(4)]
    )
    x = inputs = keras.Input((8, 8, 2))
    x = inner(layers.ReLU()(conv(5)(x)))
    base = keras.Model(inputs, [x, layers.BatchNormalization()(x)])
    augment = keras.Sequential([layers.RandomFlip(), layers.Rescaling(2.0)])
    top = keras.Sequential([keras.Input((8, 8, 8)), conv(3), *pooled_head()])
    inputs = keras.Input((8, 8, 2))
    a, b = base(augment(inputs), training=False)
    return keras.Model(inputs, top(layers.Concatenate()([a, b])))


def nested_twice():
    inner = keras.Sequential([keras.Input((8, 8, 5)), conv(5), layers.ReLU()])
    x = inputs = keras.Input((8, 8, 2))
    x = inner(inner(conv(5)(x)))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def unknown_functions():
    """Those of one's own that are followed, for each number has its own."""
    return chain(
        conv(6, activation=tf.nn.elu),
        layers.Activation(lambda x: ops.cos(x) - 0.3 * x),
        conv(5, activation=tf.nn.leaky_relu),
        layers.ReLU(negative_slope=0.1, threshold=1.0),
        *pooled_head(),
    )


@keras.saving.register_keras_serializable("tests")
def shared_out(x):
    return 9.0 * ops.softmax(x)


@keras.saving.register_keras_serializable("tests")
def centered(x):
    return x - ops.mean(x)


def mixing_functions():
    """Their channels stay, those around them may go."""
    return chain(
        conv(6, activation="relu"),
        conv(5, activation=shared_out),
        conv(6, activation="relu"),
        layers.Activation(centered),
        conv(4),
        ops.softmax,
        conv(4, activation="relu"),
        *pooled_head(),
    )


def grouped():
    """As ResNeXt: what surrounds the grouped convolution stays, too."""
    x = inputs = keras.Input((8, 8, 2))
    x = conv(6, activation="relu")(x)
    y = conv(4, 1, activation="relu")(x)
    y = conv(8, groups=2, activation="relu")(y)
    x = layers.Add()([x, conv(6, 1)(y)])
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def normalized_over_channels():
    """As ConvNeXt and ViT: the wide layers within the blocks are pruned."""
    x = inputs = keras.Input((8, 8, 2))
    x = layers.LayerNormalization()(conv(6)(x))
    y = layers.Dense(5, activation="gelu")(layers.GroupNormalization(2)(x))
    x = layers.Add()([x, layers.Dense(6)(y)])
    x = layers.Reshape((64, 6))(x)
    y = layers.RMSNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 3)(y, y)
    y = layers.Dense(7, activation="gelu")(layers.LayerNormalization()(x))
    x = layers.EinsumDense("bti,io->bto", (64, 5))(x + layers.Dense(6)(y))
    return keras.Model(
        inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))
    )


def preprocessing_in_the_graph():
    x = inputs = keras.Input((8, 8, 3))
    x = keras.applications.resnet50.preprocess_input(x)
    x = layers.Lambda(lambda t: t / 255.0)(x) ** 2
    norm = layers.Normalization()
    norm.adapt(100 * np.random.default_rng(0).normal(size=(5, 8, 8, 3)))
    x = ops.flip(norm(x), 2)[:, 1:]
    x = layers.ReLU()(conv(6)(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def resnet():
    return ResNet14((8, 8, 2), 3, width=4)


def vgg():
    return VGG11BN((8, 8, 2), 3, width=3)


@pytest.mark.parametrize(
    "build",
    [
        with_biases,
        functions_of_zero_are_not_zero,
        depthwise_and_separable,
        flattened,
        transposed,
        one_dimensional,
        branches,
        shared,
        sequential,
        operators,
        nested,
        nested_twice,
        unknown_functions,
        mixing_functions,
        grouped,
        normalized_over_channels,
        preprocessing_in_the_graph,
        resnet,
        vgg,
    ],
)
def test_the_smaller_network_does_what_the_masked_one_does(build):
    keras.utils.set_random_seed(0)
    loud = resnet, vgg, transposed, preprocessing_in_the_graph
    scale = 100.0 if build in loud else 2.0
    check(build(), scale=scale)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", ["fashion_mnist_resnet20", "fashion_mnist_vgg11"]
)
def test_the_networks_that_ship(name, seed):
    check(load_pretrained(name), seed, scale=100.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["ResNet50", "MobileNetV2", "EfficientNetB0", "DenseNet121"]
    + ["InceptionV3", "Xception", "MobileNetV3Small"],
)
def test_applications(name):
    keras.utils.set_random_seed(0)
    size = 96 if name in ("InceptionV3", "Xception") else 64
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(size, size, 3),
        classes=10,
        classifier_activation=None,
    )
    scale = 64.0 if name == "EfficientNetB0" else 1.0
    calibrated(model, scale)
    check(model, scale=scale, draw=False)


def test_layers_that_mix_channels_keep_those_that_they_are_given():
    graph = ChannelGraph(grouped())
    assert graph.count == 6  # those of the residual stream
    model = normalized_over_channels()
    graph = ChannelGraph(model)
    assert np.bincount(graph.groups).tolist() == [5, 7]
    wide = 64 * 2 * 6 * (5 + 7)
    attention = 64 * 4 * 6 * 2 * 3  # query, key, value and output
    others = 64 * (9 * 2 * 6 + 6 * 5) + 5 * 3
    assert flops(graph) == 2 * (wide + attention + others)


def test_groups_of_a_residual_network():
    graph = ChannelGraph(ResNet14((8, 8, 1), 3, width=4))
    makers = [
        [layer.name for layer in graph.makers(group)]
        for group in range(graph.groups.max() + 1)
    ]
    stream = ["stem_conv", "stage0_block0_b_conv", "stage0_block1_b_conv"]
    assert makers[0] == stream
    assert makers[1] == ["stage0_block0_a_conv"]
    assert ["stage1_block0_shortcut_conv", "stage1_block0_b_conv"] in [
        sorted(m)[::-1][:2] for m in makers
    ] or any("stage1_block0_shortcut_conv" in m and len(m) == 3 for m in makers)
    assert not any("logits" in m for m in makers)
    assert np.bincount(graph.groups).tolist() == [
        len(graph.outputs[graph.makers(g)[0]]) for g in range(len(makers))
    ]


def test_channels_are_numbered_alike_after_shrinking():
    model = ResNet14((8, 8, 1), 3, width=4)
    graph = ChannelGraph(model)
    keep = random_keep(graph)
    smaller = ChannelGraph(shrink(model, keep))
    assert smaller.count == keep.sum()
    np.testing.assert_array_equal(smaller.groups, graph.groups[keep])


def test_a_gate_on_batch_normalization_suffices():
    model = randomized(ResNet14((8, 8, 1), 3, width=4))
    for layer in model.layers:
        if layer.name == "stage1_block1_a_bn":
            for variable in (layer.gamma, layer.beta):
                variable.assign(variable * np.array([0, 1, 0, 1, 1, 1, 0, 1]))
    smaller = shrink(model)
    assert smaller.get_layer("stage1_block1_a_conv").filters == 5
    images = RANDOM.uniform(0, 255, (2, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(smaller(images), model(images), atol=1e-4)
    assert shrink(smaller).count_params() == smaller.count_params()


def test_a_sigmoid_of_zero_is_not_dropped():
    """A channel made as zero, but read as one half, must stay."""
    model = chain(conv(4), layers.Activation("sigmoid"), *pooled_head())
    kernel = keras.ops.convert_to_numpy(model.layers[1].kernel)
    model.layers[1].kernel.assign(kernel * np.array([0, 1, 1, 1]))
    assert shrink(model).count_params() == model.count_params()


def test_a_group_that_would_vanish_keeps_one():
    model = randomized(chain(conv(4, name="first"), conv(3), *pooled_head()))
    first = model.get_layer("first")
    first.kernel.assign(first.kernel * 0)
    first.bias.assign(first.bias * 0)
    with pytest.warns(
        UserWarning, match="first.* are zero or unread: one channel stays"
    ):
        smaller = shrink(model)
    assert smaller.get_layer("first").filters == 1
    images = RANDOM.normal(size=(2, 8, 8, 2)).astype("float32")
    np.testing.assert_allclose(smaller(images), model(images), atol=1e-5)
    keep = np.ones(ChannelGraph(model).count, bool)
    keep[:4] = False
    with pytest.raises(ValueError, match="would vanish.*none of first"):
        shrink(model, keep)


def test_a_shrunken_model_is_plain_and_can_be_saved(tmp_path):
    model = randomized(ResNet14((8, 8, 1), 3, width=4))
    smaller = shrink(model, random_keep(ChannelGraph(model)))
    smaller.save(tmp_path / "smaller.keras")
    again = keras.saving.load_model(tmp_path / "smaller.keras")
    images = RANDOM.uniform(0, 255, (2, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(again(images), smaller(images))
    assert [x.name for x in again.layers] == [x.name for x in model.layers]
    assert type(again) is keras.Model or type(again).__name__ == "Functional"
    assert again.name == model.name


class Mixing(layers.Layer):
    def call(self, x):
        return x[..., ::-1]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Mixing(name="mixing"), "'mixing'.*may mix channels"),
        (layers.Permute((3, 1, 2), name="turn"), "'turn'"),
        (layers.Reshape((8, 16, 2), name="cut"), "mixes channels.*'cut'"),
        (layers.BatchNormalization(name="r", renorm=True), "'r'.*renorm"),
        (layers.BatchNormalization(1, name="rows"), "'rows'.*another axis"),
        (layers.Dropout(0.1, (1, 1, 4), name="d"), "'d'.*fixed number"),
        (keras.activations.glu, "'glu.*operator that may mix"),
        (
            lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]),
            "ZeroPadding2D` in its place",
        ),
        (lambda x: ops.reshape(x, (-1, 256)), "layers.Reshape` in its place"),
        (lambda x: x[..., ::-1], "Cropping2D` in its place"),
        (lambda x: x * np.arange(4.0), "'multiply.*operator that may mix"),
        (lambda x: ops.mean(x, -1, True), "'mean.*operator that may mix"),
    ],
)
def test_layers_that_cannot_be_followed_are_refused_by_name(layer, message):
    model = chain(conv(4), layer, layers.Flatten(), layers.Dense(3))
    with pytest.raises(ValueError, match=message):
        shrink(model)


def test_layers_before_the_first_channels_may_do_anything():
    model = chain(Mixing(), layers.Normalization(mean=1, variance=4), conv(4))
    assert ChannelGraph(model).count == 0  # its only channels are its outputs
    model = chain(Mixing(), conv(4), *pooled_head())
    check(model)


def test_models_without_a_graph_are_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(TypeError, match="subclassed"):
        shrink(Subclassed())
    with pytest.raises(TypeError, match="keras.Model"):
        shrink("model")
    built = Subclassed()
    built(np.zeros((1, 8, 8, 2)))
    with pytest.raises(ValueError, match="'within'.*`call` of its own"):
        shrink(chain(conv(4), Subclassed(name="within"), *pooled_head()))

    class Halved(keras.Model):
        def call(self, x):
            return super().call(x) / 2

    whole = sequential()
    with pytest.raises(TypeError, match="its own `call`"):
        shrink(Halved(whole.inputs, whole.outputs))


@pytest.mark.parametrize(
    "function",
    [
        layers.ReLU(negative_slope=0.1, threshold=1.0),
        layers.Activation(lambda x: x + 1.0),
        lambda x: x + 1.0,
        layers.Softmax(),
        ops.softmax,
        layers.Activation(shared_out),
        layers.Activation(centered),
    ],
)
def test_what_a_function_makes_of_zero_is_not_dropped(function):
    """A channel that is zero before it, and not after."""
    keras.utils.set_random_seed(0)
    first, second = conv(4), conv(3, use_bias=False)
    model = chain(first, function, second, *pooled_head())
    first.kernel.assign(np.array(first.kernel) * np.array([0, 0, 1, 1]))
    kernel = np.array(second.kernel)
    kernel[:, :, 2:] = 0  # what follows is fed by the first two alone
    second.kernel.assign(kernel)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 2)) + 1.0
    expected = np.array(model(images))
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(shrink(model)(images), expected, atol=1e-6)


def test_a_trial_of_a_function_warns_of_nothing(recwarn):
    """Keras warns of a softmax of one number, which no user asked for."""
    ChannelGraph(chain(conv(4, activation=shared_out), *pooled_head()))
    assert not recwarn.list


def test_a_model_that_is_called_twice_is_given_the_same_channels():
    plain = keras.Sequential([keras.Input((8, 8, 5)), layers.ELU()])
    inputs = keras.Input((8, 8, 2))
    both = conv(5)(inputs), conv(5)(inputs)
    x = layers.Concatenate()([plain(x) for x in both])
    graph = ChannelGraph(keras.Model(inputs, layers.Dense(3)(x)))
    first, second, *_ = graph.outputs.values()
    assert len(first) == 5
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_a_base_that_is_frozen_stays_so():
    model = nested()
    base = next(x for x in model.layers if len(x.weights) > 9)
    base.trainable = False
    graph = ChannelGraph(model)
    smaller = shrink(model, random_keep(graph))
    assert not smaller.get_layer(base.name).trainable
    assert len(smaller.trainable_variables) == len(model.trainable_variables)
    assert all(not x.trainable for x in smaller.get_layer(base.name).layers)


def test_what_a_layer_has_adapted_stays():
    model = adapted_teacher()
    images = RANDOM.uniform(0, 255, (4, 8, 8, 1))
    keep = np.ones(ChannelGraph(model).count, bool)
    np.testing.assert_array_equal(shrink(model, keep)(images), model(images))


def test_networks_of_open_size_shrink_and_their_cost_is_refused():
    model = randomized(chain(conv(6), *pooled_head(), shape=(None, None, 2)))
    graph = ChannelGraph(model)
    keep = random_keep(graph)
    smaller = shrink(model, keep)
    images = RANDOM.normal(size=(2, 8, 8, 2)).astype("float32")
    expected = mask_channels(copy_of(model), keep)(images)
    np.testing.assert_allclose(smaller(images), expected, atol=1e-5)
    assert smaller.input_shape == (None, None, None, 2)
    assert parameters(graph, keep) == smaller.count_params()
    with pytest.raises(ValueError, match="fixed image size.*keras.Model"):
        flops(graph)
    with pytest.raises(ValueError, match="fixed image size"):
        LatencyTable.measure(graph)
    inputs = keras.Input((8, 8, 2))
    fixed = keras.Model(inputs, model(inputs))
    assert flops(ChannelGraph(fixed)) == 2 * (64 * 18 * 6 + 6 * 3)


@pytest.mark.parametrize(
    "stack",
    [
        (layers.Flatten(), layers.Dense(3)),
        (conv(4), layers.LayerNormalization(), *pooled_head()),
    ],
)
def test_a_network_whose_channels_all_stay_is_refused(stack):
    model = chain(*stack)
    none = np.ones(0, bool)
    pool = np.zeros((4, 8, 8, 2), "uint8"), np.zeros(4, int)
    fed = Preprocessing(127.5, 64.0, "normalized")
    ranked = []

    def criterion(graph, batches, seed):
        ranked.append(seed)
        return np.ones(0)

    kwargs = {"preprocessing": fed, "criterion": criterion}
    for call in (
        lambda: shrink(model, none),
        lambda: mask_channels(model, none),
        lambda: narrow(model, pool, 0.5, **kwargs),
        lambda: prune(model, pool, target=0.5, **kwargs),
    ):
        with pytest.raises(
            ValueError, match="No channel.*`sparsify`.*Received: .*functional"
        ):
            call()
    assert not ranked
    assert shrink(model).count_params() == model.count_params()
    assert parameters(ChannelGraph(model), none) == model.count_params()


def test_parameters_of_a_network_without_kernels():
    model = chain(layers.Normalization(mean=1.0, variance=1.0))
    assert parameters(ChannelGraph(model), np.ones(0, bool)) == 0


def test_keep_must_fit():
    with pytest.raises(ValueError, match="for each of 6 channels"):
        shrink(sequential(), np.ones(5, bool))


def test_the_private_names_of_keras_that_the_walk_rests_on():
    whole = functional(sequential())
    nodes = [n for depth in whole._nodes_by_depth.values() for n in depth]
    names = {node.operation.name for node in nodes}
    assert names == {layer.name for layer in whole.layers}, (
        "Keras has changed `_nodes_by_depth`: mend pruning/graph.py."
    )
    for node in nodes:
        assert len(node.outputs) == 1, "Keras has changed its nodes."
        assert isinstance(node.arguments.keras_tensors, (list, tuple))


@pytest.mark.parametrize("gone", [("gamma",), ("gamma", "beta")])
def test_a_constant_channel_is_dropped_only_where_it_is_zero(gone):
    norm = layers.BatchNormalization()
    model = randomized(chain(conv(4), norm, layers.ReLU(), *pooled_head()))
    for name in gone:
        variable = getattr(norm, name)
        variable.assign(variable * np.array([0, 1, 1, 1]))
    smaller = shrink(model)
    assert smaller.layers[1].filters == 4 - (len(gone) - 1)
    images = RANDOM.normal(size=(2, 8, 8, 2)).astype("float32")
    np.testing.assert_allclose(smaller(images), model(images), atol=1e-5)


@pytest.mark.parametrize(
    ("gone", "left"), [(slice(0, 1), 4), (slice(0, 36, 4), 3)]
)
def test_a_channel_is_dead_if_it_is_so_at_each_place(gone, left):
    """Between Flatten and Reshape each place has a feature of its own."""
    norm = layers.BatchNormalization()
    model = chain(
        conv(4),
        layers.Flatten(),
        norm,
        layers.ReLU(),
        layers.Reshape((3, 3, 4)),
        conv(3),
        *pooled_head(),
        shape=(3, 3, 1),
    )
    randomized(model)
    for variable in (norm.gamma, norm.beta):
        values = np.abs(keras.ops.convert_to_numpy(variable))
        values[gone] = 0
        variable.assign(values)
    images = RANDOM.normal(size=(4, 3, 3, 1)).astype("float32")
    smaller = shrink(model)
    np.testing.assert_allclose(smaller(images), model(images), atol=1e-5)
    assert smaller.layers[1].filters == left
