"""Images of any kind as one kind of stream."""

import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion import Pool
from tf_deepinversion.datasets import as_stream
from tf_deepinversion.datasets import epochs_of

# Image i has the one value i, and label i % 3.
PIXELS = np.arange(7, dtype="uint8")[:, None, None, None] * np.ones(
    (1, 2, 2, 1), "uint8"
)
LABELS = np.arange(7) % 3


def pool_of(pixels=PIXELS, labels=LABELS):
    pool = Pool(9, (2, 2, 1), classes=3)
    pool.add(pixels, labels)
    return pool


def drawn(dataset, count):
    """What images the first batches have, and their labels."""
    batches = list(dataset.take(count))
    return (
        [batch[0].numpy()[:, 0, 0, 0].tolist() for batch in batches],
        [batch[1].numpy().tolist() for batch in batches],
    )


def test_a_pool_is_drawn_from_as_by_itself():
    pool = pool_of()
    stream = as_stream(pool, batch_size=3, seed=5)
    assert drawn(stream(2), 4) == drawn(pool.dataset(3, 5, 2), 4)
    assert as_stream(stream) is stream


def test_arrays_are_read_once_an_epoch():
    expected = drawn(epochs_of(PIXELS, LABELS, 3, seed=5, first_step=1), 4)
    for given in (
        (PIXELS, LABELS),
        [PIXELS.astype("int64"), LABELS],
        {"image": PIXELS, "label": LABELS},
    ):
        assert drawn(as_stream(given, 3, seed=5)(1), 4) == expected


@pytest.mark.parametrize("tfds", [False, True])
def test_a_data_set_is_repeated_and_begun_at_any_step(tfds):
    elements = {"image": PIXELS, "label": LABELS} if tfds else (PIXELS, LABELS)
    stream = as_stream(tf.data.Dataset.from_tensor_slices(elements), 3)
    images, labels = drawn(stream(0), 3)
    assert images == [[0, 1, 2], [3, 4, 5], [6, 0, 1]]
    assert labels == [[0, 1, 2], [0, 1, 2], [0, 0, 1]]
    assert drawn(stream(2), 1) == ([[6, 0, 1]], [[0, 0, 1]])


def test_no_image_of_a_data_set_is_read_before_the_first():
    """A generator gives each image once, a shuffle each order once."""
    once = iter(zip(PIXELS, LABELS, strict=True))
    signature = tuple(
        tf.TensorSpec(array.shape[1:], array.dtype)
        for array in (PIXELS, LABELS)
    )
    dataset = tf.data.Dataset.from_generator(
        lambda: once, output_signature=signature
    )
    assert drawn(as_stream(dataset, 3)(0), 1) == ([[0, 1, 2]], [[0, 1, 2]])


def test_a_function_gives_its_own_batches():
    def batches(step):
        pixels = np.full((1, 2, 2, 1), step, "int64")
        return tf.data.Dataset.from_tensors({"image": pixels, "label": [step]})

    stream = as_stream(batches, batch_size=64)
    assert drawn(stream(4), 1) == ([[4]], [[4]])
    with pytest.raises(TypeError, match="function from a step.*NoneType"):
        as_stream(lambda step: None)(0)


def test_what_images_are_is_told_by_what_they_hold():
    pool = pool_of()
    same = [as_stream(x).identity for x in (pool, pool_of(), (PIXELS, LABELS))]
    assert same[0] == same[1] is not None
    assert same[2] is not None
    others = [
        as_stream(x).identity
        for x in (
            pool_of(255 - PIXELS),
            pool_of(labels=LABELS[::-1]),
            (PIXELS + 1, LABELS),
            (PIXELS, LABELS[::-1].copy()),
        )
    ]
    assert not set(same) & set(others) and len(set(others)) == 4
    stream = as_stream(pool)
    pool.add(PIXELS[:1], LABELS[:1])
    assert stream.identity != same[0]  # of what is there now
    assert stream.named("") == ["", stream.identity]


def test_a_pool_on_disk_is_told_by_its_shards(tmp_path):
    def stored(name, pixels=PIXELS, labels=LABELS):
        folder = tmp_path / name
        pool = Pool(9, (2, 2, 1), classes=3, folder=folder, run="run")
        pool.add(pixels, labels)
        return as_stream(pool)

    first = stored("first")
    again = as_stream(Pool.open(tmp_path / "first"))
    assert first.identity == again.identity == stored("same").identity
    others = stored("a", 255 - PIXELS), stored("b", labels=LABELS[::-1])
    assert first.identity not in {stream.identity for stream in others}
    assert drawn(again(2), 4) == drawn(as_stream(pool_of())(2), 4)


@pytest.mark.parametrize(
    "source",
    [lambda step: None, tf.data.Dataset.from_tensor_slices((PIXELS, LABELS))],
)
def test_what_cannot_be_looked_through_needs_a_name(source):
    stream = as_stream(source)
    assert stream.identity is None
    assert stream.named("mine") == ["mine", None]
    with pytest.raises(ValueError, match="pass `run`, a name.*Received: run="):
        stream.named("")


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (PIXELS, TypeError, "a pair of arrays .images, labels."),
        (None, TypeError, "NoneType"),
        ((PIXELS, None), ValueError, "one integer label per image"),
        ((PIXELS, LABELS[:3]), ValueError, "7 images, and labels of"),
        ((PIXELS, LABELS / 2), ValueError, "one integer label per image"),
        ((PIXELS / 255, LABELS), TypeError, "uint8 pixels"),
        ((PIXELS[:0], LABELS[:0]), ValueError, "no images"),
        (
            tf.data.Dataset.from_tensors((PIXELS, LABELS)),
            ValueError,
            r"`unbatch\(\)`",
        ),
        (
            tf.data.Dataset.from_tensor_slices((PIXELS / 255, LABELS)),
            TypeError,
            "uint8 pixels",
        ),
        (
            tf.data.Dataset.from_tensor_slices((PIXELS[:0], LABELS[:0])),
            ValueError,
            "no images",
        ),
        *[
            (
                tf.data.Dataset.from_tensor_slices(elements),
                ValueError,
                "single images and integer labels",
            )
            for elements in (
                {"image": PIXELS},
                (PIXELS, {"a": LABELS}),
                (PIXELS, LABELS / 2),
                (PIXELS, LABELS.astype("str")),
            )
        ],
    ],
)
def test_what_is_no_source_of_images_is_refused(images, error, message):
    with pytest.raises(error, match=message):
        as_stream(images, 3)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS, LABELS[:3], "7 images, and labels of"),
        (PIXELS, LABELS / 2, "one integer label per image"),
        (PIXELS, np.eye(7, dtype="int32"), "one integer label per image"),
        (PIXELS[:0], LABELS[:0], "no images"),
        (PIXELS, LABELS + 2**40, "labels from -2147483648 to 2147483647"),
    ],
)
def test_epochs_of_what_does_not_fit_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        epochs_of(images, labels, 3)


@pytest.mark.parametrize("numbers", [{"batch_size": 0}, {"seed": -1}])
def test_bad_numbers(numbers):
    with pytest.raises(ValueError, match="whole number"):
        as_stream((PIXELS, LABELS), **numbers)
    numbers = {"batch_size": 1, **numbers}
    with pytest.raises(ValueError, match="whole number"):
        epochs_of(PIXELS, LABELS, **numbers)
    with pytest.raises(ValueError, match="whole number"):
        pool_of().dataset(**numbers)
