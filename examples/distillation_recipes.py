"""The settings of whole distillations, for `distill.py`."""

import dataclasses

from absl import app
from absl import flags

import tf_deepinversion as di
from tf_deepinversion.optimizers.schedules import OPTIMIZERS

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Plan:
    """The settings of one distillation.

    Attributes:
        source: Origin of the numbers.
        dataset: Name in TFDS of the data set of the teachers.
        methods: Dict from methods to recipes in `RECIPES`, the default method
            first.
        teacher: Name of a shipped network, or None.
        student_width: Channels of the student's first stage.
        rounds: Number of rounds of training.
        steps_per_round: Training steps of the student in a round.
        batch_size: Images in a training step of the student.
        optimizer: Name of the student's optimizer, in
            `optimizers.schedules.OPTIMIZERS`.
        learning_rate: Largest learning rate of the student; 0.1 suits sgd.
        temperature: Temperature of the distillation.
        class_maps: See `distill`; 0 for outputs only.
        strength: Strength of `augmentations`; 0 for CIFAR's crops and flips.
        steps_per_teacher_call: See `Distillation`.
        images_per_round: Images that a round adds, see `RefreshPool`.
        synthesis_steps: Steps of the synthesizer for a batch of images.
        first_steps: Steps of the synthesizer for its first batch.
        draws: Batches that a generator draws after each batch.
        capacity: Largest number of images in the pool.
        fixed_batches: Batches of images that the recipe `replay_pixels` makes
            before the first round, for the method `fast`. These images stay.
        fixed_images: Images in one of these batches.
        fixed_steps: Steps of the synthesizer for one of these batches.
        fixed_share: Share of these images in each batch of the student.
    """

    source: str
    dataset: str
    methods: dict
    teacher: str | None = None
    student_width: int = 16
    rounds: int = 200
    steps_per_round: int = 400
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    temperature: float = 4.0
    class_maps: float = 1.0
    strength: float = 0.0
    steps_per_teacher_call: int = 1
    images_per_round: int = 256
    synthesis_steps: int = 10
    first_steps: int = 100
    draws: int = 0
    capacity: int = 50_000
    fixed_batches: int = 0
    fixed_images: int = 256
    fixed_steps: int = 100
    fixed_share: float = 0.5

    @property
    def transforms(self) -> list:
        """The transforms of the student's images."""
        if self.strength:
            return di.augmentations(self.strength)
        return [di.Shift(4), di.HorizontalFlip()]

    def changed(self, texts) -> "Plan":
        """Returns a copy with other settings, as in `rounds=4,capacity=99`."""
        values = {}
        for pair in ",".join(texts).split(",") if texts else ():
            name, _, text = pair.partition("=")
            kind = type(getattr(self, name, None))
            if kind not in (int, float, str):
                raise app.UsageError(f"--set={pair}: this is no setting.")
            values[name] = kind(text)
        return dataclasses.replace(self, **values)

    def check(self, method, name):
        """Raises an error for flags that do not fit, before hours of work."""
        real, pixels = method == "real", method in ("adi", "deepinversion")
        methods = *self.methods, "noise", "real"
        faults = {
            f"--recipe={name} has no --method={method}, but "
            f"{', '.join(methods)}.": method not in methods,
            f"--method={method} optimizes pixels; only a generator draws: "
            "leave draws out.": self.draws and pixels,
            f"--set=optimizer={self.optimizer} is not one of "
            f"{list(OPTIMIZERS)}.": self.optimizer not in OPTIMIZERS,
            f"--recipe={name} needs --teacher.": not (
                self.teacher or FLAGS.teacher
            ),
            f"--method={method} makes images that compete with the student, "
            "before --student=narrow can be made of them: take another "
            "student.": FLAGS.student == "narrow"
            and method in self.methods
            and method != "deepinversion",
            "--method=real has no --minutes: set rounds.": real
            and FLAGS.minutes,
            "--method=real needs --idx_dir or --tfds_dir.": real
            and not (FLAGS.idx_dir or FLAGS.tfds_dir),
        }
        for fault, found in faults.items():
            if found:
                raise app.UsageError(fault)
        self._require_read(method)

    def _require_read(self, method):
        """Refuses settings that were given although nothing would read them."""
        unread = set()
        if FLAGS.student == "narrow" or FLAGS.student.endswith(".keras"):
            unread.add("student_width")
        if method != "fast":
            unread |= {"fixed_batches", "fixed_images", "fixed_steps"}
            unread.add("fixed_share")
        pairs = [pair for text in FLAGS.set for pair in text.split(",")]
        found = unread & {pair.partition("=")[0] for pair in pairs}
        if found:
            raise app.UsageError(
                f"With --method={method} and --student={FLAGS.student}, "
                f"nothing reads {', '.join(sorted(found))}: leave this out of "
                "--set."
            )


_GARMENTS = {
    "dataset": "fashion_mnist",
    "teacher": "fashion_mnist_resnet20",
    "student_width": 8,
}

# 200 rounds. The paper trains the generator alone for 20 rounds; here the 200
# first steps of the first round take their place.
_FAST = {
    "source": "ours, after arXiv:2112.06253: its numbers, our generator",
    "batch_size": 256,
    "learning_rate": 0.2,
    "temperature": 20.0,
    "first_steps": 200,
    "capacity": 51_200,
}


DISTILLATIONS = {
    # Ours: images by the paper's objective in fewer steps, all made before the
    # first round. docs/results/distillation_trials.md has the trials.
    "fashion_mnist": Plan(
        **_GARMENTS,
        source="ours, after arXiv:1912.08795",
        methods={
            "deepinversion": "distillation_pixels",
            "adi": "distillation_pixels",
        },
        rounds=32,
        steps_per_round=480,
        optimizer="muon",
        learning_rate=0.03,
        strength=0.25,
        steps_per_teacher_call=4,
        synthesis_steps=100,
    ),
    # Ours: a generator that competes with the student, and images of pixels.
    "fashion_mnist_generator": Plan(
        **_GARMENTS,
        source="ours, after arXiv:2112.06253",
        methods={"fast": "distillation"},
        rounds=72,
        steps_per_round=160,
        strength=1.0,
        images_per_round=128,
        draws=10,
        fixed_batches=24,
    ),
    # The images, the temperature and the 50 steps for each batch of images are
    # the paper's. The student's batch size, learning rate and transforms are
    # ours.
    "cifar10_paper": Plan(
        source="arXiv:1912.08795; the student's rate, batch, crops: ours",
        dataset="cifar10",
        methods={"adi": "cifar10_paper", "deepinversion": "cifar10_paper"},
        rounds=1000,
        steps_per_round=50,
        temperature=3.0,
        synthesis_steps=2000,
        first_steps=2000,
        capacity=256_000,
    ),
    "cifar10_fast": Plan(
        **_FAST, dataset="cifar10", methods={"fast": "cifar10_fast"}
    ),
    "cifar100_fast": Plan(
        **_FAST, dataset="cifar100", methods={"fast": "cifar100_fast"}
    ),
}
