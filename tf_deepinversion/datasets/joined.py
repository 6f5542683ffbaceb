"""Several arrays, one after another, read piece by piece as one array."""

import operator

import numpy as np

# How many rows an iteration reads at once.
_PIECE = 256


class Joined(np.lib.mixins.NDArrayOperatorsMixin):
    """Rows of several arrays, the first array's first.

    It is read like an array: `joined[3]`, `joined[-100:]`, `joined[[5, 2]]`,
    `len(joined)`, `joined.shape`, `for row in joined`; each reads only the
    rows that it asks for. What asks for all rows, as `np.asarray(joined)` and
    `joined / 255`, makes an array of all.

    Args:
        parts: List of what has a length and gives the rows `part[rows]` of an
            int array.
        shape: Tuple, of a row.
        dtype: String, of the rows.

    Example:
        >>> parts = [np.arange(3), np.arange(10, 12)]
        >>> joined = di.datasets.Joined(parts, (), "int64")
        >>> joined.shape, joined[-2:].tolist(), joined[[4, 0]].tolist()
        ((5,), [10, 11], [11, 0])
    """

    def __init__(self, parts, shape, dtype):
        self.parts = tuple(parts)
        self.dtype = np.dtype(dtype)
        self._ends = np.cumsum([0, *map(len, self.parts)])
        self.shape = int(self._ends[-1]), *shape

    def __len__(self):
        return self.shape[0]

    @property
    def ndim(self):
        """Int, number of dimensions."""
        return len(self.shape)

    @property
    def size(self):
        """Int, number of values."""
        return int(np.prod(self.shape))

    def __getitem__(self, key):
        first, *rest = key if isinstance(key, tuple) else (key,)
        if (
            first is Ellipsis
            or first is None
            or np.ndim(first) > 1
            or (np.ndim(first) and any(np.ndim(other) for other in rest))
        ):
            # NumPy pairs several arrays; a mask may span several axes.
            return np.asarray(self)[key]
        if isinstance(first, slice) or np.ndim(first):
            found = self._rows(np.arange(len(self))[first])
            return found[(slice(None), *rest)] if rest else found
        (row,) = self._rows(np.arange(len(self))[[operator.index(first)]])
        return row[tuple(rest)] if rest else row

    def __iter__(self):
        for first in range(0, len(self), _PIECE):
            yield from self[first : first + _PIECE]

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype, copy=False)

    def astype(self, dtype) -> np.ndarray:
        """An array of all rows, of another dtype."""
        return np.asarray(self, dtype)

    def __array_ufunc__(self, function, method, *inputs, **kwargs):
        inputs = [np.asarray(x) if isinstance(x, Joined) else x for x in inputs]
        return getattr(function, method)(*inputs, **kwargs)

    def _rows(self, rows):
        """The rows of an int array `(n,)`, all in [0, len(self))."""
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for part, where, own in self._by_part(rows):
            found[where] = part[own]
        return found

    def _by_part(self, rows):
        """Yields each part, the places in `rows` of its rows, and these."""
        part = np.searchsorted(self._ends, rows, "right") - 1
        order = np.argsort(part, kind="stable")
        edges = np.flatnonzero(np.diff(part[order])) + 1
        for where in np.split(order, edges) if len(rows) else ():
            number = part[where[0]]
            yield self.parts[number], where, rows[where] - self._ends[number]
