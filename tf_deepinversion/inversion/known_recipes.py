"""The recipes that have a name, see `recipes` for what their parts mean."""


def _imagenet_crops(steps, scale):
    return {
        "steps": steps,
        "scale": scale,
        "transforms": [
            ("ResizedCrop", {"area": [0.25, 1.0]}),
            ("HorizontalFlip", {}),
        ],
        "optimizer": ("PyramidAdam", {}),
        "learning_rate": 0.1,
        "warmup_steps": 20,
        "decay": "cosine",
    }


def _imagenet_stage(steps, scale, jitter):
    return {
        "steps": steps,
        "scale": scale,
        "transforms": [("Jitter", {"pixels": jitter}), ("HorizontalFlip", {})],
        "optimizer": ("Adam", {"beta_1": 0.5, "beta_2": 0.9}),
        "learning_rate": 0.25,
        "warmup_steps": 100,
        "decay": "cosine",
    }


def _cifar10_stage(steps, optimizer, learning_rate, decay="cosine"):
    return {
        "steps": steps,
        "scale": 1.0,
        "transforms": [("Jitter", {"pixels": 2})],
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "warmup_steps": 0,
        "decay": decay,
    }


_CIFAR10 = {
    "batch_size": 256,
    "loss": [
        ("CrossEntropy", {"weight": 1.0}),
        ("FeatureStatistics", {"weight": 10.0}),
        ("TotalVariation", {"weight": 2.5e-5}),
    ],
    "competition": ("Competition", {"weight": 1.0}),
}


_IMAGENET = {
    "source": "arXiv:1912.08795, ImageNet",
    "batch_size": 84,
    "loss": [
        ("CrossEntropy", {"weight": 1.0}),
        ("FeatureStatistics", {"weight": 0.01, "first_weight": 10.0}),
        ("TotalVariation", {"weight": 1e-4}),
        ("L2", {"weight": 1e-5, "over": "images"}),
    ],
    "competition": ("Competition", {"weight": 0.2}),
}


_DISTILLATION = {
    "source": "ours, after arXiv:2112.06253",
    "moves": "generator",
    "batch_size": 128,
    "loss": [
        ("CrossEntropy", {"weight": 0.3}),
        ("FeatureStatistics", {"weight": 1.0}),
    ],
    "competition": ("AgreedDivergence", {"weight": 4.0}),
    "latents": {"latent_scale": 0.0, "latent_noise": 1.0},
    "generator": {"width": 32},
    "stages": [
        {
            "steps": 20,
            "scale": 1.0,
            "transforms": [
                ("Shift", {"pixels": 2}),
                ("HorizontalFlip", {}),
            ],
            "optimizer": ("Adam", {"beta_1": 0.5}),
            "learning_rate": 3e-3,
            "warmup_steps": 0,
            "decay": "constant",
        }
    ],
}


def _fast(competition):
    """The published numbers of a generator for CIFAR, ten steps a batch."""
    return {
        "source": "ours, after arXiv:2112.06253: its numbers, our generator",
        "moves": "generator",
        "batch_size": 256,
        "loss": [
            ("CrossEntropy", {"weight": 0.5}),
            ("FeatureStatistics", {"weight": 10.0}),
        ],
        "competition": ("AgreedDivergence", {"weight": competition}),
        # Latents at 0.01, five times the generator's rate; the noise is ours.
        "latents": {
            "latent_scale": 1.0,
            "latent_noise": 0.1,
            "latent_rate": 5.0,
        },
        "stages": [
            {
                "steps": 10,
                "scale": 1.0,
                "transforms": [
                    ("Shift", {"pixels": 4}),
                    ("HorizontalFlip", {}),
                ],
                "optimizer": ("Adam", {"beta_1": 0.5}),
                "learning_rate": 2e-3,
                "warmup_steps": 0,
                "decay": "constant",
            }
        ],
    }


