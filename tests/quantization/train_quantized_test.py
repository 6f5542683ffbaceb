"""Training of rounded networks: oracles in NumPy, and LiteRT's answers."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from rates import Rates
from rates import cosine

from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.pruning import ConstantSparsity
from tf_deepinversion.pruning import prune_low_magnitude
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import quantize
from tf_deepinversion.quantization import takes_pixels
from tf_deepinversion.quantization import train_quantized
from tf_deepinversion.quantization.file.int4_weights import with_int4_weights
from tf_deepinversion.quantization.layers.kernels import on_grid
from tf_deepinversion.quantization.training.ranges import Phase
from tf_deepinversion.quantization.training.ranges import Range
from tf_deepinversion.quantization.training.simulation import Simulation

L = keras.layers
PIXELS = Preprocessing(mean=127.5, std=50.0, pixel_range="normalized")
RANDOM = np.random.default_rng(0)
# From dark to bright, so that all activations fill their ranges.
SHADES = np.linspace(20, 255, 48)[:, None, None, None]
IMAGES = (RANDOM.uniform(0, 1, (48, 8, 8, 1)) * SHADES).astype("uint8")
GIVEN = IMAGES, np.zeros(len(IMAGES), int)
KERNELS = ("stem", "deep", "narrow", "logits")


def normalized(x, name):
    bn = L.BatchNormalization(name=name)
    x = bn(x)
    for variable in bn.weights:
        variable.assign(RANDOM.uniform(0.5, 2, variable.shape))
    return x


@pytest.fixture(scope="module")
def teacher():
    """With ReLU6, swish, a residual addition, and zeros as after pruning."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = normalized(L.Conv2D(4, 3, 2, use_bias=False, name="stem")(inputs), "a")
    x = y = L.ReLU(6.0)(x)
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="deep")(x)
    x = L.Activation("swish")(normalized(x, "b"))
    x = normalized(L.Conv2D(4, 1, name="narrow")(x), "c")
    # No average of images: LiteRT rounds it twice.
    x = L.Flatten()(L.MaxPooling2D(3)(L.Add()([x, y])))
    model = keras.Model(inputs, L.Dense(3, name="logits")(x), name="any")
    head = model.get_layer("logits").kernel
    head.assign(np.abs(head))  # so that steps of the inputs are small
    kernel = model.get_layer("narrow").kernel
    kernel.assign(np.where(np.abs(kernel) < 0.4, 0, kernel))
    return model


def trained(teacher, scheme="int4", **kwargs):
    return train_quantized(
        teacher,
        GIVEN,
        steps=6,
        steps_per_epoch=3,
        scheme=scheme,
        batch_size=16,
        preprocessing=PIXELS,
        verbose=0,
        **kwargs,
    )


@pytest.fixture(scope="module")
def result(teacher):
    return trained(teacher)


def simulated(model, ranges, bits):
    """Logits of the network as its file computes, in TensorFlow."""
    simulation = Simulation(model, bits, PIXELS)
    simulation.load(ranges)
    fed = takes_pixels(model, PIXELS)
    with simulation.file_of(fed):
        return fed(IMAGES.astype("float32"), training=False).numpy()


@pytest.mark.parametrize("bits", [4, 8])
def test_kernels_round_with_a_scale_for_each_output(bits):
    top = 2 ** (bits - 1) - 1
    for shape, depthwise, axes in (
        ((3, 3, 2, 5), False, (0, 1, 2)),
        ((3, 3, 4, 2), True, (0, 1)),
        ((6, 4), False, (0,)),
    ):
        kernel = RANDOM.normal(size=shape).astype("float32")
        scale = np.abs(kernel).max(axes, keepdims=True) / top
        expected = np.rint(kernel / scale) * scale
        found = on_grid(kernel, bits, depthwise)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        # Once rounded, a kernel stays.
        np.testing.assert_allclose(
            on_grid(found, bits, depthwise), found, atol=1e-6
        )
    zeros = on_grid(np.zeros((2, 3), "float32"), bits, False)
    np.testing.assert_array_equal(zeros, np.zeros((2, 3)))


