"""The networks: sizes by hand, normalization, and plain Keras files."""

import hashlib

import keras
import numpy as np
import pytest
from keras import layers

from tf_deepinversion import models
from tf_deepinversion.core.files import sha256_of_file

RESNETS = {
    models.ResNet20: (20, (3, 3, 3)),
    models.ResNet32: (32, (5, 5, 5)),
    models.ResNet44: (44, (7, 7, 7)),
    models.ResNet56: (56, (9, 9, 9)),
    models.ResNet18: (18, (2, 2, 2, 2)),
    models.ResNet34: (34, (3, 4, 6, 3)),
}
each_network = pytest.mark.parametrize(
    "build",
    [models.ResNet20, models.ResNet18, models.VGG11BN],
    ids=lambda b: b.__name__,
)


def conv_bn_weights(kernel, inputs, outputs):
    # No bias; gamma, beta and the two moving statistics.
    return kernel * kernel * inputs * outputs + 4 * outputs


def resnet_weights(blocks, width, channels, classes):
    """All weights by the architecture of the paper, projected shortcuts."""
    total, before = conv_bn_weights(3, channels, width), width
    for stage, count in enumerate(blocks):
        filters = width * 2**stage
        for block in range(count):
            total += conv_bn_weights(3, before, filters)
            total += conv_bn_weights(3, filters, filters)
            if block == 0 and stage > 0:
                total += conv_bn_weights(1, before, filters)
            before = filters
    return total + (before + 1) * classes


def noise(shape, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, shape).astype("float32")


def with_random_weights(model, seed=0):
    random = np.random.default_rng(seed)
    model.set_weights(
        [random.uniform(0.2, 1, w.shape) for w in model.get_weights()]
    )
    return model


@pytest.mark.parametrize("build", RESNETS, ids=lambda b: b.__name__)
def test_resnets_have_their_depth_and_weights(build):
    depth, blocks = RESNETS[build]
    model = build((8, 8, 3), classes=7, width=4)
    assert model.name == f"resnet{depth}"
    assert build.__name__ == f"ResNet{depth}"
    convolutions = [
        layer for layer in model.layers if isinstance(layer, layers.Conv2D)
    ]
    # Depth counts the convolutions of the main path and the dense layer.
    shortcuts = [c for c in convolutions if c.kernel_size == (1, 1)]
    assert len(convolutions) - len(shortcuts) + 1 == depth
    assert len(shortcuts) == len(blocks) - 1
    assert model.count_params() == resnet_weights(blocks, 4, 3, 7)


@pytest.mark.parametrize(
    "build,expected",
    [
        # The published 269,722 of ResNet-20 (width 16) with shortcuts
        # without weights, and two projections: 16x32 + 2x32, 32x64 + 2x64.
        (models.ResNet20, 269_722 + 576 + 2176),
        # The published 11,173,962 of the CIFAR form (width 64).
        (models.ResNet18, 11_173_962),
        # The published 9,231,114, less the biases of the convolutions.
        (models.VGG11BN, 9_231_114 - 2752),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_default_networks_have_the_published_size(build, expected):
    model = build()
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 10)
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert trainable == expected


def test_vgg11_has_eight_convolutions_and_a_dense_layer():
    model = models.VGG11BN((8, 8, 3), classes=5, width=2)
    convolutions = [
        layer for layer in model.layers if isinstance(layer, layers.Conv2D)
    ]
    filters = [2, 4, 8, 8, 16, 16, 16, 16]
    assert [c.filters for c in convolutions] == filters
    pools = [x for x in model.layers if isinstance(x, layers.MaxPooling2D)]
    assert len(pools) == 5
    inputs = [3, *filters[:-1]]
    total = sum(map(conv_bn_weights, [3] * 8, inputs, filters))
    assert model.count_params() == total + 17 * 5


@each_network
@pytest.mark.parametrize(
    "shape", [(28, 28, 1), (32, 32, 3), (5, 9, 2), (None, None, 3)], ids=str
)
def test_any_input_shape(build, shape):
    model = build(shape, classes=4, width=2)
    assert model.output_shape == (None, 4)
    sizes = [13 if size is None else size for size in shape]
    logits = with_random_weights(model)(noise((3, *sizes)), training=False)
    assert logits.shape == (3, 4)
    assert np.isfinite(logits).all()


def strides_of(model):
    """How many times smaller each BatchNormalization's input is."""
    height = model.input_shape[1]
    return {
        layer.name: height / layer.output.shape[1]
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization)
    }


@pytest.mark.slow
def test_resolutions_of_the_stages():
    found = strides_of(models.ResNet20(width=2))
    for name, factor in found.items():
        expected = {"stem": 1, "stage0": 1, "stage1": 2, "stage2": 4}
        assert factor == expected[name.split("_")[0]]
    found = strides_of(models.VGG11BN(width=2))
    assert list(found.values()) == [1, 2, 4, 4, 8, 8, 16, 16]


