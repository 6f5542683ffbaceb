"""What other networks say of an inversion on the way."""

from tf_deepinversion.callbacks.watches_images import WatchesImages
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.metrics import recognition
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.reader import resized


class Verifier(WatchesImages):
    """Adds to `logs` how many images other networks take for their labels.

    Images that only their teacher recognizes are adversarial noise; those
    that networks of other families recognize too carry what the classes are.

    Args:
        networks: Dict from names to `keras.Model` classifiers with the
            teacher's classes. `logs` gets `{name}_accuracy`. Where a network
            takes images of one size, they are resized to that.
        preprocessing: Dict from the same names to `Preprocessing`; needed for
            the networks that are not known by name.
        every: Int, epochs between two readings. Defaults to 1.
    """

    def __init__(self, networks, preprocessing=None, every=1):
        super().__init__()
        if not networks:
            raise ValueError("`networks` is empty: there is nothing to ask.")
        require_whole(every=every)
        self.networks = dict(networks)
        given = preprocessing or {}
        self.preprocessing = {
            name: Preprocessing.of(network, given.get(name))
            for name, network in self.networks.items()
        }
        self.every = every

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        images, labels = self.model.images, self.model.labels
        for name, network in self.networks.items():
            logs[f"{name}_accuracy"] = recognition.accuracy(
                network,
                resized(images, network),
                labels,
                self.preprocessing[name],
            )
