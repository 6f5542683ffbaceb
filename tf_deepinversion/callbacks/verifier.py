"""A callback that asks other networks about an inversion in progress."""

from tf_deepinversion.callbacks.watches_images import WatchesImages
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import classes_of
from tf_deepinversion.metrics import recognition
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.reader import resized


class Verifier(WatchesImages):
    """Logs how many images other networks assign to the images' labels.

    Pass the callback to `DeepInversion.fit(callbacks=[...])`. Images that only
    their teacher recognizes are adversarial noise. Images that networks of
    other families recognize show their classes.

    Args:
        networks: Dict from names to `keras.Model` classifiers with the
            teacher's classes. `logs` gets `{name}_accuracy`. The callback
            resizes images for a network with a fixed input size.
        preprocessing: Dict from names of networks to `Preprocessing`. Not
            needed for networks of `di.models` or of `keras.applications`.
            Defaults to None.
        every: Int, number of epochs between checks. Defaults to 1.

    Raises:
        TypeError: at the start of training, if the model is not a
            `DeepInversion`.
        ValueError: if there is no network, `every` is out of range, or, at the
            start of training, a network has other classes.

    Example:
        >>> verifier = di.Verifier({"other": student}, every=10)
        >>> verifier.every
        10
    """

    def __init__(self, networks, preprocessing=None, every=1):
        super().__init__()
        if not networks:
            raise ValueError(
                "`networks` must name at least one network. "
                f"Received: networks={networks}"
            )
        require_whole(every=every)
        self.networks = dict(networks)
        given = preprocessing or {}
        self.preprocessing = {
            name: Preprocessing.of(network, given.get(name))
            for name, network in self.networks.items()
        }
        self.every = every

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        for name, network in self.networks.items():
            if classes_of(network) != self.model.classes:
                raise ValueError(
                    f"A verifier has the teacher's {self.model.classes} "
                    f"classes. Received: {name!r} with {classes_of(network)}"
                )

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        images, labels = self.model.images, self.model.labels
        for name, network in self.networks.items():
            # Later callbacks find the value in `logs`: the history and the bar.
            logs[f"{name}_accuracy"] = recognition.accuracy(
                network,
                resized(images, network),
                labels,
                self.preprocessing[name],
            )