def test_gradients_pass_the_rounding():
    kernel = tf.Variable(RANDOM.normal(size=(4, 3)).astype("float32"))
    factors = RANDOM.normal(size=(4, 3)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(on_grid(kernel, 4, False) * factors)
    np.testing.assert_allclose(tape.gradient(loss, kernel), factors)


def test_ranges_are_moving_averages_with_a_level_for_zero():
    followed = Range(momentum=0.75)
    batches = RANDOM.uniform(1, 5, (4, 10)).astype("float32")
    followed(batches[0], Phase.MEASURE)
    high = batches[0].max()
    for batch in batches[1:]:
        rounded = followed(batch, Phase.TRAIN, training=True).numpy()
        high = 0.75 * high + 0.25 * batch.max()
    np.testing.assert_allclose(followed.ends, (0, high), rtol=1e-6)
    scale = high / 255
    expected = np.rint(batches[-1].clip(0, high) / scale) * scale
    np.testing.assert_allclose(rounded, expected, atol=1e-5)
    before = followed.ends
    followed(10 * batches[0], Phase.TRAIN, training=False)
    assert followed.ends == before


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_file_is_the_simulation_to_one_step(teacher, result, scheme):
    if scheme == "int8":
        result = train_quantized(
            teacher,
            GIVEN,
            steps=0,
            batch_size=16,
            preprocessing=PIXELS,
        )
    student, ranges = result.student, json.loads(json.dumps(result.ranges))
    content = quantize(
        student, preprocessing=PIXELS, ranges=ranges, scheme=scheme
    )
    model = LiteRT(content)
    step = model.output["quantization"][0]
    bits = {"int8": 8, "int4": 4}[scheme]
    found, expected = model(IMAGES), simulated(student, ranges, bits)
    assert np.ptp(expected) > 30 * step
    steps = np.rint(np.abs(found - expected) / step)
    assert (steps <= 1).mean() > 0.95
    # LiteRT rounds a product twice. The steps of 4 bits are large, and two
    # layers may add up.
    assert steps.max() <= (1 if bits == 8 else 2)
    # A pixel is a step of the input, whatever the images.
    assert model.input["quantization"][0] == 1
    assert model.dtypes["tensors"] == (
        *(["int32", "int4"] if bits == 4 else ["int32"]),
        "int8",
        "uint8",
    )
    # Convolutions hold BatchNormalization, ReLU6 and nothing else.
    assert model.ops.count("CONV_2D") == 2 and "RELU6" not in model.ops


@pytest.mark.parametrize("pixel_range", [(0, 1), (-1, 1)])
def test_blue_first_is_red_first_with_another_kernel(pixel_range):
    """The flip of the channels has the range of the rescaled pixels."""
    keras.utils.set_random_seed(0)
    images = RANDOM.integers(0, 256, (32, 8, 8, 3), "uint8")
    contents = {}
    for order in ("rgb", "bgr"):
        fed = Preprocessing(127.5, 70.0, pixel_range, order)
        network = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                L.Conv2D(4, 3, activation="relu", name="stem"),
                L.Flatten(),
                L.Dense(3),
            ],
            name="any",
        )
        if order == "bgr":
            kernel, *others = contents["weights"]
            network.set_weights([kernel[:, :, ::-1], *others])
        contents["weights"] = network.get_weights()
        trained = train_quantized(
            network,
            (images, np.zeros(32, int)),
            steps=0,
            scheme="int8",
            batch_size=16,
            preprocessing=fed,
            verbose=0,
        )
        contents[order] = quantize(
            trained.student, preprocessing=fed, ranges=trained.ranges
        )
    red, blue = (LiteRT(contents[order])(images) for order in ("rgb", "bgr"))
    assert np.ptp(red) > 0.1
    np.testing.assert_allclose(red, blue, rtol=1e-5)


def test_student_is_plain_and_on_the_grid(teacher, result, tmp_path):
    student = result.student
    student.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    z = (IMAGES.astype("float32") - 127.5) / 50
    np.testing.assert_array_equal(loaded(z), student(z))
    assert [type(x) for x in loaded.layers] == [type(x) for x in teacher.layers]
    for name in KERNELS:
        kernel = student.get_layer(name).kernel.numpy()
        axes = (0, 1) if name == "deep" else tuple(range(kernel.ndim - 1))
        steps = 7 * kernel / np.abs(kernel).max(axes, keepdims=True)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
        assert not vars(student.get_layer(name)).get("call")
        assert student.get_layer(name).kernel.constraint is None


def test_training_moves_weights_but_not_zeros(teacher, result):
    before, after = (
        x.get_layer("narrow").kernel.numpy() for x in (teacher, result.student)
    )
    assert 2 < (before == 0).sum() < before.size
    assert not after[before == 0].any()
    gamma = [x.get_layer("a").gamma.numpy() for x in (teacher, result.student)]
    assert np.abs(gamma[0] - gamma[1]).max() > 1e-4
    mean = [x.get_layer("a").moving_mean for x in (teacher, result.student)]
    np.testing.assert_array_equal(*mean)  # `keep_statistics`
    assert len(result.history["loss"]) == 2