RECIPES = {
    # The paper's, less its l2 prior, whose weight we could not verify. The
    # weight of the competition is ours.
    "cifar10_paper": {
        "source": "arXiv:1912.08795, CIFAR-10, ResNet-34; competition: ours",
        **_CIFAR10,
        "stages": [_cifar10_stage(2000, ("Adam", {}), 0.05, "constant")],
    },
    "imagenet_multiresolution": {
        **_IMAGENET,
        "stages": [
            _imagenet_stage(2000, 0.5, 15),
            _imagenet_stage(1000, 1.0, 30),
        ],
    },
    # Ours: fewer steps, crops as in training, statistics in the layers' units.
    "imagenet": {
        "source": "ours, after arXiv:1912.08795",
        "batch_size": 20,
        "loss": [
            ("CrossEntropy", {"weight": 1.0}),
            (
                "FeatureStatistics",
                {"weight": 10.0, "normalized": True, "first_weight": 10.0},
            ),
            ("TotalVariation", {"weight": 0.025, "form": "l1"}),
        ],
        "competition": ("Competition", {"weight": 1.0}),
        "stages": [_imagenet_crops(400, 0.5), _imagenet_crops(200, 1.0)],
    },
    "imagenet_20k": {**_IMAGENET, "stages": [_imagenet_stage(20000, 1.0, 30)]},
    # Ours: docs/inversion.md says how they were chosen. A generator's, for
    # `FastInversion` on small images.
    "generator": {
        "source": "ours, after arXiv:2112.06253",
        "moves": "generator",
        "batch_size": 256,
        "loss": [
            ("CrossEntropy", {"weight": 1.5, "feature_dropout": 0.5}),
            ("FeatureStatistics", {"weight": 1.0}),
        ],
        "competition": ("Competition", {"weight": 1.0}),
        "latents": {"latent_scale": 0.5, "latent_noise": 0.3},
        "stages": [
            {
                "steps": 800,
                "scale": 1.0,
                "transforms": [
                    ("Shift", {"pixels": 2}),
                    ("HorizontalFlip", {}),
                ],
                "optimizer": ("Adam", {"beta_1": 0.5}),
                "learning_rate": 3e-3,
                "warmup_steps": 0,
                "decay": "cosine",
            }
        ],
    },
    # Ours, for students: images of all that lies between the classes, too.
    # docs/results/distillation_trials.md says how its weights were found.
    "distillation": _DISTILLATION,
    # The same where nobody competes: images that are to be of their classes.
    "replay": {
        **_DISTILLATION,
        "loss": [
            ("CrossEntropy", {"weight": 1.0}),
            ("FeatureStatistics", {"weight": 1.0}),
        ],
    },
    # The paper's objective for small images, by an optimizer that needs a
    # twentieth of the steps: less recognizable than `ours`, better to learn
    # from. docs/results/distillation_trials.md compares.
    "distillation_pixels": {
        "source": "ours, after arXiv:1912.08795, CIFAR-10",
        **_CIFAR10,
        "coarseness": 4,
        "snapshots": [0.5, 0.75],
        "loss": [
            ("CrossEntropy", {"weight": 0.3, "temperature": 3.0}),
            *_CIFAR10["loss"][1:],
        ],
        "stages": [
            _cifar10_stage(100, ("PyramidAdam", {"beta_1": 0.85}), 0.25)
        ],
    },
    # The same for images that are to be of their classes, and what
    # `distillation_pixels` was before.
    "replay_pixels": {
        "source": "arXiv:1912.08795, CIFAR-10; optimizer and steps: ours",
        **_CIFAR10,
        "stages": [_cifar10_stage(100, ("PyramidAdam", {}), 0.2)],
    },
    # For 32x32x3 teachers, not tried on them by us: the competition is the
    # least and the most of what was published.
    "cifar10_fast": _fast(1.0),
    "cifar100_fast": _fast(1.33),
    # For pixels of small images.
    "ours": {
        "source": "ours",
        "batch_size": 256,
        "loss": [
            ("CrossEntropy", {"weight": 1.0, "feature_dropout": 0.5}),
            ("FeatureStatistics", {"weight": 2.5, "normalized": True}),
            ("TotalVariation", {"weight": 0.025, "form": "l1"}),
        ],
        "competition": ("Competition", {"weight": 1.0}),
        "stages": [
            {
                "steps": 1000,
                "scale": 1.0,
                "transforms": [
                    ("Shift", {"pixels": 2}),
                    ("HorizontalFlip", {}),
                ],
                "optimizer": ("PyramidAdam", {}),
                "learning_rate": 0.2,
                "warmup_steps": 0,
                "decay": "cosine",
            }
        ],
    },
}
