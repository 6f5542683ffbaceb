"""The steps of an inversion's stages, made when they are asked for."""

from tf_deepinversion.inversion.step import InversionStep


class StageSteps:
    """The `InversionStep` of each stage, for the newest two calls of `fit`.

    Those of two calls are kept, with their variables and graphs, and no more:
    `Pool.fill` asks for two numbers of steps.

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

    def find(self, stage, steps, images, keep) -> InversionStep:
        """The step of a stage, in the strategy's scope: new, or as it was.

        Args:
            stage: Int.
            steps: Int, how many the stage has, for its schedule.
            images: Int, how many there are.
            keep: `"last"` or `"best"`.
        """
        schedule = steps if self._optimizer is None else None
        key = (stage, schedule, images, keep)
        step = self._steps.pop(key, None)
        most = 2 * len(self._recipe.stages)
        while len(self._steps) >= most:  # the one that was unused for longest
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
        elif optimizer.built:
            optimizer = optimizer.from_config(optimizer.get_config())
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
