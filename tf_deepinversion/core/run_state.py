"""The state of a run in one file, which appears whole or not at all."""

import hashlib
import io
import json
import pathlib
import zipfile

import keras
import numpy as np

from tf_deepinversion.core.described import add_arrays
from tf_deepinversion.core.described import described
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.core.keras_internals import averages_of

FORMAT = "tf_deepinversion checkpoint 1"


def save(path, arrays, run):
    """Saves arrays together with the identity of the run they belong to.

    Args:
        path: String or path.
        arrays: Dict from names to arrays.
        run: String that tells this run from others, see `fingerprint`.
    """
    header = np.array(json.dumps({"format": FORMAT, "run": run}))
    write_atomically(path, lambda f: np.savez(f, **arrays, _header=header))


def load(path, run) -> dict | None:
    """Loads what `save` saved, or None where there is no such file.

    Args:
        path: String or path.
        run: String, that of the run which wants to go on.

    Raises:
        ValueError: if the file is damaged or belongs to another run.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return None
    try:
        content = io.BytesIO(path.read_bytes())
        with zipfile.ZipFile(content) as archive:
            # np.load alone checks no sum of an array that claims to be small.
            if archive.testzip() is not None:
                raise zipfile.BadZipFile(f"bad sum of {archive.testzip()}")
        content.seek(0)
        with np.load(content) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("_header")))
    except Exception as e:  # damage makes zip and npy readers raise anything
        raise ValueError(
            f"The checkpoint {path} is damaged ({e}). Delete it to start anew."
        ) from e
    if header.get("format") != FORMAT or header.get("run") != run:
        raise ValueError(
            f"The checkpoint {path} belongs to another run: "
            f"{difference(run, header.get('run'))}. Delete it, or give this "
            "run a file of its own."
        )
    return arrays


def swapped_again(callbacks, epoch, read, write):
    """Tells callbacks that swap weights that those of a state are swapped.

    Where `SwapEMAWeights` has put the averages into the network at the end of
    an epoch, a new one would take them for the weights in training. The hook
    by which it swaps tells it; what it swapped is put back.

    Args:
        callbacks: List of `keras.callbacks.Callback`, their model set.
        epoch: Int, the last that is done.
        read: Function that gives the values of the state.
        write: Function that takes them back.
    """
    kind = keras.callbacks.SwapEMAWeights
    swapping = [c for c in callbacks if isinstance(c, kind)]
    if swapping:
        values = read()
        for callback in swapping:
            callback.on_epoch_end(epoch)
        write(values)


def keep_averages(callbacks, optimizer):
    """Makes averages that are swapped in stay where a run ends early.

    At the end of `fit` Keras puts the averages into the network once more,
    but `SwapEMAWeights` has put the weights in training in their place.
    Only in the last of all epochs does it see to that.

    Args:
        callbacks: List of `keras.callbacks.Callback`, after the epoch's end.
        optimizer: The `keras.optimizers.Optimizer`.
    """
    kind = keras.callbacks.SwapEMAWeights
    if any(isinstance(c, kind) and c.swap_on_epoch for c in callbacks):
        settle_averages(optimizer)


def settle_averages(optimizer):
    """Makes the averages of an optimizer what its variables are.

    A run that has ended is begun again where nothing is left to do, and Keras
    puts the averages into the network then, too.

    Args:
        optimizer: A `keras.optimizers.Optimizer`, or None.
    """
    for variable, average in averages_of(optimizer):
        average.assign(variable)


def fingerprint(description, arrays=()) -> str:
    """A hash of a description and arrays: equal for equal runs alone.

    Args:
        description: What JSON can hold; other objects as `described` has
            them.
        arrays: Iterable of arrays.

    Raises:
        TypeError: if an object cannot be told from another of its class.
    """
    try:
        text = json.dumps(description, sort_keys=True, default=described)
    except (ValueError, RecursionError) as error:
        raise TypeError(
            "What a run was given holds itself, and cannot be described: give "
            f"its class a `get_config`. Received: {description}"
        ) from error
    digest = hashlib.sha256(text.encode())
    add_arrays(digest, arrays)
    return digest.hexdigest()


def fingerprints(parts, arrays=None) -> str:
    """A `fingerprint` of each part, so that it can be said what differs.

    Args:
        parts: Dict from names to descriptions, as of `fingerprint`.
        arrays: Dict from names to lists of arrays, or None.

    Returns:
        A string for `save`, `load` and `Pool`.
    """
    found = {name: fingerprint(part) for name, part in parts.items()}
    for name, part in (arrays or {}).items():
        found[name] = fingerprint(None, part)
    return json.dumps({n: found[n][:16] for n in sorted(found)})


def difference(run, found) -> str:
    """What tells two runs apart, for a message.

    Args:
        run: String, the run that was expected.
        found: What was found in its place.
    """
    try:
        pair = [dict(json.loads(text)) for text in (run, found)]
    except (TypeError, ValueError):
        return "to another teacher, other labels, steps, terms or another seed"
    names = sorted(set(pair[0]) | set(pair[1]))
    differing = [n for n in names if pair[0].get(n) != pair[1].get(n)]
    return f"it differs in: {', '.join(differing)}"
