"""Which optimizers treat an image independently of other images."""

import keras
import pytest
from inversions import LABELS
from inversions import inversion
from inversions import two_replicas
from keras import ops

from tf_deepinversion import PyramidAdam
from tf_deepinversion.optimizers.apart import moves_images_alone
from tf_deepinversion.optimizers.conv_muon import ConvMuon
from tf_deepinversion.optimizers.schedules import warmed_cosine

optimizers = keras.optimizers


class Own(keras.optimizers.Optimizer):
    """A user's: down the gradient, less what all images have in common."""

    def __init__(self, learning_rate=0.1, common=0.0, name="own", **kwargs):
        super().__init__(learning_rate, name=name, **kwargs)
        self.common = common

    def update_step(self, gradient, variable, learning_rate):
        if self.common:
            gradient = gradient - self.common * ops.mean(gradient)
        self.assign_sub(variable, learning_rate * gradient)

    def get_config(self):
        return {**super().get_config(), "common": self.common}


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        lambda: optimizers.SGD(warmed_cosine(2000, 0.1, 1000)),
        lambda: optimizers.Adam(0.1, amsgrad=True, clipvalue=0.1),
        lambda: optimizers.AdamW(0.1),
        lambda: optimizers.RMSprop(0.1, centered=True),
        lambda: optimizers.Lion(0.1),
        lambda: PyramidAdam(0.1),
        lambda: Own(),
    ],
)
def test_what_moves_every_pixel_or_image_by_itself(optimizer):
    assert moves_images_alone(optimizer(), (15, 14, 3))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optimizers.Lamb(0.1),
        lambda: optimizers.Adafactor(0.1),
        lambda: ConvMuon(0.1),
        lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.1)),
        lambda: optimizers.SGD(0.1, clipnorm=1.0),
        lambda: Own(common=0.01),
    ],
)
def test_what_looks_at_other_images(optimizer):
    assert not moves_images_alone(optimizer(), (15, 14, 3))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optimizers.Lamb(0.1),
        lambda: optimizers.Adafactor(0.1),
        lambda: Own(common=0.01),
    ],
)
def test_such_an_optimizer_is_refused_with_several_replicas(optimizer):
    with two_replicas().scope():
        model = inversion()
        model.compile(optimizer())
    with pytest.raises(
        ValueError, match="depends on other images.*Received: opt"
    ):
        model.fit(LABELS, steps=1, verbose=0)
