"""Conversions between pixels, the optimized images, and a teacher's input."""

import re

import keras
import numpy as np
from keras import ops

from tf_deepinversion.core.caller_warnings import warn_once
from tf_deepinversion.networks.known_inputs import APPLICATIONS
from tf_deepinversion.networks.known_inputs import CAFFE_MEAN
from tf_deepinversion.networks.known_inputs import IMAGENET_MEAN
from tf_deepinversion.networks.known_inputs import IMAGENET_STD
from tf_deepinversion.networks.known_inputs import channels_of
from tf_deepinversion.networks.known_inputs import is_fed_pixels
from tf_deepinversion.networks.known_inputs import rescales
from tf_deepinversion.networks.remembered_input import RememberedInput
from tf_deepinversion.networks.remembered_input import contradict
from tf_deepinversion.networks.remembered_input import in_words
from tf_deepinversion.networks.remembered_input import input_of


@keras.saving.register_keras_serializable("tf_deepinversion")
class Preprocessing:
    """Tells how a teacher expects pixels, and normalizes images for synthesis.

    Synthesis optimizes z = (pixel - mean) / std, so that natural images have
    mean 0 and variance 1. The paper's learning rates, weights and N(0, 1) start
    assume this for every teacher. A second map converts the same pixels to the
    teacher's input. Images have the shape `(..., channels)`, which stays.

    Args:
        mean: Float or one float per channel (red first), in gray levels
            (0-255): the mean pixel of the teacher's training images.
        std: Float or one float per channel, in gray levels, positive: the
            standard deviation of these pixels.
        pixel_range: The teacher's input values for black and white. `(0, 255)`
            is for unchanged pixels, and for networks that rescale pixels
            themselves. Alternatives are `(0, 1)`, `(-1, 1)`, a pair of lists
            with one float per channel (red first), and `"normalized"` for a
            teacher whose input is z. Defaults to `(0, 255)`.
        channel_order: `"rgb"`, also for one channel, or `"bgr"`. Defaults to
            `"rgb"`.

    Raises:
        ValueError: if a value is out of range.

    Example:
        >>> p = di.Preprocessing(mean=127.5, std=51.0, pixel_range=(-1, 1))
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
        self.mean, self.std = _per_channel(mean), _per_channel(std)
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
                "`pixel_range` must have one value, or one per channel. "
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
                "`mean` and `std` must have one value, or one per channel. "
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
                "`mean` and `std` must be in gray levels, 0 to 255. These "
                "values look like pixels in [0, 1]: multiply both by 255. "
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
        ordered = hasattr(self.pixel_range, "__getitem__") and not isinstance(
            self.pixel_range, dict
        )
        if not ordered or len(self.pixel_range) != 2:
            raise ValueError(
                "`pixel_range` must be a pair (black, white). "
                f"Received: pixel_range={self.pixel_range}"
            )
        return tuple(map(_per_channel, self.pixel_range))

    @property
    def channels(self) -> int:
        """Int, number of channels with own values; 1 fits any images."""
        return max(
            np.size(values)
            for values in (self.mean, self.std, *self._black_and_white())
        )

    def require_channels(self, channels):
        """Checks the number of channels of images.

        Raises:
            ValueError: if the preprocessing has values for another number.
        """
        if self.channels not in (1, channels):
            raise ValueError(
                f"The teacher's images have {channels} channels: pass one "
                "value, or one value per channel. Received: preprocessing with "
                f"mean={self.mean}, std={self.std} and "
                f"pixel_range={self.pixel_range}"
            )

    def bounds(self):
        """Returns z of black and z of white, one value per channel each."""
        return (0 - self.mean) / self.std, (255 - self.mean) / self.std

    def normalize(self, pixels) -> np.ndarray:
        """Converts an array of pixels in [0, 255] to z: a float32 array."""
        return ((np.asarray(pixels) - self.mean) / self.std).astype("float32")

    def to_pixels(self, z) -> np.ndarray:
        """Converts z, a float array, to the nearest gray levels: uint8.

        Raises:
            ValueError: if a value is not finite.
        """
        z = np.asarray(z, "float64")
        if not np.isfinite(z).all():
            raise ValueError("Images have values that are not finite.")
        return np.rint(z * self.std + self.mean).clip(0, 255).astype("uint8")

    def teacher_input(self, z):
        """Converts z, a float tensor, to the teacher's input, of z's dtype."""
        black, white = self._black_and_white()
        # black + pixel (white - black) / 255, with pixel = z std + mean.
        scale = self.std * (white - black) / 255
        offset = black + self.mean * (white - black) / 255
        fed = z * ops.convert_to_tensor(scale, z.dtype)
        fed = fed + ops.convert_to_tensor(offset, z.dtype)
        return ops.flip(fed, axis=-1) if self.channel_order == "bgr" else fed

    def pixels(self, z):
        """Converts z, a float tensor, to unrounded gray levels of its dtype."""
        std = ops.convert_to_tensor(self.std, z.dtype)
        return z * std + ops.convert_to_tensor(self.mean, z.dtype)

    def feeds_as(self, other) -> bool:
        """Tells whether two preprocessings convert pixels to the same input."""
        pairs = zip(
            self._black_and_white(), other._black_and_white(), strict=True
        )
        return self.channel_order == other.channel_order and all(
            np.allclose(own, told, atol=1e-6) for own, told in pairs
        )

    def fed(self, pixels):
        """Converts pixels in [0, 255] to the teacher's input, in float32."""
        mean, std = (
            ops.convert_to_tensor(v, "float32") for v in (self.mean, self.std)
        )
        return self.teacher_input((ops.cast(pixels, "float32") - mean) / std)

    def training_input(self) -> RememberedInput:
        """Returns the mean and deviation of the teacher's training inputs."""
        z = np.float32([-1, 0, 1]).reshape(3, 1, 1, 1)
        z = ops.convert_to_tensor(np.tile(z, (1, 1, 1, self.channels)))
        # z = 0 is the mean pixel, z = 1 is one deviation above it.
        low, middle, high = ops.convert_to_numpy(self.teacher_input(z))
        return RememberedInput(
            float(middle.mean()), float((high - low).mean() / 2)
        )

    def _warn_of_contradiction(self, model):
        told, remembered = self.training_input(), input_of(model)
        if remembered is None or not contradict(told, remembered):
            return
        warn_once(
            model,
            f"The teacher's {in_words(remembered)}. The preprocessing feeds it "
            f"a mean of {told.mean:.3g} and a deviation of "
            f"{told.deviation:.3g}. With wrong inputs, synthesized images show "
            "nothing: compare `pixel_range`, `mean` and `std` with the "
            "teacher's training. A network that has learned other images since "
            "remembers those, too.",
        )

    def _warn_of_own_rescaling(self, model):
        layer = normalize_layer(model)
        try:
            own = layer and Preprocessing._of_layer(model, layer)
        except ValueError:
            return
        if own is None or self.feeds_as(own):
            return
        warn_once(
            model,
            f"The first layer of {model.name!r} normalizes pixels in [0, 255] "
            "itself, so the network expects pixel_range=(0, 255). With other "
            "inputs, what it predicts means nothing. Leave its preprocessing "
            f"out. Received: pixel_range={self.pixel_range}, channel_order="
            f"{self.channel_order!r}",
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
        """Finds the preprocessing of a network.

        The function knows networks of `tf_deepinversion.models` and of
        `keras.applications` by their names. It also knows every model whose
        first layer is a `Rescaling` named `normalize` that normalizes pixels.

        Args:
            model: A `keras.Model`.
            given: A `Preprocessing`, which is returned as is, or None. Defaults
                to None.

        Returns:
            A `Preprocessing`.

        Warns:
            UserWarning: once for each network, if its first BatchNormalization
                remembers other inputs than `given` provides, see
                `check_preprocessing`.

        Raises:
            TypeError: if `given` is not a `Preprocessing`.
            ValueError: if the network is unknown or contradicts its name, or if
                its images have another number of channels.
        """
        if given is None:
            given = cls.known(model)
            if given is None:
                raise ValueError(_unknown(model))
        elif not isinstance(given, cls):
            raise TypeError(
                "Expected a `Preprocessing`; Preprocessing.imagenet(convention)"
                " matches a `preprocess_input` of Keras. "
                f"Received: preprocessing={given!r}"
            )
        else:
            given._warn_of_own_rescaling(model)
        given._warn_of_contradiction(model)
        channels = channels_of(model)
        if channels is not None:
            given.require_channels(channels)
        return given

    @classmethod
    def known(cls, model) -> "Preprocessing | None":
        """Returns what a network's name or first layer tells, or None."""
        layer = normalize_layer(model)
        if layer is not None:
            return cls._of_layer(model, layer)
        name = str(getattr(model, "name", ""))
        for convention, names in APPLICATIONS.items():
            if not re.fullmatch(names, name.lower()):
                continue
            # The name does not tell the convention of a network made with
            # include_preprocessing=False, or with an `input_tensor` that
            # comes from a Rescaling.
            if rescales(model) == (convention == "pixels"):
                return cls.imagenet(convention)
        return None

    @classmethod
    def _of_layer(cls, model, layer) -> "Preprocessing":
        """Returns the preprocessing that a layer named `normalize` implies."""
        scale, offset = (
            np.asarray(v, "float64") for v in (layer.scale, layer.offset)
        )
        if np.isfinite(scale).all() and (scale > 0).all():
            # The layer computes scale x + offset = (x - mean) / std.
            std = 1 / scale
            mean = -offset * std
            # The largest variance of values in [0, 255] with that mean.
            most = mean * (255 - mean) * (1 + 1e-3)
            possible = (std > 1).all() and (std**2 <= most).all()
            if possible and is_fed_pixels(model, layer):
                return cls(mean, std)
        raise ValueError(
            f"A layer named {layer.name!r} must be the model's first and "
            "normalize pixels in [0, 255], (pixel - mean) / std. This layer "
            "does not: pass preprocessing=Preprocessing(mean, std, "
            "pixel_range), or rename the layer. Received: a Rescaling with "
            f"scale={layer.scale} and offset={layer.offset}"
        )

    @classmethod
    def imagenet(cls, convention) -> "Preprocessing":
        """Makes the preprocessing of ImageNet networks by convention.

        Args:
            convention: `"torch"` (pixels normalized by ImageNet's mean and
                deviation), `"tf"` ([-1, 1]), `"caffe"` (BGR minus the mean) or
                `"pixels"` (0 to 255; the network rescales them itself).

        Returns:
            A `Preprocessing`.

        Raises:
            ValueError: if `convention` is unknown.

        Example:
            >>> p = di.Preprocessing.imagenet("tf")
            >>> p.pixel_range
            (-1, 1)
        """
        caffe = np.asarray(CAFFE_MEAN)
        # Each convention of `keras.applications` as inputs for black and white.
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


def _unknown(model) -> str:
    """Says what to pass for a network that is not known."""
    seen = isinstance(model, keras.Model) and input_of(model)
    return (
        "The teacher's preprocessing is not known from its name, and a wrong "
        "guess would give wrong images: pass preprocessing=Preprocessing(mean, "
        "std, pixel_range), as flags --mean, --std and --pixel_range, or, for "
        "a teacher that uses a preprocess_input of Keras, Preprocessing."
        "imagenet(convention). Received: a teacher named "
        f"{str(getattr(model, 'name', ''))!r}"
    ) + (f", whose {in_words(seen)}" if seen else "")


def normalize_layer(model):
    """Returns a model's `Rescaling` named `normalize`, or None."""
    try:
        layer = model.get_layer("normalize")
    except (ValueError, AttributeError):
        return None
    return layer if isinstance(layer, keras.layers.Rescaling) else None


def _per_channel(values) -> np.ndarray:
    """Returns one number, or one for each channel, as a float64 array."""
    array = np.atleast_1d(np.asarray(values, "float64"))
    if not array.size or array.size != array.shape[-1]:
        raise ValueError(
            "`mean`, `std`, black and white are one number each, or a list "
            "with one number for each channel. Received: an array of shape "
            f"{array.shape}"
        )
    return array