@each_network
def test_the_last_layer_gives_logits(build):
    model = with_random_weights(build((8, 8, 1), width=2))
    head = model.layers[-1]
    assert head.activation is keras.activations.linear
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    x = noise((2, 8, 8, 1))
    features = pooled(x, training=False).numpy()
    np.testing.assert_allclose(
        model(x, training=False),
        features @ head.kernel.numpy() + head.bias.numpy(),
        rtol=1e-5,
    )
    # The mean over space of what came before.
    before = keras.Model(model.input, model.get_layer("pool").input)
    np.testing.assert_allclose(
        features, before(x, training=False).numpy().mean((1, 2)), rtol=1e-5
    )


def numpy_conv(x, kernel, strides):
    """TensorFlow's "same" convolution, by its definition."""
    size, height, width = kernel.shape[0], *x.shape[1:3]
    out = -(-height // strides), -(-width // strides)
    pads = [
        max((n - 1) * strides + size - m, 0)
        for n, m in zip(out, (height, width), strict=True)
    ]
    x = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)])
    result = np.zeros((len(x), *out, kernel.shape[-1]))
    for row in range(size):
        for column in range(size):
            seen = x[
                :,
                row : row + (out[0] - 1) * strides + 1 : strides,
                column : column + (out[1] - 1) * strides + 1 : strides,
            ]
            result += seen @ kernel[row, column]
    return result


def test_resnet_20_by_numpy():
    model = models.ResNet20((6, 6, 1), width=2, classes=3, mean=99.0, std=50.0)
    random = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights(
            [
                random.normal(size=w.shape) * 0.3
                if w.ndim == 4
                else random.uniform(0.5, 1.5, w.shape)
                for w in layer.get_weights()
            ]
        )

    def conv_bn(x, name, strides=1):
        kernel = model.get_layer(f"{name}_conv").get_weights()[0]
        bn = model.get_layer(f"{name}_bn").get_weights()
        gamma, beta, mean, variance = map(np.float64, bn)
        x = numpy_conv(x, kernel.astype("float64"), strides)
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    def relu(x):
        return np.maximum(x, 0)

    images = noise((2, 6, 6, 1))
    x = relu(conv_bn((images.astype("float64") - 99) / 50, "stem"))
    for stage in range(3):
        for block in range(3):
            name = f"stage{stage}_block{block}"
            strides = 2 if stage and not block else 1
            shortcut = x
            if strides == 2:
                shortcut = conv_bn(x, f"{name}_shortcut", 2)
            x = relu(conv_bn(x, f"{name}_a", strides))
            x = relu(shortcut + conv_bn(x, f"{name}_b"))
    kernel, bias = model.get_layer("logits").get_weights()
    expected = x.mean((1, 2)) @ kernel + bias
    logits = model(images, training=False)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)


@each_network
@pytest.mark.parametrize(
    "mean,std", [(127.5, 64.0), ([120, 110, 90.5], [60.0, 55.5, 70])], ids=str
)
def test_the_first_layer_normalizes_pixels(build, mean, std):
    model = build((4, 4, 3), width=2, mean=mean, std=std)
    first = keras.Model(model.input, model.get_layer("normalize").output)
    pixels = noise((2, 4, 4, 3))
    np.testing.assert_allclose(
        first(pixels), (pixels - mean) / np.array(std), atol=1e-5
    )


@each_network
def test_the_file_needs_nothing_of_this_package(build, tmp_path):
    model = with_random_weights(build((8, 8, 3), width=2, mean=[1.0, 2, 3]))
    assert "tf_deepinversion" not in model.to_json()
    path = tmp_path / "model.keras"
    model.save(path)
    assert b"tf_deepinversion" not in path.read_bytes()
    again = keras.models.load_model(path, safe_mode=True)
    images = noise((2, 8, 8, 3))
    np.testing.assert_array_equal(again(images), model(images))


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"input_shape": (32, 32)}, r"channels\)\. Received: .*\(32, 32\)"),
        ({"input_shape": (32, 32, None)}, r"\(32, 32, None\)"),
        ({"classes": 1}, "at least 2 classes. Received: classes=1"),
        ({"std": 0.0}, "`std` must be positive"),
        ({"std": [1.0, -1.0, 1.0]}, r"positive\. Received: std=\[ *1"),
        ({"std": float("nan")}, "`std` must be finite. Received: .*nan"),
        ({"mean": float("nan")}, r"mean.*Received: .*nan"),
        ({"mean": [1.0, 2.0]}, r"3 channels. Received: mean=\[1\. 2\.\]"),
        ({"std": [1.0, 2.0]}, r"3 channels. Received: std=\[1\. 2\.\]"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.VGG11BN(**{"input_shape": (4, 4, 3), "width": 2, **arguments})


def test_sha256_of_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    # NIST's example.
    assert sha256_of_file(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    content = bytes(range(256)) * 9000
    path.write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert sha256_of_file(str(path)) == expected
