"""Whole distillations as plain data, for `distill.py`.

Each is a dictionary of

- `source`: where its numbers come from;
- `dataset`: the name in TFDS of the data that such teachers were trained on;
- `teacher`: one that ships, or None;
- `methods`: the recipe in `tf_deepinversion.RECIPES` by method, the default
  method first;
- `student_width`, `rounds`, `steps_per_round`, `batch_size`, `optimizer` (in
  `optimizers.OPTIMIZERS`), `learning_rate` and `temperature`, of the student;
- `transforms` of what the student sees, as in `RECIPES`; or a number, the
  strength of `augmentations`;
- `steps_per_teacher_call`, see `Distillation`;
- `images_per_round`, `synthesis_steps` and `first_steps`, see `RefreshPool`;
  `draws`, see `FastInversion`; and `capacity`, see `Pool`;
- `fixed_batches`: how many batches of images are made beforehand and stay, for
  the method `fast`: `fixed_images` each, in `fixed_steps` (of a generator the
  steps of its first batch; a third of them of the others) by the recipe
  `fixed_recipe`; `fixed_share` of each of the student's batches is of them.
"""

_NO_FIXED_IMAGES = {
    "fixed_batches": 0,
    "fixed_recipe": "generator",
    "fixed_images": 250,
    "fixed_steps": 300,
    "fixed_share": 0.3,
}


# 200 rounds; the 20 in which theirs trains the generator alone are here the
# steps of the first round.
_FAST = {
    "source": "ours, after arXiv:2112.06253: its numbers, our generator",
    "teacher": None,
    "student_width": 16,
    "rounds": 200,
    "steps_per_round": 400,
    "batch_size": 256,
    "optimizer": "sgd",
    "learning_rate": 0.2,
    "temperature": 20.0,
    "transforms": "crops",
    "steps_per_teacher_call": 1,
    "images_per_round": 256,
    "synthesis_steps": 10,
    "first_steps": 200,
    "draws": 0,
    "capacity": 51_200,
    **_NO_FIXED_IMAGES,
}


DISTILLATIONS = {
    # Ours, of the paper's images in fewer steps, all made first:
    # docs/results/distillation_trials.md says how it was found.
    "fashion_mnist": {
        "source": "ours, after arXiv:1912.08795",
        "dataset": "fashion_mnist",
        "teacher": "fashion_mnist_resnet20",
        "methods": {
            "deepinversion": "distillation_pixels",
            "adi": "distillation_pixels",
        },
        "student_width": 8,
        "rounds": 32,
        "steps_per_round": 480,
        "batch_size": 128,
        "optimizer": "muon",
        "learning_rate": 0.03,
        "temperature": 4.0,
        "transforms": 0.25,
        "steps_per_teacher_call": 4,
        "images_per_round": 256,
        "synthesis_steps": 100,
        "first_steps": 100,
        "draws": 0,
        "capacity": 50_000,
        **_NO_FIXED_IMAGES,
    },
    # Ours: a generator that competes with the student, beside pixels.
    "fashion_mnist_generator": {
        "source": "ours, after arXiv:2112.06253",
        "dataset": "fashion_mnist",
        "teacher": "fashion_mnist_resnet20",
        "methods": {"fast": "distillation"},
        "student_width": 8,
        "rounds": 72,
        "steps_per_round": 160,
        "batch_size": 128,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "temperature": 4.0,
        "transforms": 1.0,
        "steps_per_teacher_call": 1,
        "images_per_round": 128,
        "synthesis_steps": 10,
        "first_steps": 100,
        "draws": 10,
        "capacity": 50_000,
        "fixed_batches": 24,
        "fixed_recipe": "replay_pixels",
        "fixed_images": 256,
        "fixed_steps": 100,
        "fixed_share": 0.5,
    },
    # The paper's images, temperature, and 50 steps for each batch of them. The
    # student's batch, rate and transforms are ours.
    "cifar10_paper": {
        "source": "arXiv:1912.08795; the student's rate, batch, crops: ours",
        "dataset": "cifar10",
        "teacher": None,
        "methods": {"adi": "cifar10_paper", "deepinversion": "cifar10_paper"},
        "student_width": 16,
        "rounds": 1000,
        "steps_per_round": 50,
        "batch_size": 128,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "temperature": 3.0,
        "transforms": "crops",
        "steps_per_teacher_call": 1,
        "images_per_round": 256,
        "synthesis_steps": 2000,
        "first_steps": 2000,
        "draws": 0,
        "capacity": 256_000,
        **_NO_FIXED_IMAGES,
    },
    "cifar10_fast": {
        **_FAST,
        "dataset": "cifar10",
        "methods": {"fast": "cifar10_fast"},
    },
    "cifar100_fast": {
        **_FAST,
        "dataset": "cifar100",
        "methods": {"fast": "cifar100_fast"},
    },
}
