"""Low-rank factors of matrices by singular value decomposition, exact for small ones and randomized for large. Pure."""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[Any]
LARGE = 512
_OVERSAMPLING, _POWER_ITERATIONS = 10, 4


class Spectrum(Struct, frozen=True):
    """The largest singular values of a matrix, and their vectors.

    Attributes:
        left: (rows, n), orthonormal columns.
        values: (n,), falling.
        right: (n, columns), orthonormal rows.
        energy: The sum of all squared singular values, those that are not here included.
    """

    left: Array
    values: Array
    right: Array
    energy: float

    def rank_for(self, share: float) -> int | None:
        """The smallest rank with that share of the energy, at least 1; None when it is more than there is here."""
        kept = np.cumsum(np.square(self.values))
        rank = int(np.searchsorted(kept, share * self.energy)) + 1
        if len(self.values) == min(len(self.left), self.right.shape[1]):
            return min(rank, len(self.values))  # all there are; their sum may differ from the energy by rounding
        return rank if rank <= len(self.values) else None

    def factors(self, rank: int) -> tuple[Array, Array]:
        """(rows, rank) and (rank, columns), of equal norm; no product of that rank is closer (Eckart, Young 1936)."""
        root = np.sqrt(self.values[:rank])
        return self.left[:, :rank] * root, root[:, None] * self.right[:rank]


def spectrum(matrix: Array, most: int, seed: int) -> Spectrum:
    """The `most` largest singular values of a matrix, or all, and their vectors, in float64.

    Where both sides are larger than `LARGE` and far fewer values are wanted, the matrix is first projected to a random
    subspace with power iterations, made orthonormal by QR after each (Halko, Martinsson, Tropp 2011, algorithms 4.4 and
    5.1).

    Args:
        matrix: (rows, columns).
        most: How many values, at least 1.
        seed: Of the random subspace.
    """
    exact = matrix.astype(np.float64)
    energy = float(np.square(exact).sum())
    most = max(1, min(most, *exact.shape))
    if min(exact.shape) <= LARGE or 2 * most > min(exact.shape):
        return Spectrum(*np.linalg.svd(exact, full_matrices=False), energy)
    basis = _range(exact, most + _OVERSAMPLING, seed)
    inner, values, right = np.linalg.svd(basis.T @ exact, full_matrices=False)
    return Spectrum(basis @ inner[:, :most], values[:most], right[:most], energy)


def _range(matrix: Array, size: int, seed: int) -> Array:
    """Orthonormal columns (rows, size) that span most of the matrix's range."""
    basis = matrix @ np.random.default_rng(seed).standard_normal((matrix.shape[1], size))
    for _ in range(_POWER_ITERATIONS):
        basis, _triangle = np.linalg.qr(basis)
        other, _triangle = np.linalg.qr(matrix.T @ basis)
        basis = matrix @ other
    return np.linalg.qr(basis)[0]
