"""Every door that takes images takes pixels alone: floats would be black."""

import keras
import numpy as np
import pytest
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher
from tiny import with_head

import tf_deepinversion as di
from tf_deepinversion.core.pictures import grid
from tf_deepinversion.core.pictures import save_folders
from tf_deepinversion.datasets import epochs_of
from tf_deepinversion.datasets.real_images import augmented_epoch
from tf_deepinversion.datasets.real_images import load_test_data
from tf_deepinversion.metrics import recognition
from tf_deepinversion.metrics.verification import verification_table
from tf_deepinversion.networks.replace_statistics import restated
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning.channels.importance import GateImportance
from tf_deepinversion.quantization import quantize

FED = di.Preprocessing(127.5, 50, "normalized")
IMAGES = np.random.default_rng(0).integers(0, 256, (9, *SHAPE), "uint8")
LABELS = np.arange(9) % CLASSES


def ranked(images, labels):
    """As `prune` ranks channels, before any training would refuse floats."""
    graph = ChannelGraph(tiny_teacher())
    GateImportance(graph, None, FED).second_order([(images, labels)])


def of_a_file(images, labels, folder):
    np.savez(folder / "test.npz", images=images, labels=labels)
    load_test_data(SHAPE, folder / "test.npz")


def verified_by_another_size(images, labels):
    other = with_head(keras.layers.Dense(CLASSES), shape=(12, 12, 1))
    verification_table(
        {"ours": (images, labels)}, {"other": other}, {"other": FED}
    )


def in_pool(images, labels):
    di.Pool(9, SHAPE, CLASSES).add(images, labels)


DOORS = [
    lambda x, y, _: recognition.accuracy(tiny_teacher(), x, y, FED),
    lambda x, y, _: recognition.agreement(
        tiny_teacher(), tiny_teacher(), x, FED
    ),
    lambda x, y, _: recognition.feature_distance(tiny_teacher(), x, FED),
    lambda x, y, _: restated(tiny_teacher(), x, FED),
    lambda x, y, _: verified_by_another_size(x, y),
    lambda x, y, _: ranked(x, y),
    lambda x, y, folder: of_a_file(x, y, folder),
    lambda x, y, _: augmented_epoch(x, y, batch_size=3, seed=0, epoch=0),
    lambda x, y, _: epochs_of(x, y, 3),
    lambda x, y, _: in_pool(x, y),
    lambda x, y, _: grid(x),
    lambda x, y, folder: save_folders(folder, x, y),
    lambda x, y, _: quantize(tiny_teacher(), x, FED),
    lambda x, y, _: di.Distillation(
        tiny_teacher(), tiny_teacher(1), FED
    ).answers(x),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_no_door_takes_floats_for_black_images(door, kind, tmp_path):
    with pytest.raises(TypeError, match=f"uint8.*{kind}"):
        door((IMAGES / 255).astype(kind), LABELS, tmp_path)
