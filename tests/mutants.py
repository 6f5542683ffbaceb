"""Plants one wrong thing at a time and asks the tests: `make mutants`.

Each mutant is a file, a piece of it that occurs once, what takes its place,
and the test files that must turn red. It takes some ten minutes.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent

MUTANTS = [
    # The equations.
    ("priors.py", "window(0, 0, 1, 1) - window", "window(0, 0, 1, 1) + window", "priors"),
    ("priors.py", "ops.sum(root(squared_differences(images)))", "ops.sum(squared_differences(images))", "priors"),
    ("priors.py", "ops.sqrt(ops.where(some, squares, 1.0)), 0.0", "ops.sqrt(squares), 0.0", "priors"),
    ("priors.py", "some = squares != 0", "some = squares > 0", "priors"),
    ("priors.py", "sums[:4] / sums[4:]", "sums[:4]", "priors"),
    ("losses.py", "return -ops.sum(one_hot", "return ops.sum(one_hot", "losses"),
    ("losses.py", "- math.log(2)", "", "losses"),
    ("losses.py", "ops.exp(log_q) * (log_q - log_m)", "ops.exp(log_p) * (log_q - log_m)", "losses"),
    ("objective.py", "return 1 - mean_value(sums)", "return mean_value(sums)", "objective"),
    ("objective.py", "distances[0] * self.first_weight", "distances[0]", "objective"),
    ("objective.py", "return ops.sum(priors.root(sums[0]))", "return ops.sum(sums[0])", "objective"),
    # Statistics.
    ("feature_statistics.py", "- ops.square(mean_gap)", "", "feature_statistics"),
    ("feature_statistics.py", "norm(mean_gap) + norm(variance_gap)", "ops.sum(ops.square(mean_gap)) + norm(variance_gap)", "feature_statistics"),
    ("feature_statistics.py", "layer.moving_variance, mean_gap.dtype) + layer.epsilon", "layer.moving_variance, mean_gap.dtype) + 1.0", "feature_statistics"),
    ("feature_statistics.py", "variance = sums.second / sums.count", "variance = sums.second / (sums.count - 1)", "feature_statistics"),
    ("feature_statistics.py", "(2 * d_second)", "d_second", "feature_statistics"),
    ("taps.py", "if not tap.users:", "if False:", "feature_statistics"),
    # What the loop sees and does.
    ("classifier.py", "self.model(inputs, training=False)", "self.model(inputs, training=True)", "classifier"),
    ("classifier.py", "logits = call.inputs", "logits = call.outputs", "classifier"),
    ("classifier.py", "if head.layer.bias is not None", "if head.layer.bias is None", "classifier"),
    ("pyramid_adam.py", "ops.average_pool(g, 2**level", "ops.max_pool(g, 2**level", "pyramid_adam"),
    ("inversion_step.py", "return self._one_pass(images, labels, draws, self._all_reduce)", "return self._one_pass(images, labels, draws)", "deep_inversion"),
    ("inversion_step.py", "self._all_reduce(self._compiled_sums(images, labels, draws))", "self._compiled_sums(images, labels, draws)", "deep_inversion"),
    ("inversion_step.py", "self._step(first + done, labels, seed)", "self._step(done, labels, seed)", "deep_inversion"),
    ("inversion_step.py", "tf.where(better, before, self.best_images.value)", "tf.where(better, after, self.best_images.value)", "deep_inversion"),
    ("inversion_step.py", "tf.where(finite, self._clip(after), before)", "tf.where(finite, after, before)", "deep_inversion"),
    ("inversion_step.py", "self.images.assign(state[\"images\"])", "pass", "resume"),
    ("transforms.py", "_gather_rolled(upstream, -shifts)", "_gather_rolled(upstream, shifts)", "transforms"),
    ("transforms.py", "self.pixels + 1,", "self.pixels,", "transforms"),
    ("preprocessing.py", "offset = black + self.mean", "offset = black - self.mean", "preprocessing"),
    ("preprocessing.py", "if self.channel_order == \"bgr\"", "if self.channel_order == \"rgb\"", "preprocessing"),
    ("preprocessing.py", "np.rint(z * self.std + self.mean)", "np.floor(z * self.std + self.mean)", "preprocessing"),
    ("metrics.py", "ddof=1", "ddof=0", "metrics"),
    ("checkpoint.py", "if header.get(\"format\") != FORMAT or header.get(\"run\") != run:", "if header.get(\"format\") != FORMAT:", "checkpoint resume"),
]  # fmt: skip


def survives(name, old, new, tests) -> bool:
    """Whether the named tests stay green with `old` replaced by `new`."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        ignore = shutil.ignore_patterns("__pycache__")
        for part in ("tf_deepinversion", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=ignore)
        for part in ("conftest.py", "setup.cfg"):
            shutil.copy(ROOT / part, copy)
        path = copy / "tf_deepinversion" / name
        source = path.read_text()
        if source.count(old) != 1:
            raise ValueError(f"{name} holds {old!r} {source.count(old)} times.")
        path.write_text(source.replace(old, new))
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x"]
            + [f"tests/{test}_test.py" for test in tests.split()],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
        )
        if result.returncode not in (0, 1):
            raise RuntimeError(result.stdout.decode()[-2000:])
        return result.returncode == 0


def main():
    survivors = []
    for i, mutant in enumerate(MUTANTS):
        alive = survives(*mutant)
        survivors += [mutant] * alive
        mark = "SURVIVES" if alive else "killed"
        print(f"{i + 1}/{len(MUTANTS)} {mark}: {mutant[:3]}", flush=True)
    print(f"{len(MUTANTS) - len(survivors)} killed, {len(survivors)} survived")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
