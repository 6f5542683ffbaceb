"""The pretrained networks that ship with the package."""

import pathlib
import shutil
import tempfile
import zipfile

import keras

from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import sha256_of_file
from tf_deepinversion.networks.copies import of_size

FOLDER = pathlib.Path(__file__).parent / "pretrained"


KINDS = (".keras", ".h5", ".hdf5")


# The output of examples/train_teacher.py. `test_accuracy` is over the 10,000
# test images of Fashion-MNIST, measured once, after training.
PRETRAINED = {
    "fashion_mnist_resnet20": {
        "sha256": "adeb2de54d96d58b74b029bcd7a6b81b"
        "94998822024345da1819256d2c885890",
        "test_accuracy": 0.9460,
    },
    "fashion_mnist_vgg11": {
        "sha256": "e7c06d4cbd4a33f8bd15536630682cf1"
        "288580bc4bbe4711879319cb5ca8fc1e",
        "test_accuracy": 0.9354,
    },
}


def load_pretrained(name) -> keras.Model:
    """Loads a network that ships: pixels in [0, 255] to logits.

    Args:
        name: `"fashion_mnist_resnet20"`, the examples' teacher (a ResNet of
            width 16), or `"fashion_mnist_vgg11"`, a network of another family
            that verifies the teacher's images (a VGG-11 of width 16).

    Returns:
        A functional `keras.Model` from pixels `(batch, 28, 28, 1)` to logits
        `(batch, 10)`.

    Raises:
        ValueError: if the name is unknown, or the file is damaged.

    Example:
        >>> teacher = di.load_pretrained("fashion_mnist_vgg11")
        >>> teacher.output_shape
        (None, 10)
    """
    if name not in PRETRAINED:
        raise ValueError(
            f"`name` must be one of {sorted(PRETRAINED)}; `load_network` also "
            f"accepts the path of a file that ends in {KINDS}. "
            f"Received: name={name!r}"
        )
    # The hash finds a damaged installation.
    path = FOLDER / f"{name}.keras"
    if sha256_of_file(path) != PRETRAINED[name]["sha256"]:
        raise ValueError(
            f"{path} is not the file that ships: its SHA-256 differs. "
            "Install the package again."
        )
    # The files hold the optimizer's counters without its moments; with
    # compile=True Keras would warn.
    return keras.models.load_model(path, compile=False)


def load_network(name, image_size=None) -> keras.Model:
    """Loads a network that ships by its name, or a user's network by its file.

    Args:
        name: As for `load_pretrained`, or the path of a `.keras` file or of an
            `.h5` (`.hdf5`) file of a whole model, in any case of letters.
        image_size: Pair of ints, height and width of the images of a network
            that leaves them open, or None.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: as `load_pretrained`, if the file is missing, if it does not
            hold a whole model, or if the network takes images of another size.
    """
    network = _loaded(name)
    return of_size(network, image_size) if image_size else network


def _loaded(name):
    require_local(name=name)
    path = pathlib.Path(name)
    kind = path.suffix.lower()
    if kind not in KINDS:
        return load_pretrained(name)
    if not path.is_file():
        raise ValueError(
            f"Expected the path of an existing file ({', '.join(KINDS)}). "
            f"Received: name={name}"
        )
    if kind == ".keras" and not zipfile.is_zipfile(path):
        # Keras would say that there is no such file.
        raise ValueError(
            "Expected a whole .keras file, which is a zip archive: it may be "
            f"cut off. Received: name={name}"
        )
    if path.suffix == kind:
        return keras.models.load_model(path, compile=False)
    # Keras recognizes file formats by the suffix in lower case only.
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(path, pathlib.Path(folder) / f"network{kind}")
        return keras.models.load_model(copy, compile=False)
