"""The state of a run in one file, written atomically."""

import hashlib
import json

import keras
import numpy as np

from tf_deepinversion.core.array_file import read_arrays
from tf_deepinversion.core.array_file import save_arrays
from tf_deepinversion.core.described import add_arrays
from tf_deepinversion.core.described import described
from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.keras_internals import averages_of

FORMAT = "tf_deepinversion checkpoint 1"


def save(path, arrays, run):
    """Saves arrays together with the identity of their run.

    Args:
        path: String or path.
        arrays: Dict from names to arrays.
        run: String that identifies the run, see `fingerprint`.
    """
    exact = {name: _in_float32(array) for name, array in arrays.items()}
    save_arrays(path, exact, {"format": FORMAT, "run": run})


def _in_float32(array):
    """Returns bfloat16 in float32, which NumPy's files can hold."""
    array = np.asarray(array)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def load(path, run) -> dict | None:
    """Loads what `save` saved, or returns None if there is no file.

    Args:
        path: String or path.
        run: String, identity of the run that wants to resume.

    Raises:
        ValueError: if the file is damaged or belongs to another run.
    """
    require_local(path=path)
    path = path_of(path)
    try:
        # What the system refuses to read is not damaged. Another worker may
        # remove the file at any moment.
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        arrays, header = read_arrays(content)
    except MemoryError:
        raise
    except Exception as e:  # damage makes zip and npy readers raise anything
        raise ValueError(
            f"The checkpoint {path} is damaged ({e}). Delete the file to start "
            "again."
        ) from e
    if header.get("format") != FORMAT or header.get("run") != run:
        raise ValueError(
            f"The checkpoint {path} belongs to another run: "
            f"{difference(run, header.get('run'))}. Delete the file, or use "
            "another file for this run."
        )
    return arrays


def swapped_again(callbacks, epoch, read, write):
    """Tells callbacks that swap weights that a restored state is swapped.

    At the end of an epoch, `SwapEMAWeights` replaces the network's weights by
    their averages. A new callback would take the restored averages for the
    training weights. Calling its hook marks the weights as swapped; the
    function then writes back the values that the hook swapped.

    Args:
        callbacks: List of `keras.callbacks.Callback` with their model set.
        epoch: Int, the last finished epoch.
        read: Function that returns the values of the state.
        write: Function that restores these values.
    """
    kind = keras.callbacks.SwapEMAWeights
    swapping = [c for c in callbacks if isinstance(c, kind)]
    if swapping:
        values = read()
        for callback in swapping:
            callback.on_epoch_end(epoch)
        write(values)


def keep_averages(callbacks, optimizer):
    """Keeps the averages in a network if a run ends early.

    At the end of `fit`, Keras writes the averages of the optimizer into the
    network. `SwapEMAWeights` swaps network and averages, so these "averages"
    may be the weights in training. The callback prevents this in the last epoch
    only.

    Args:
        callbacks: List of `keras.callbacks.Callback`, after the epoch's end.
        optimizer: The `keras.optimizers.Optimizer`.
    """
    kind = keras.callbacks.SwapEMAWeights
    if any(isinstance(c, kind) and c.swap_on_epoch for c in callbacks):
        settle_averages(optimizer)


def settle_averages(optimizer):
    """Sets the averages of an optimizer to its variables.

    Repeating a finished call trains no step, but Keras still writes the
    averages into the network.

    Args:
        optimizer: A `keras.optimizers.Optimizer`, or None.
    """
    for variable, average in averages_of(optimizer):
        average.assign(variable)


def fingerprint(description, arrays=()) -> str:
    """Hashes a description and arrays; only equal runs have equal hashes.

    4 and 4.0 are equal.

    Args:
        description: A value that JSON can store; `described` handles other
            objects.
        arrays: Iterable of arrays.

    Raises:
        TypeError: if an object cannot be distinguished from others of its
            class.
    """
    try:
        text = json.dumps(description, default=described)
    except (ValueError, RecursionError) as error:
        raise TypeError(
            "An argument of the run contains itself and cannot be described: "
            f"give its class a `get_config`. Received: {description}"
        ) from error
    plain = json.loads(text, parse_float=_number)
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    add_arrays(digest, arrays)
    return digest.hexdigest()


def _number(text):
    """Reads a float of JSON; a whole one as an int."""
    value = float(text)
    return int(value) if value.is_integer() else value


def fingerprints(parts, arrays=None) -> str:
    """Hashes each part, so that a message can name the parts that differ.

    Args:
        parts: Dict from names to descriptions, see `fingerprint`.
        arrays: Dict from names to lists of arrays, or None.

    Returns:
        A string for `save`, `load` and `Pool`.
    """
    found = {name: fingerprint(part) for name, part in parts.items()}
    for name, part in (arrays or {}).items():
        found[name] = fingerprint(None, part)
    # Sixteen digits tell runs apart and keep the header short.
    return json.dumps({n: found[n][:16] for n in sorted(found)})


def recorded(path, part, values):
    """Returns which of some values a part of a run on disk has, or None.

    Args:
        path: String or path of a file of `save`; or of a `.json` file that has
            the run's identity as `run`, such as that of a pool.
        part: String, name of the part, see `fingerprints`.
        values: List of possible descriptions of the part.
    """
    path = path_of(path)
    try:
        if str(path).endswith(".json"):
            header = path.read_bytes()
        else:
            # Reads no other array.
            with open(path, "rb") as content, np.load(content) as file:
                header = str(file["_header"])
        found = json.loads(json.loads(header)["run"])[part]
    except Exception:  # absent, or damaged: opening it to go on says how
        return None
    for value in values:
        if json.loads(fingerprints({part: value}))[part] == found:
            return value
    return None


def difference(run, found) -> str:
    """Names the parts in which two runs differ, for a message.

    Args:
        run: String, the expected run.
        found: The run that was found.
    """
    try:
        pair = [dict(json.loads(text)) for text in (run, found)]
    except (TypeError, ValueError):
        return "to another teacher, other labels, steps, terms or another seed"
    names = sorted(set(pair[0]) | set(pair[1]))
    differing = [n for n in names if pair[0].get(n) != pair[1].get(n)]
    return f"it differs in: {', '.join(differing)}"
