"""The rows of a ring in files, of which each save writes the new rows alone."""

import contextlib
import pathlib

import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.core.files import path_of


class RowParts:
    """Files beside a state that hold the newest rows of a ring.

    A ring of n places keeps row i in place i modulo n, so a new row replaces
    the oldest. `save` writes the rows since the latest save as a new file, the
    state that then is written lists the files, and `clean` removes all others.
    Killed at any moment, the state therefore lists complete files. The files
    hold less than twice the rows of the ring, and three times before `clean`.

    Args:
        folder: Path of a folder that holds nothing else.
        ring: An object with ints `size`, its number of places, and `written`,
            how many rows were ever written; and with `rows(begin, end)`, a dict
            of arrays, and its reverse, `restore(rows, begin, written)`.
        run: String that identifies the run, see `run_state.fingerprint`.

    Example:
        >>> import tempfile
        >>> class Ring:
        ...     size, written, kept = 4, 0, {}
        ...
        ...     def rows(self, begin, end):
        ...         return {"row": np.arange(begin, end)}
        ...
        ...     def restore(self, rows, begin, written):
        ...         self.kept, self.written = rows, written
        >>> folder, ring = tempfile.mkdtemp(), Ring()
        >>> ring.written = 3
        >>> listed = RowParts(folder, ring, "run").save()
        >>> again = Ring()
        >>> RowParts(folder, again, "run").restore(listed)
        >>> again.kept["row"].tolist(), again.written
        ([0, 1, 2], 3)
    """

    def __init__(self, folder, ring, run):
        self._folder, self._ring, self._run = path_of(folder), ring, run
        self._parts = []  # pairs of first and last row, the latter excluded

    def save(self) -> np.ndarray:
        """Writes the new rows.

        Returns:
            An int64 array `(k, 2)` for the state: the files, by their rows.
        """
        end = self._ring.written
        oldest = max(0, end - self._ring.size)
        kept = [part for part in self._parts if part[1] > oldest]
        begin = max(oldest, kept[-1][1] if kept else 0)
        if begin < end:
            rows = self._ring.rows(begin, end)
            run_state.save(self._path((begin, end)), rows, self._run)
            kept.append((begin, end))
        self._parts = kept
        return np.array(kept, "int64").reshape(-1, 2)

    def clean(self):
        """Removes the files that the latest `save` did not list."""
        listed = {self._path(part).name for part in self._parts}
        with contextlib.suppress(FileNotFoundError):
            for path in list(self._folder.iterdir()):
                if path.name not in listed:
                    path.unlink(missing_ok=True)

    def restore(self, listed):
        """Reads the rows of a state into the ring.

        Args:
            listed: What `save` returned.

        Raises:
            ValueError: if a file is missing, damaged, or of another run.
        """
        self._parts = [(int(begin), int(end)) for begin, end in listed]
        parts = [self._read(part) for part in self._parts]
        rows = {}
        for name in parts[0] if parts else ():
            rows[name] = np.concatenate([part[name] for part in parts])
        begin, written = (
            (self._parts[0][0], self._parts[-1][1]) if parts else (0, 0)
        )
        surplus = max(0, written - self._ring.size - begin)
        rows = {name: array[surplus:] for name, array in rows.items()}
        self._ring.restore(rows, begin + surplus, written)

    def _path(self, part) -> pathlib.Path:
        return self._folder / f"{part[0]:012d}-{part[1]:012d}.npz"

    def _read(self, part) -> dict:
        path = self._path(part)
        try:
            found, reason = run_state.load(path, self._run), "is missing."
        except ValueError as error:
            found, reason = None, f"cannot be read: {error}"
        if found is None:
            raise ValueError(
                f"{path} {reason} The file holds rows of the state beside "
                f"{self._folder.name}: restore the file, or delete the state, "
                "too, to start again."
            )
        return found