def test_interrupted_training_goes_on_to_the_same_network(
    teacher, result, tmp_path
):
    class Killed(Exception):
        pass

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise Killed

    with pytest.raises(Killed):
        trained(teacher, folder=tmp_path, callbacks=[Kill()])
    again = trained(teacher, folder=tmp_path)
    for a, b in zip(result.student.weights, again.student.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.ranges == result.ranges
    assert again.history["loss"] == result.history["loss"]


def test_packed_weights_are_the_same_numbers(result):
    content = quantize(
        result.student,
        preprocessing=PIXELS,
        ranges=result.ranges,
        scheme="int4",
    )
    # Packed again, nothing is left to pack.
    assert with_int4_weights(content) == with_int4_weights(
        with_int4_weights(content)
    )
    kernel = result.student.get_layer("logits").kernel.numpy()
    interpreter = LiteRT(content)._interpreter
    (details,) = [
        t
        for t in interpreter.get_tensor_details()
        if tuple(t["shape"]) == kernel.T.shape and len(t["shape"]) == 2
    ]
    scales = details["quantization_parameters"]["scales"]
    np.testing.assert_allclose(scales, np.abs(kernel).max(0) / 7, rtol=1e-5)


def test_what_cannot_be_trained_is_refused_before_any_step(teacher, result):
    def refused(model, match, images=GIVEN, **kwargs):
        with pytest.raises(ValueError, match=match):
            train_quantized(
                model,
                images,
                steps=1,
                batch_size=16,
                preprocessing=PIXELS,
                **kwargs,
            )

    simulation = Simulation(teacher, 8, PIXELS)
    with (
        pytest.raises(ValueError, match="known ranges.*'?re_lu"),
        simulation.open(Phase.TRAIN),
    ):
        pass
    refused(teacher, "among int8, int4.*'int16x8'", scheme="int16x8")
    refused(
        teacher,
        r"images of shape \(8, 8, 1\).*\(4, 4, 1\)",
        (IMAGES[:, :4, :4], GIVEN[1]),
    )
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        refused(teacher, "single device.*2 replicas")

    def chain(*layers, **kwargs):
        return keras.Sequential([keras.Input((8, 8, 1)), *layers], **kwargs)

    half = L.Conv2D(2, 3, dtype="mixed_bfloat16")
    refused(chain(half, L.Flatten(), L.Dense(3)), "float32.*mixed_bfloat16")
    free = L.BatchNormalization(name="free")
    refused(chain(free, L.Flatten(), L.Dense(3)), "nothing else reads.*'free'")
    elu = L.Conv2D(2, 3, activation="elu", name="odd")
    refused(chain(elu, L.Flatten(), L.Dense(3)), "in float.*odd")
    for layer in (L.SeparableConv2D(2, 3), L.Conv2DTranspose(2, 3)):
        refused(
            chain(layer, L.Flatten(), L.Dense(3)),
            rf"Conv2D of size 1.*\({type(layer).__name__}\)",
        )
    masked = chain(L.Conv2D(2, 3), L.Flatten(), L.Dense(3))
    prune_low_magnitude(masked, ConstantSparsity(0.5))
    refused(masked, "prune first.*masks without zeros")


def test_ranges_and_network_belong_together(teacher, result):
    def refused(match, model=result.student, **kwargs):
        with pytest.raises(ValueError, match=match):
            quantize(model, preprocessing=PIXELS, **kwargs)

    ranges = result.ranges
    # A network that was pruned or trained after its quantization.
    refused("quantize last.*'stem'", teacher, ranges=ranges, scheme="int4")
    refused("this network", ranges={"other": (0, 1)}, scheme="int4")
    refused("without images", images=IMAGES, ranges=ranges, scheme="int4")
    refused("among int8, int4", ranges=ranges, scheme="int16x8")
    refused(
        "one per output", ranges=ranges, scheme="int4", per_tensor_dense=True
    )


def test_a_comparison_has_no_range():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(4, 3, name="stem")(inputs)
    x = keras.ops.where(x > 0, x, 0.25 * x)
    logits = L.Dense(3, name="logits")(L.Flatten()(x))
    model = keras.Model(inputs, logits, name="any")
    student, _, ranges = trained(model, "int8")
    assert not any("greater" in name for name in ranges)
    content = quantize(student, None, PIXELS, ranges=ranges)
    found = LiteRT(content)
    expected = simulated(student, ranges, 8)
    step = found.output["quantization"][0]
    assert np.abs(found(IMAGES) - expected).max() < 2.01 * step


def test_the_rate_falls_over_the_steps_of_whole_epochs(teacher):
    rates = Rates()
    settings = {"steps": 3, "steps_per_epoch": 2, "learning_rate": 0.01}
    train_quantized(
        teacher,
        GIVEN,
        preprocessing=PIXELS,
        callbacks=[rates],
        verbose=0,
        **settings,
    )
    # Three steps are two epochs of two.
    np.testing.assert_allclose(rates.found, cosine(0.01, 4), rtol=1e-5)
