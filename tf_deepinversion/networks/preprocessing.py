"""Between pixels, the space in which images are optimized, and a teacher."""

import re
import warnings

import keras
import numpy as np
from keras import ops

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.remembered_input import RememberedInput
from tf_deepinversion.networks.remembered_input import contradict
from tf_deepinversion.networks.remembered_input import input_of

IMAGENET_MEAN = (123.675, 116.28, 103.53)


IMAGENET_STD = (58.395, 57.12, 57.375)


CAFFE_MEAN = (123.68, 116.779, 103.939)


# How keras.applications feed their networks, by a model's whole name in lower
# case, here and in earlier Keras: `keras.applications.FAMILY.preprocess_input`.
# Also the EfficientNet-Lites of `models`: trained on ImageNet, they rescale.
APPLICATIONS = {
    "caffe": r"resnet(50|101|152)|vgg(16|19)",
    "pixels": r"efficientnet(b\d|v2-(b\d|[sml])|_lite[0-4])"
    r"|mobilenetv3(small|large)"
    r"|convnext_(tiny|small|base|large|xlarge)",
    "tf": r"inception_v3|inception_resnet_v2|xception|nasnet(_mobile|_large)?"
    r"|mobilenet(v2)?_\d\.\d\d_(\d+|none)|resnet(50|101|152)v2",
    "torch": r"densenet(121|169|201)",
}


def _rescales(model) -> bool:
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    return any(isinstance(x, kinds) for x in layers_of(model))


def _is_fed_pixels(model, layer) -> bool:
    """Whether a layer sees the pixels as the model is given them."""
    try:
        given = layer.input
    except (AttributeError, ValueError):  # not called in a graph, or twice
        return False
    if given is model.inputs[0]:
        return True
    # Layers that augment do nothing here, and resizing leaves one color.
    shape = [size or 32 for size in model.inputs[0].shape[1:]]
    pixels = np.float32([0, 100, 255]).reshape(-1, 1, 1, 1) * np.ones(shape)
    seen = np.asarray(keras.Model(model.inputs[0], given)(pixels))
    ends = seen.reshape(len(pixels), -1)
    return np.allclose(ends, pixels.reshape(len(pixels), -1)[:, :1], atol=1e-3)


def _channels(model):
    """How many channels a network's images have, or None if not known."""
    shape = getattr(model, "input_shape", None)
    image = isinstance(shape, tuple) and len(shape) == 4
    return shape[-1] if image else None


