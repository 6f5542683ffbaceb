"""Stored PNG images are those that others decode, and the other way."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_deepinversion.datasets import image_bytes
from tf_deepinversion.datasets import png

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    "shape", [(5, 3, 1), (1, 1, 3), (7, 2, 4), (150, 150, 3)]
)
def test_others_read_them_and_they_read_others(shape):
    image = RANDOM.integers(0, 256, shape, "uint8")
    content = png.encoded(image)
    assert len(content) < image.size + shape[0] + 57 + 5 * 3 + 6
    squeezed = image[..., 0] if shape[-1] == 1 else image
    np.testing.assert_array_equal(Image.open(io.BytesIO(content)), squeezed)
    np.testing.assert_array_equal(tf.io.decode_png(content, shape[-1]), image)
    alike = np.frombuffer(content * 2, "uint8").reshape(2, -1)
    assert alike.shape[1] == png.size_of(shape)
    np.testing.assert_array_equal(png.stored(alike, shape), [image] * 2)
    others = [tf.io.encode_png(image, level).numpy() for level in (6, 0)]
    for other in (content, *others):
        np.testing.assert_array_equal(image_bytes.decoded(other, shape), image)


def test_another_shape_and_damage_are_refused():
    content = png.encoded(np.zeros((4, 6, 1), "uint8"))
    with pytest.raises(ValueError, match="shape .6, 4, 1.. Received: shape .4"):
        image_bytes.decoded(content, (6, 4, 1))
    with pytest.raises(ValueError, match="An image is damaged"):
        image_bytes.decoded(content[:-20], (4, 6, 1))
