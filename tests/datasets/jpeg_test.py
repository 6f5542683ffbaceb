"""A pool of JPEG images says so, mixes nothing, and errs as JPEG must."""

import io
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tf_deepinversion.datasets import image_bytes
from tf_deepinversion.datasets.pool import Pool

SHAPE, CLASSES = (24, 16, 3), 5


def pictures(count=6, shape=SHAPE):
    """Smooth images with some noise, as those of an inversion."""
    random = np.random.default_rng(0)
    waves = np.sin(np.arange(shape[0])[:, None, None] / random.uniform(2, 9, 3))
    images = 128 + 90 * waves[..., : shape[2]] * np.ones(shape)
    noise = random.normal(0, 12, (count, *shape))
    return np.uint8(np.clip(images + noise, 0, 255))


def by_pillow(content):
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "JPEG"
    return np.asarray(picture), picture


def deviation_of(quality, shape):
    """A bound of the root of the mean squared error of each channel.

    An orthogonal transform turns the errors of the coefficients, each at most
    half of its step, into those of brightness and colors; 1.772 is the largest
    factor from a color to red, green or blue, and 1 is for rounding.
    """
    content = image_bytes.encoded(pictures(1, shape)[0], quality)
    tables = by_pillow(content)[1].quantization.values()
    errors = [np.sqrt(np.mean(np.square(np.array(t) / 2))) for t in tables]
    return errors[0] + 1 + (1.772 * errors[1] if len(errors) > 1 else 0)


@pytest.mark.parametrize("shape", [SHAPE, (9, 7, 1)])
@pytest.mark.parametrize("quality", [60, 95, 100])
def test_an_independent_decoder_reads_the_same_within_the_bound(shape, quality):
    bound = deviation_of(quality, shape)
    for image in pictures(3, shape):
        content = image_bytes.encoded(image, np.int64(quality))
        found = image_bytes.decoded(content, shape)
        theirs, _ = by_pillow(content)
        assert np.abs(np.int32(theirs.reshape(shape)) - found).max() <= 1
        error = np.sqrt(np.mean((np.float64(found) - image) ** 2))
        assert 0 < error < min(bound, {60: 13, 95: 4.5, 100: 1}[quality])
        assert image_bytes.encoded(image, quality) == content


def test_colors_are_as_fine_as_the_brightness():
    """Red and blue alternate; at half the resolution both would be violet."""
    image = np.zeros((8, 8, 3), "uint8")
    image[:, ::2, 0] = image[:, 1::2, 2] = 200
    found = image_bytes.decoded(image_bytes.encoded(image, 95), (8, 8, 3))
    assert np.abs(np.int32(found) - image).max() < 12


def filled(folder, quality=90, capacity=20):
    pool = Pool(
        capacity, SHAPE, CLASSES, folder=folder, run="a", jpeg_quality=quality
    )
    for begin in (0, 3):
        pool.add(pictures()[begin : begin + 3], [0, 1, 2])
    pool.close()
    return pool


def test_a_pool_says_what_it_holds_and_reads_it(tmp_path):
    pool = filled(tmp_path)
    opened = Pool.open(tmp_path)
    assert pool.jpeg_quality == opened.jpeg_quality == 90
    assert (
        json.loads((tmp_path / "pool.json").read_text())["jpeg_quality"] == 90
    )
    contents = [image_bytes.encoded(image, 90) for image in pictures()]
    expected = [image_bytes.decoded(content, SHAPE) for content in contents]
    for one in (pool, opened):
        np.testing.assert_array_equal(one.images, expected)
        assert (np.asarray(one.images) != pictures()).any()
    drawn, _ = next(iter(opened.dataset(4, seed=1)))
    chosen = np.random.default_rng((1, 0)).choice(6, 4, replace=False)
    np.testing.assert_array_equal(drawn, np.array(expected)[chosen])
    opened.verify()
    builder = tfds.builder_from_directory(str(tmp_path))
    assert "jpeg" in str(builder.info.features["image"].to_json())
    read = tfds.as_numpy(builder.as_dataset(split="train"))
    for found, image in zip(read, expected, strict=True):
        # TensorFlow's default transform is a faster one.
        assert np.abs(np.int32(found["image"]) - image).mean() < 2


def test_what_is_jpeg_takes_less_room_and_png_keeps_each_pixel(tmp_path):
    filled(tmp_path / "jpeg", 60)
    png = filled(tmp_path / "png", None)
    assert png.jpeg_quality is Pool.open(tmp_path / "png").jpeg_quality is None
    np.testing.assert_array_equal(png.images, pictures())
    bytes_of = [
        sum(x.stat().st_size for x in (tmp_path / kind).glob("pool-train*"))
        for kind in ("jpeg", "png")
    ]
    assert bytes_of[0] < 0.7 * bytes_of[1]


@pytest.mark.parametrize("pair", [(90, None), (None, 90), (90, 95)])
def test_kinds_are_not_mixed(tmp_path, pair):
    held, other = pair
    filled(tmp_path, held)
    with pytest.raises(ValueError, match=f"jpeg_quality={other}. Received: "):
        filled(tmp_path, other)
    assert len(Pool.open(tmp_path).images) == 6


def test_the_list_of_a_png_pool_is_that_of_earlier_versions(tmp_path):
    filled(tmp_path, None)
    listed = json.loads((tmp_path / "pool.json").read_text())
    names = "format", "run", "image_shape", "classes", "shards"
    assert tuple(listed) == names


@pytest.mark.parametrize(
    ("quality", "shape", "message"),
    [
        (0, SHAPE, "`jpeg_quality` must be a whole number, 1 or more"),
        (101, SHAPE, "must lie in .1, 100.. Received: jpeg_quality=101"),
        (90.0, SHAPE, "`jpeg_quality` must be a whole number"),
        (90, (4, 4, 4), "with 1 or 3 channels.*Received: image_shape="),
    ],
)
def test_what_no_jpeg_is_is_refused(tmp_path, quality, shape, message):
    with pytest.raises(ValueError, match=message):
        Pool(9, shape, 3, folder=tmp_path / "a", run="a", jpeg_quality=quality)
    assert not list(tmp_path.iterdir())


def test_a_pool_in_memory_has_no_jpeg():
    with pytest.raises(ValueError, match="keeps pixels.*jpeg_quality=90"):
        Pool(9, SHAPE, 3, jpeg_quality=90)


def test_a_damaged_image_is_refused_by_name(tmp_path):
    filled(tmp_path)
    (path,) = sorted(tmp_path.glob("pool-train*"))[:1]
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 2] ^= 0xFF
    path.write_bytes(content)
    pool = Pool.open(tmp_path)
    with pytest.raises(ValueError, match="00000 is damaged"):
        pool.images[:1]
    with pytest.raises(ValueError, match="00000 is damaged.*SHA-256"):
        pool.verify()
