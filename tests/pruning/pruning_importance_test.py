"""Importance, cost and selection, against finite differences and counting."""

import contextlib
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from pruned import chain
from pruned import conv
from pruned import pooled_head
from pruned import random_keep
from pruned import randomized

from tf_deepinversion import Preprocessing
from tf_deepinversion.models import ResNet14
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import LatencyTable
from tf_deepinversion.pruning import count_flops
from tf_deepinversion.pruning import flops_of_model
from tf_deepinversion.pruning import shrink
from tf_deepinversion.pruning.channels import cost
from tf_deepinversion.pruning.channels import importance
from tf_deepinversion.pruning.channels import latency
from tf_deepinversion.pruning.channels import selection

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (5, 8, 8, 1), "uint8")
NORMALIZED = Preprocessing(127.5, 64.0, "normalized")
BATCHES = [(PIXELS[:2], None), (PIXELS[2:4], None)]


def network(seed=0):
    """A residual stream of two gates, and a convolution without one."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    x = layers.BatchNormalization(name="bn0")(conv(3)(inputs))
    y = layers.Activation("softplus")(x)
    y = conv(2, activation="softplus", name="bare")(y)
    y = layers.BatchNormalization(name="bn1")(conv(3)(y))
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    model = randomized(keras.Model(inputs, layers.Dense(3)(x)), seed)
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 4)
    return model


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def double(model):
    """A copy in float64, so that differences can be taken."""
    twin = keras.models.clone_model(
        model,
        clone_function=lambda x: type(x).from_config(
            {**x.get_config(), "dtype": "float64"}
        ),
    )
    twin.set_weights([np.asarray(w, "float64") for w in model.weights])
    return twin


def divergence(teacher, student, images, temperature):
    z = tf.constant(NORMALIZED.normalize(images), "float64")
    p, q = (softmax(np.asarray(m(z)) / temperature) for m in (teacher, student))
    return temperature**2 * np.sum(p * np.log(p / q), -1).mean()


@contextlib.contextmanager
def gated(model, layer, channel, factor):
    """While open, there is a gate after a layer: scale and offset change."""
    bn = model.get_layer(layer)
    gate = np.ones(bn.gamma.shape)
    gate[channel] = factor
    before = [v.numpy() for v in (bn.gamma, bn.beta)]
    bn.gamma.assign(before[0] * gate)
    bn.beta.assign(before[1] * gate)
    yield model
    bn.gamma.assign(before[0])
    bn.beta.assign(before[1])


def at(teacher, student, gate, images):
    with gated(student, *gate):
        return divergence(teacher, student, images, 2)


def of_channels(graph, values):
    """Means over the layers of a dict {layer name: values}, as the graph."""
    total, members = np.zeros(graph.count), np.zeros(graph.count)
    for name, found in values.items():
        channels = graph.outputs[graph.model.get_layer(name)]
        total[channels] += found
        members[channels] += 1
    return total, members


def test_first_order_is_the_squared_difference_of_the_loss():
    teacher, student = network(0), network(1)
    graph = ChannelGraph(student)
    gated = importance.GateImportance(
        graph, teacher, NORMALIZED, temperature=2.0
    )
    found = gated.first_order(BATCHES)
    named = [{"id": 1, "image": image} for image, _ in BATCHES]
    np.testing.assert_array_equal(gated.first_order(named), found)
    teacher, student = double(teacher), double(student)
    h, expected = 1e-2, {}
    for name in ("bn0", "bn1"):
        slopes = []
        for images, _ in BATCHES:
            for channel in range(3):
                up, down = (
                    at(teacher, student, (name, channel, f), images)
                    for f in (1 + h, 1 - h)
                )
                slopes.append(((up - down) / (2 * h)) ** 2)
        expected[name] = np.mean(np.reshape(slopes, (2, 3)), 0)
    total, members = of_channels(graph, expected)
    assert members.tolist() == [2, 2, 2, 0, 0]
    np.testing.assert_allclose(found[:3], total[:3] / 2, rtol=2e-2)
    assert (found[3:] > 0).all()  # gates after the convolution itself


def test_second_order_is_the_curvature_of_the_divergence():
    """Of the network from itself; averaged over all signs it is exact."""
    model = network(0)
    graph = ChannelGraph(model)
    scorer = importance.GateImportance(graph, None, NORMALIZED, temperature=2.0)
    images = PIXELS[:2]
    per_sign = [
        scorer._mean(
            [scorer._order_2(images, tf.constant([signs] * 2, "float32"))]
        )
        for signs in itertools.product([-1, 1], repeat=3)
    ]
    found, h, expected = np.mean(per_sign, 0), 1e-2, {}
    same, moved = double(model), double(model)
    for name in ("bn0", "bn1"):
        expected[name] = [
            sum(
                at(same, moved, (name, channel, f), images)
                for f in (1 + h, 1 - h)
            )
            / h**2
            for channel in range(3)
        ]
    total, members = of_channels(graph, expected)
    np.testing.assert_allclose(found[:3], total[:3] / 2, rtol=2e-2)
    first = importance.GateImportance(graph, model, NORMALIZED)
    assert first.first_order(BATCHES).max() < 1e-9 * found.max()


def test_fisher_vectors_have_the_covariance_of_label_gradients():
    logits = RANDOM.normal(size=(1, 4)).astype("float32") * 2
    p = softmax(logits)[0]
    exact = sum(
        p[c] * np.outer(np.eye(4)[c] - p, np.eye(4)[c] - p) for c in range(4)
    )
    vectors = [
        np.asarray(importance.fisher_vector(logits, np.array([s], "float32")))
        for s in itertools.product([-1, 1], repeat=4)
    ]
    found = np.mean([np.outer(v, v) for v in vectors], 0)
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_signs_are_a_function_of_seed_and_step():
    a, b, c = (
        importance.random_signs((50, 4), 1, step).numpy() for step in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, b)
    assert (a != c).any() and set(a.ravel()) == {-1.0, 1.0}


def test_other_criteria():
    model = network()
    graph = ChannelGraph(model)
    gamma = [np.abs(model.get_layer(n).gamma.numpy()) for n in ("bn0", "bn1")]
    scale = importance.batch_norm_scale(graph)
    np.testing.assert_allclose(scale[:3], np.mean(gamma, 0), rtol=1e-6)
    assert np.isinf(scale[3:]).all()
    norm = importance.filter_norm(graph)
    kernel = model.get_layer("bare").kernel.numpy()
    np.testing.assert_allclose(
        norm[3:], np.sqrt((kernel**2).mean((0, 1, 2))), rtol=1e-6
    )
    first, last = (model.layers[i].kernel.numpy() for i in (1, 5))
    expected = [np.sqrt((k**2).mean((0, 1, 2))) for k in (first, last)]
    np.testing.assert_allclose(norm[:3], np.mean(expected, 0), rtol=1e-6)
    a, b, c = (importance.random_importance(graph, s) for s in (0, 0, 1))
    assert (a == b).all() and (a != c).all()
    with pytest.raises(ValueError, match="has none: take another criterion"):
        importance.batch_norm_scale(
            ChannelGraph(chain(conv(3), *pooled_head()))
        )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_filter_norms_are_computed_in_float32(dtype):
    layer = keras.layers.Conv2D(3, 3, dtype=dtype)
    model = chain(layer, *pooled_head(), shape=(8, 8, 64))
    kernel = 1e-4 * np.random.default_rng(0).normal(size=(3, 3, 64, 3))
    layer.kernel.assign(kernel)
    held = np.asarray(layer.kernel).astype("float64")
    found = importance.filter_norm(ChannelGraph(model))
    np.testing.assert_allclose(
        found, np.sqrt((held**2).mean((0, 1, 2))), rtol=1e-5
    )


def test_costs_are_those_of_the_smaller_network():
    stack = (
        conv(6, strides=2),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.SeparableConv2D(5, 3, padding="same"),
        layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.Dense(7),
        layers.Dense(3),
    )
    for model in (chain(*stack), ResNet14((8, 8, 1), 3, width=4)):
        graph = ChannelGraph(model)
        assert cost.flops(graph) == flops_of_model(model)
        assert cost.parameters(graph) == model.count_params()
        keep = random_keep(graph)
        smaller = shrink(model, keep)
        assert cost.flops(graph, keep) == flops_of_model(smaller)
        assert cost.parameters(graph, keep) == smaller.count_params()


def test_flops_of_a_known_network():
    model = chain(conv(4), conv(5, 1), layers.Flatten(), layers.Dense(3))
    expected = 64 * (9 * 2 * 4 + 4 * 5) + 64 * 5 * 3
    assert flops_of_model(model) == 2 * expected


@pytest.mark.slow
def test_flops_of_a_reloaded_saved_model(tmp_path):
    model = ResNet14((8, 8, 1), 3, width=4)
    model.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    served = loaded.signatures["serving_default"]
    assert count_flops(served) == flops_of_model(model)


def test_flops_of_grouped_convolutions(tmp_path):
    """Keras computes them in functions, of which each call counts."""
    shared = conv(4, groups=2)
    stack = shared, shared, layers.Conv2D(6, 3, groups=2), *pooled_head()
    model = chain(*stack, shape=(8, 8, 4))
    each = 9 * 4 // 2  # multiplications of a channel at a place
    expected = 2 * (2 * 64 * each * 4 + 36 * each * 6 + 6 * 3)
    assert flops_of_model(model) == expected
    assert cost.flops(ChannelGraph(model)) == expected
    model.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    assert count_flops(loaded.signatures["serving_default"]) == expected


def test_flops_in_functions_within_functions():
    @tf.function(jit_compile=True)
    def inner(x):
        return tf.matmul(x, tf.ones((4, 4)))

    @tf.function(experimental_attributes={"_noinline": True})
    def outer(x):
        return inner(inner(x)) + inner(x)

    call = tf.function(lambda x: outer(outer(x)))
    traced = call.get_concrete_function(tf.TensorSpec((None, 4)))
    assert count_flops(traced) == 2 * 6 * 4 * 4


def test_flops_of_a_dense_layer_on_a_map_of_features(tmp_path):
    model = chain(conv(4), layers.Dense(6), *pooled_head())
    model.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    served = loaded.signatures["serving_default"]
    expected = 2 * (64 * (9 * 2 * 4 + 4 * 6) + 6 * 3)
    assert count_flops(served) == flops_of_model(model) == expected


def test_flops_of_attention(tmp_path):
    """Its projections, the products of queries and keys, and the answers."""
    tokens, width, heads, key = 8, 6, 2, 3
    inputs = keras.Input((tokens, width))
    attention = layers.MultiHeadAttention(heads, key)
    model = keras.Model(inputs, attention(inputs, inputs))
    projections = 4 * tokens * width * heads * key
    expected = 2 * (projections + 2 * heads * tokens * tokens * key)
    assert flops_of_model(model) == expected
    model.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    assert count_flops(loaded.signatures["serving_default"]) == expected


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("ab,bc->ac", [(2, 3), (3, 4)], 2 * 3 * 4),
        ("...a,ab->...b", [(5, 6, 3), (3, 4)], 5 * 6 * 3 * 4),
        ("b...a,c...a->bc...", [(2, 5, 3), (4, 5, 3)], 2 * 4 * 5 * 3),
        ("...a,...a->...", [(5, 1, 3), (1, 6, 3)], 5 * 6 * 3),
        ("ab->ba", [(2, 3)], 0),
    ],
)
def test_flops_of_sums_over_indices(equation, shapes, expected):
    others = [tf.ones(shape) for shape in shapes[1:]]
    call = tf.function(
        lambda x: tf.raw_ops.Einsum(inputs=[x, *others], equation=equation)
    )
    traced = call.get_concrete_function(tf.TensorSpec(shapes[0]))
    assert count_flops(traced) == 2 * expected


@pytest.mark.parametrize(
    ("equation", "output", "flops"),
    [
        # Each of 64 places times a kernel of 8x3x2, then of 8x5, then 8x7.
        ("abc,cde->abde", (64, 3, 2), 2 * 64 * 8 * 3 * 2),
        ("...x,xy->...y", 5, 2 * 64 * 8 * 5),
        # Each of 8 channels times a kernel of 64 places and 7.
        ("abc,bd->adc", (7, 8), 2 * 8 * 64 * 7),
    ],
)
def test_the_cost_of_sums_over_indices(equation, output, flops):
    inputs = keras.Input((8, 8, 2))
    x = layers.Reshape((64, 8))(layers.Conv2D(8, 1)(inputs))
    x = layers.EinsumDense(equation, output)(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    fixed = 2 * (64 * 2 * 8 + int(np.prod(x.shape[1:])) * 3)
    assert cost.flops(ChannelGraph(model)) == flops + fixed
    assert flops_of_model(model) == flops + fixed


def test_flops_of_a_transposed_convolution_of_volumes():
    inputs = keras.Input((4, 4, 2))
    volume = layers.Reshape((4, 4, 2, 1))(inputs)
    deep = layers.Conv3DTranspose(3, 3, padding="same")(volume)
    # At each of 4x4x2 places, a kernel of 3x3x3 times 3 channels.
    assert flops_of_model(keras.Model(inputs, deep)) == 2 * 32 * 27 * 3


@pytest.mark.parametrize("unroll", [True, False])
def test_flops_within_a_loop_are_said_to_be_missing(unroll):
    inputs = keras.Input((5, 2, 1))
    x = layers.SimpleRNN(4, unroll=unroll)(layers.Reshape((5, 2))(inputs))
    model = keras.Model(inputs, layers.Dense(3)(x))
    if unroll:
        # Five turns of kernels of 2x4 and 4x4, then a head of 4x3.
        assert flops_of_model(model) == 2 * (5 * (2 * 4 + 4 * 4) + 4 * 3)
        return
    with pytest.warns(UserWarning, match="loop.*MatMul within"):
        flops_of_model(model)


def test_flops_of_stacks_of_matrices():
    call = tf.function(
        lambda x: (
            tf.raw_ops.BatchMatMulV2(x=x, y=tf.ones((3, 5, 4)))
            + tf.raw_ops.BatchMatMulV2(x=x, y=tf.ones((3, 4, 5)), adj_y=True)
        )
    )
    traced = call.get_concrete_function(tf.TensorSpec((3, 2, 5)))
    assert count_flops(traced) == 2 * 2 * (3 * 2 * 5 * 4)


def fake_timer(call):
    """As if a layer took as long as its output has numbers."""
    return float(call().size)


def test_a_latency_table_interpolates(tmp_path):
    model = ResNet14((8, 8, 1), 3, width=8)
    graph = ChannelGraph(model)
    table = LatencyTable.measure(graph, levels=2, timer=fake_timer)
    keep = random_keep(graph)
    sizes = [
        np.prod(shrink(model, keep).get_layer(x.name).output.shape[1:])
        for x in graph.places
    ]
    assert table(graph, keep) == pytest.approx(sum(sizes))
    table.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    assert again(graph, keep) == table(graph, keep)


def test_a_median_is_measured(monkeypatch):
    times = iter([0, 1, 1, 4, 4, 6])
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(times))
    assert latency.measure(lambda: None, repeats=3, warmup=1) == 2


def test_selection_reaches_the_target_and_no_more():
    graph = ChannelGraph(ResNet14((8, 8, 1), 3, width=8))
    scores = RANDOM.random(graph.count)
    limit = 0.6 * cost.flops(graph)
    keep = selection.select(graph, scores, cost.flops, limit)
    assert cost.flops(graph, keep) <= limit
    gone = np.flatnonzero(~keep)
    back = keep.copy()
    back[gone[np.argmax(scores[gone])]] = True
    assert cost.flops(graph, back) > limit
    for group in range(graph.groups.max() + 1):
        own = graph.groups == group
        assert keep[own].any()
        if not keep[own].all():
            assert scores[own & keep].min() > scores[own & ~keep].max()


def test_what_is_left_is_a_multiple():
    graph = ChannelGraph(ResNet14((8, 8, 1), 3, width=10))
    scores = RANDOM.random(graph.count)
    limit = 0.5 * cost.flops(graph)
    keep = selection.select(graph, scores, cost.flops, limit, multiple_of=4)
    assert cost.flops(graph, keep) <= limit
    for group in range(graph.groups.max() + 1):
        own = graph.groups == group
        assert keep[own].all() or keep[own].sum() % 4 == 0
        assert keep[own].sum() >= 4


def test_a_target_out_of_reach():
    graph = ChannelGraph(ResNet14((8, 8, 1), 3, width=4))
    scores = np.full(graph.count, np.inf)
    scores[:4] = 1
    with pytest.raises(ValueError, match="cannot be reached.*at least 1"):
        selection.select(graph, scores, cost.flops, 0.1 * cost.flops(graph))


@pytest.mark.parametrize(
    ("multiple_of", "left"), [(1, 11), (2, 12), (4, 12), (8, 16)]
)
def test_channels_of_infinite_importance_stay(multiple_of, left):
    """11 of 16 must stay: their number is rounded up, never to fewer."""
    graph = ChannelGraph(chain(conv(16), *pooled_head()))
    scores = np.full(16, np.inf)
    scores[RANDOM.permutation(16)[:5]] = 5.0, 1.0, 2.0, 3.0, 4.0
    price = 2 * (64 * 9 * 2 + 3)  # of one channel
    keep = selection.select(
        graph, scores, cost.flops, left * price, multiple_of=multiple_of
    )
    best_first = np.argsort(-scores, kind="stable")
    assert sorted(np.flatnonzero(keep)) == sorted(best_first[:left])
    with pytest.raises(ValueError, match="infinite importance.*at least"):
        selection.select(
            graph, scores, cost.flops, left * price - 1, multiple_of=multiple_of
        )


@pytest.mark.parametrize(("share", "left"), [(0.5, 11), (0.75, 12)])
def test_a_share_holds_at_least_the_channels_of_infinite_importance(
    share, left
):
    graph = ChannelGraph(chain(conv(16), *pooled_head()))
    scores = np.where(np.arange(16) < 5, np.arange(16), np.inf)
    keep = selection.most_important(graph, scores, share)
    assert keep.sum() == left and keep[5:].all()