@keras.saving.register_keras_serializable("tf_deepinversion")
class Preprocessing:
    """A teacher's view of pixels, and the space in which images are optimized.

    Images are optimized as z = (pixel - mean) / std, where a natural image has
    mean 0 and variance 1 and so the paper's learning rates, weights and
    N(0, 1) start mean what they say, whatever the teacher's own convention.
    What the teacher is fed is a second map of the same pixels.

    Args:
        mean: Float or one float per channel (red first), in gray levels
            (0-255): the mean of the pixels that the teacher was trained on.
        std: Float or one per channel, in gray levels, positive.
        pixel_range: The values by which the teacher is told black and white:
            `(0, 255)`, the default, for pixels as they are, also where the
            network rescales them itself; `(0, 1)`; `(-1, 1)`; or a pair of
            per-channel lists (red first); or `"normalized"`, for a teacher
            that is fed z itself.
        channel_order: `"rgb"` (also for one channel) or `"bgr"`.

    Raises:
        ValueError: if a value is out of its range.

    >>> p = Preprocessing(mean=127.5, std=51.0, pixel_range=(-1, 1))
    >>> p.to_pixels(np.zeros((1, 2, 2, 1))).tolist()[0][0]
    [[128], [128]]
    >>> p.teacher_input(np.zeros((1, 1, 1, 1), "float32")).numpy().item()
    0.0
    """

    def __init__(self, mean, std, pixel_range=(0, 255), channel_order="rgb"):
        if isinstance(pixel_range, str) and pixel_range != "normalized":
            raise ValueError(
                "`pixel_range` must be a pair (black, white) or "
                f'"normalized". Received: pixel_range={pixel_range!r}'
            )
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(
                '`channel_order` must be "rgb" or "bgr". '
                f"Received: channel_order={channel_order!r}"
            )
        self.mean = np.atleast_1d(np.asarray(mean, "float64"))
        self.std = np.atleast_1d(np.asarray(std, "float64"))
        self.pixel_range = pixel_range
        self.channel_order = channel_order
        self._check_statistics()
        black, white = self._black_and_white()
        if not (np.isfinite(black).all() and np.isfinite(white).all()):
            raise ValueError(
                "`pixel_range` must be finite. "
                f"Received: pixel_range={pixel_range}"
            )
        sizes = {v.size for v in (self.mean, self.std, black, white)}
        if not sizes <= {1, self.channels}:
            raise ValueError(
                "`pixel_range` must have a value for each channel, or one. "
                f"Received: pixel_range={pixel_range}, mean={self.mean}, "
                f"std={self.std}"
            )
        if not (black < white).all():
            raise ValueError(
                "`pixel_range` is (black, white) with black below white; swap "
                f"the two. Received: pixel_range={pixel_range}"
            )

    def _check_statistics(self):
        mean, std = self.mean, self.std
        if mean.size != std.size and 1 not in (mean.size, std.size):
            raise ValueError(
                "`mean` and `std` must have a value for each channel, or one. "
                f"Received: mean={mean}, std={std}"
            )
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise ValueError(
                f"`mean` and `std` must be finite. Received: mean={mean}, "
                f"std={std}"
            )
        if not (std > 0).all():
            raise ValueError(f"`std` must be positive. Received: std={std}")
        if (std <= 1).all():
            raise ValueError(
                "`mean` and `std` are in gray levels, 0 to 255; these look "
                "like those of pixels in [0, 1]: multiply both by 255. "
                f"Received: mean={mean}, std={std}"
            )
        if not ((mean >= 0) & (mean <= 255)).all():
            raise ValueError(
                "`mean` must lie within [0, 255] gray levels. "
                f"Received: mean={mean}"
            )

    def _black_and_white(self):
        if isinstance(self.pixel_range, str):
            return self.bounds()
        if len(self.pixel_range) != 2:
            raise ValueError(
                "`pixel_range` must be a pair (black, white). "
                f"Received: pixel_range={self.pixel_range}"
            )
        return tuple(
            np.atleast_1d(np.asarray(v, "float64")) for v in self.pixel_range
        )

    @property
    def channels(self) -> int:
        """How many channels there are values for; 1: for any."""
        return max(
            np.size(values)
            for values in (self.mean, self.std, *self._black_and_white())
        )

    def require_channels(self, channels):
        """Refuses images of another number of channels.

        Raises:
            ValueError: as said.
        """
        if self.channels not in (1, channels):
            raise ValueError(
                f"The teacher's images have {channels} channels: give as many "
                "values as channels, or one. Received: preprocessing with "
                f"mean={self.mean}, std={self.std} and "
                f"pixel_range={self.pixel_range}"
            )

    def bounds(self):
        """z of a black and of a white pixel, one value a channel each."""
        return (0 - self.mean) / self.std, (255 - self.mean) / self.std

    def normalize(self, pixels) -> np.ndarray:
        """Pixels in [0, 255] to z, float32, of the same shape."""
        return ((np.asarray(pixels) - self.mean) / self.std).astype("float32")

    def to_pixels(self, z) -> np.ndarray:
        """z to the nearest gray levels, uint8, of the same shape.

        Raises:
            ValueError: if a value is not finite.
        """
        z = np.asarray(z, "float64")
        if not np.isfinite(z).all():
            raise ValueError("Images have values that are not finite.")
        return np.rint(z * self.std + self.mean).clip(0, 255).astype("uint8")

    def teacher_input(self, z):
        """z to what the teacher is fed, a tensor of the same shape."""
        black, white = self._black_and_white()
        scale = self.std * (white - black) / 255
        offset = black + self.mean * (white - black) / 255
        fed = z * ops.convert_to_tensor(scale, z.dtype)
        fed = fed + ops.convert_to_tensor(offset, z.dtype)
        return ops.flip(fed, axis=-1) if self.channel_order == "bgr" else fed

    def pixels(self, z):
        """z to pixels in [0, 255], a tensor of the same shape, not rounded."""
        std = ops.convert_to_tensor(self.std, z.dtype)
        return z * std + ops.convert_to_tensor(self.mean, z.dtype)

    def feeds_as(self, other) -> bool:
        """Whether a network is told of every pixel what another one is."""
        pairs = zip(
            self._black_and_white(), other._black_and_white(), strict=True
        )
        return self.channel_order == other.channel_order and all(
            np.allclose(own, told, atol=1e-6) for own, told in pairs
        )

    def fed(self, pixels):
        """Pixels in [0, 255], a tensor, to what the teacher is fed."""
        mean, std = (
            ops.convert_to_tensor(v, "float32") for v in (self.mean, self.std)
        )
        return self.teacher_input((ops.cast(pixels, "float32") - mean) / std)

    def training_input(self) -> RememberedInput:
        """The mean and the deviation of training images, as they are fed."""
        z = np.float32([-1, 0, 1]).reshape(3, 1, 1, 1)
        z = ops.convert_to_tensor(np.tile(z, (1, 1, 1, self.channels)))
        low, middle, high = ops.convert_to_numpy(self.teacher_input(z))
        return RememberedInput(
            float(middle.mean()), float((high - low).mean() / 2)
        )

    def _warn_of_contradiction(self, model):
        told, remembered = self.training_input(), input_of(model)
        if remembered is None or not contradict(told, remembered):
            return
        warnings.warn(
            "The teacher's first BatchNormalization remembers inputs of mean "
            f"{remembered.mean:.3g} and deviation {remembered.deviation:.3g}; "
            f"the preprocessing feeds it a mean of {told.mean:.3g} and a "
            f"deviation of {told.deviation:.3g}. Images made for wrong inputs "
            "show nothing: compare `pixel_range`, `mean` and `std` with what "
            "the teacher was trained on.",
            stacklevel=4,
        )

    def get_config(self):
        pair = self.pixel_range
        if not isinstance(pair, str):
            pair = [np.asarray(v, "float64").tolist() for v in pair]
        return {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "pixel_range": pair,
            "channel_order": self.channel_order,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    @classmethod
    def of(cls, model, given=None) -> "Preprocessing":
        """The preprocessing of a network: what is given, or known by its name.

        Known are the networks of `tf_deepinversion.models` (and every model
        whose first layer, `normalize`, is such a normalization of pixels) and
        those of `keras.applications`.

        Args:
            model: A `keras.Model`.
            given: A `Preprocessing`, which is returned as it is, or None.

        Warns:
            UserWarning: if the network's first BatchNormalization remembers
                other inputs than the given one feeds, see
                `check_preprocessing`.

        Raises:
            TypeError: if what is given is no `Preprocessing`.
            ValueError: if the network is not known, or is not what its names
                say; give a `Preprocessing`. If its images have another number
                of channels.
        """
        if given is None:
            given = cls._known(model)
        elif not isinstance(given, cls):
            raise TypeError(
                "Expected a `Preprocessing`; that of a `preprocess_input` "
                "of Keras is Preprocessing.imagenet(convention). "
                f"Received: preprocessing={given!r}"
            )
        else:
            given._warn_of_contradiction(model)
        channels = _channels(model)
        if channels is not None:
            given.require_channels(channels)
        return given

    @classmethod
    def _known(cls, model) -> "Preprocessing":
        try:
            layer = model.get_layer("normalize")
        except (ValueError, AttributeError):
            layer = None
        if isinstance(layer, keras.layers.Rescaling):
            return cls._of_layer(model, layer)
        name = str(getattr(model, "name", ""))
        for convention, names in APPLICATIONS.items():
            if not re.fullmatch(names, name.lower()):
                continue
            # Fed otherwise: if made with include_preprocessing=False, or if
            # `input_tensor` came out of a Rescaling.
            if _rescales(model) == (convention == "pixels"):
                return cls.imagenet(convention)
        raise ValueError(
            "How this teacher wants its pixels is not known by its name, and a "
            "wrong guess would give wrong images: pass preprocessing="
            "Preprocessing(mean, std, pixel_range), or Preprocessing.imagenet("
            "convention) where a preprocess_input of Keras feeds it. "
            f"Received: a teacher named {name!r}"
        )

    @classmethod
    def _of_layer(cls, model, layer) -> "Preprocessing":
        """That of a model which says by a layer's name how it is fed."""
        scale, offset = (
            np.asarray(v, "float64") for v in (layer.scale, layer.offset)
        )
        if np.isfinite(scale).all() and (scale > 0).all():
            std = 1 / scale
            mean = -offset * std
            # No values in [0, 255] with that mean deviate further.
            most = mean * (255 - mean) * (1 + 1e-3)
            possible = (std > 1).all() and (std**2 <= most).all()
            if possible and _is_fed_pixels(model, layer):
                return cls(mean, std)
        raise ValueError(
            f"The layer {layer.name!r} is not what such a layer is here, the "
            "first of the model, which normalizes pixels in [0, 255] by their "
            "mean and deviation, (pixel - mean) / std: pass preprocessing="
            "Preprocessing(mean, std, pixel_range), or give the layer another "
            f"name. Received: a Rescaling with scale={layer.scale} and "
            f"offset={layer.offset}"
        )

    @classmethod
    def imagenet(cls, convention) -> "Preprocessing":
        """The preprocessing of ImageNet networks under a named convention.

        Args:
            convention: `"torch"` (pixels normalized by ImageNet's mean and
                deviation), `"tf"` ([-1, 1]), `"caffe"` (BGR less the mean) or
                `"pixels"` (0 to 255; the network rescales them itself).
        """
        caffe = np.asarray(CAFFE_MEAN)
        ranges = {
            "torch": "normalized",
            "tf": (-1, 1),
            "caffe": ((0 - caffe).tolist(), (255 - caffe).tolist()),
            "pixels": (0, 255),
        }
        if convention not in ranges:
            raise ValueError(
                f"`convention` must be one of {sorted(ranges)}. "
                f"Received: convention={convention!r}"
            )
        return cls(
            IMAGENET_MEAN,
            IMAGENET_STD,
            ranges[convention],
            "bgr" if convention == "caffe" else "rgb",
        )
