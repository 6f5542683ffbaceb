"""Creates the steps of an inversion's stages when they are needed."""

from tf_deepinversion.inversion.step import InversionStep
from tf_deepinversion.inversion.step import pieces


class StageSteps:
    """The `InversionStep` of each stage, for the newest two calls of `fit`.

    The object keeps the steps of two calls with their variables and graphs, and
    drops older steps. Two calls suffice: `Pool.fill` uses two numbers of steps.

    Args:
        networks: `Networks`.
        recipe: A `Recipe`.
        terms: List of `Term`.
        optimizer: A `keras.optimizers.Optimizer`, or None for the recipe's.
        source: Function from the shape of the images to an `ImageSource`.
        micro_batch: As for `InversionStep`.
        jit_compile: As for `InversionStep`.
        run_eagerly: As for `InversionStep`.
    """

    def __init__(
        self,
        networks,
        recipe,
        terms,
        optimizer,
        source,
        *,
        micro_batch,
        jit_compile,
        run_eagerly,
    ):
        self._networks, self._recipe, self._terms = networks, recipe, terms
        self._optimizer, self._source = optimizer, source
        self._micro_batch = micro_batch
        self._jit_compile, self._run_eagerly = jit_compile, run_eagerly
        self._steps = {}

    def __len__(self):
        return len(self._steps)

    def check(self, share):
        """Checks a number of images before a step is created.

        Args:
            share: Int, number of images of a replica.

        Raises:
            ValueError: if `micro_batch` does not divide them.
        """
        pieces(share, self._micro_batch)

    def find(self, stage, steps, images, keep) -> InversionStep:
        """Returns the step of a stage, an earlier one or a new one.

        Call it in the strategy's scope.

        Args:
            stage: Int, number of the stage.
            steps: Int, number of the stage's steps, for its schedule.
            images: Int, number of images.
            keep: `"last"` or `"best"`.
        """
        # Only the recipe's optimizer has a schedule over the number of steps.
        schedule = steps if self._optimizer is None else None
        key = (stage, schedule, images, keep)
        step = self._steps.pop(key, None)
        most = 2 * len(self._recipe.stages)
        # `pop` above moves a used step to the end: the first is the least
        # recent.
        while len(self._steps) >= most:
            del self._steps[next(iter(self._steps))]
        if step is None:
            step = self._new(stage, steps, images, keep)
        self._steps[key] = step
        return step

    def _new(self, stage, steps, images, keep):
        plan = self._recipe.stages[stage]
        optimizer = self._optimizer
        if optimizer is None:
            optimizer = plan.make_optimizer(steps)
        else:
            optimizer = _like(optimizer)
        shape = plan.shape(self._networks.teacher.image_shape)
        return InversionStep(
            self._networks,
            self._terms,
            list(plan.transforms),
            optimizer,
            self._source((images, *shape)),
            micro_batch=self._micro_batch,
            keep_best=keep == "best",
            jit_compile=self._jit_compile,
            run_eagerly=self._run_eagerly,
        )


def _like(optimizer):
    """Makes an optimizer as the given one is: a run may change its own rate."""
    try:
        return optimizer.from_config(optimizer.get_config())
    except NotImplementedError:
        # A schedule without a config, which no callback changes.
        if optimizer.built:
            raise
        return optimizer
