"""A network and its figures in two files; the second file makes them valid."""

import json
import pathlib

import keras

from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.files import sha256_of_file
from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.run_state import difference

FORMAT = "tf_deepinversion task 1"


def save_task(folder, name, model, figures, run):
    """Saves `{name}.keras`, and then `{name}.json`, which makes it valid.

    Args:
        folder: Path.
        name: String.
        model: A `keras.Model`.
        figures: A value that JSON can store.
        run: String that identifies the run.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> di.incremental.save_task(
        ...     folder, "task", teacher, figures={"seconds": 2}, run="a"
        ... )
        >>> network, figures = di.incremental.load_task(folder, "task", "a")
        >>> figures
        {'seconds': 2}
    """
    require_local(folder=folder)
    folder = pathlib.Path(folder)
    path = folder / f"{name}.keras"
    save_network(path, model)
    # Only this file makes the network valid: a kill before it repeats the task.
    content = json.dumps(
        {
            "format": FORMAT,
            "run": run,
            "sha256": sha256_of_file(path),
            "figures": figures,
        }
    )
    write_content(folder / f"{name}.json", content)


def load_task(folder, name, run):
    """Loads a network and figures that `save_task` saved completely.

    Args:
        folder: Path.
        name: String.
        run: String, identity of the run that wants to resume.

    Returns:
        A pair, network and figures. None if nothing was saved, or if saving was
        interrupted.

    Raises:
        ValueError: if a file is damaged or missing, or belongs to another run.

    Example:
        >>> di.incremental.load_task("no such folder", "task", "a") is None
        True
    """
    require_local(folder=folder)
    path = pathlib.Path(folder) / f"{name}.json"
    if not path.exists():
        return None
    network = path.with_suffix(".keras")
    try:
        saved = json.loads(path.read_text())
        if saved["format"] != FORMAT:
            raise ValueError(f"its format is {saved['format']!r}")
        if saved["run"] == run:
            found = sha256_of_file(network)
            if found != saved["sha256"]:
                raise ValueError(f"the sha256 of {network.name} is {found}")
    except Exception as e:  # damage makes JSON and files raise anything
        raise ValueError(
            f"The task saved as {path} is damaged ({e}). Delete {path.name} "
            "and all later tasks to learn them again."
        ) from e
    if saved["run"] != run:
        raise ValueError(
            f"{path} belongs to another run: {difference(run, saved['run'])}. "
            "Use another folder for this run."
        )
    # The next task compiles a copy of the network.
    model = keras.models.load_model(network, compile=False)
    return model, saved["figures"]
