"""A network and its figures in two files, the second of which decides."""

import json
import os
import pathlib

import keras

from tf_deepinversion.core.files import sha256_of_file
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.core.run_state import difference

FORMAT = "tf_deepinversion task 1"


def save_task(folder, name, model, figures, run):
    """Saves `{name}.keras`, and then `{name}.json`, by which it counts.

    Args:
        folder: Path.
        name: String.
        model: A `keras.Model`.
        figures: What JSON can hold.
        run: String that tells this run from others.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / f"{name}.keras", folder / f"{name}.part.keras"
    model.save(part)
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    content = json.dumps(
        {
            "format": FORMAT,
            "run": run,
            "sha256": sha256_of_file(path),
            "figures": figures,
        }
    )
    write_atomically(
        folder / f"{name}.json", lambda file: file.write(content.encode())
    )


def load_task(folder, name, run):
    """Loads what `save_task` saved whole.

    Args:
        folder: Path.
        name: String.
        run: String, that of the run which wants to go on.

    Returns:
        A pair, network and figures, or None where nothing was saved, or the
        saving was interrupted: what is left of it is not looked at.

    Raises:
        ValueError: if a file is damaged or gone, or of another run.
    """
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
            "and what was saved after it to learn it anew."
        ) from e
    if saved["run"] != run:
        raise ValueError(
            f"{path} belongs to another run: {difference(run, saved['run'])}. "
            "Give this run a folder of its own."
        )
    model = keras.models.load_model(network, compile=False)
    return model, saved["figures"]
