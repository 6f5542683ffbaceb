"""Terms of the images alone, for properties that most images share."""

import keras

from tf_deepinversion.objective import priors
from tf_deepinversion.objective.terms import Term


@keras.saving.register_keras_serializable("tf_deepinversion")
class TotalVariation(Term):
    """R_TV: penalizes differences between neighboring pixels.

    Args:
        weight: Float, at least 0. Defaults to 1.
        form: `"l2"`, the paper's form, adds the norms of the differences over
            the whole batch. `"l1"` adds the means of their absolute values.
            Defaults to `"l2"`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> images = np.array([[0.0, 1.0], [0.0, 1.0]], "float32")
        >>> view = di.objective.View(images[None, :, :, None], [0], None, [])
        >>> term = di.TotalVariation(form="l1")
        >>> float(term.value(term.sums(view), []))
        3.0
    """

    name = "total_variation"

    def __init__(self, weight=1.0, form="l2"):
        super().__init__(weight)
        if form not in ("l1", "l2"):
            raise ValueError(
                f'`form` must be "l1" or "l2". Received: form={form!r}'
            )
        self.form = form
        self._prior = (
            priors.total_variation_l1
            if form == "l1"
            else priors.total_variation_l2
        )

    def sums(self, view):
        return self._prior.sums(view.images)

    def value(self, sums, batch_norms):
        return self._prior.value(sums)

    def get_config(self):
        return {**super().get_config(), "form": self.form}


@keras.saving.register_keras_serializable("tf_deepinversion")
class L2(Term):
    """R_l2: penalizes the size of the pixel values.

    Args:
        weight: Float, at least 0. Defaults to 1.
        over: `"batch"` takes the norm of the batch as one vector, as the
            paper does for CIFAR-10. `"images"` takes the mean of the images'
            norms, as the paper does for ImageNet. Defaults to `"batch"`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> images = np.array([3.0, 4.0], "float32").reshape(2, 1, 1, 1)
        >>> view = di.objective.View(images, [0, 1], None, [])
        >>> whole, each = di.L2(), di.L2(over="images")
        >>> float(whole.value(whole.sums(view), []))
        5.0
        >>> float(each.value(each.sums(view), []))
        3.5
    """

    name = "l2"

    def __init__(self, weight=1.0, over="batch"):
        super().__init__(weight)
        if over not in ("batch", "images"):
            raise ValueError(
                f'`over` must be "batch" or "images". Received: over={over!r}'
            )
        self.over = over
        self._prior = (
            priors.l2_of_images if over == "images" else priors.l2_of_batch
        )

    def sums(self, view):
        return self._prior.sums(view.images)

    def value(self, sums, batch_norms):
        return self._prior.value(sums)

    def get_config(self):
        return {**super().get_config(), "over": self.over}
