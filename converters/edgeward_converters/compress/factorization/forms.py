"""What a kernel can be taken apart into, and at which ranks: low-rank, Tucker-2 and CP. Needs no framework."""

import math
import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.compress.factorization import matrices, vbmf
from edgeward_converters.compress.factorization.stages import Site, Stage, matrix, spatial_size

Array = NDArray[Any]
Stages = tuple[Stage, ...]

# What the gate tries, from the closest to the smallest: shares of the energy; for CP of the larger number of channels.
ENERGIES = (0.9999, 0.999, 0.995, 0.99, 0.98, 0.96, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
_RATIOS = (2.0, 1.5, 1.2, 1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03)
_FIRST_VALUES = 64
_ITERATIONS, _TOLERANCE = 100, 1e-7


class Form(Protocol):
    """One way to take one site's kernel apart. Each gives the stages, or None where that cannot be."""

    def by_rank(self, rank: int) -> Stages | None:
        """With this rank; full ranks where channels are fewer."""
        ...

    def by_ratio(self, ratio: float) -> Stages | None:
        """With ranks that are this share of the channels."""
        ...

    def by_energy(self, share: float) -> Stages | None:
        """With the smallest ranks that keep this share of the squared weights' sum."""
        ...

    def by_vbmf(self) -> Stages | None:
        """With the ranks that stand out of the noise (`vbmf`)."""
        ...

    def step(self, index: int) -> Stages | None:
        """One of the len(ENERGIES) things that the gate tries; the larger the index, the smaller the stages."""
        ...


class LowRank:
    """A pointwise kernel as two, by singular values; no more of them are computed than are asked for."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site, self._seed = site, seed
        self._spectrum = matrices.spectrum(matrix(site), min(_FIRST_VALUES, *site.kernel.shape[-2:]), seed)

    def by_rank(self, rank: int) -> Stages | None:
        """See `Form`."""
        rank = min(rank, *self._site.kernel.shape[-2:])
        spatial = (1,) * (self._site.kernel.ndim - 2)
        first, last = self._at_least(rank).factors(rank)
        axes = tuple(range(len(spatial)))
        return Stage(first.reshape(*spatial, *first.shape), axes=axes), Stage(last.reshape(*spatial, *last.shape))

    def by_ratio(self, ratio: float) -> Stages | None:
        """See `Form`."""
        return self.by_rank(_share(ratio, min(self._site.kernel.shape[-2:])))

    def by_energy(self, share: float) -> Stages | None:
        """See `Form`; None where that saves nothing."""
        rows, columns = self._site.kernel.shape[-2:]
        most = max(1, rows * columns // (rows + columns))
        size = min(_FIRST_VALUES, most)
        while (rank := self._at_least(size).rank_for(share)) is None and size < most:
            size = min(2 * size, most)
        return None if rank is None else self.by_rank(rank)

    def by_vbmf(self) -> Stages | None:
        """See `Form`."""
        return self.by_rank(vbmf.rank(matrix(self._site)))

    def step(self, index: int) -> Stages | None:
        """See `Form`."""
        return self.by_energy(ENERGIES[index])

    def _at_least(self, values: int) -> matrices.Spectrum:
        """Singular values, this many or more."""
        if len(self._spectrum.values) < values:
            self._spectrum = matrices.spectrum(matrix(self._site), values, self._seed)
        return self._spectrum


class Tucker:
    """A convolution as 1×1, the kernel's size with fewer channels, 1×1 (Kim et al. 2016)."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site, self._seed = site, seed
        self._unfolded = [_unfolded(site.kernel, axis) for axis in (-2, -1)]
        self._spectra = [matrices.spectrum(each, min(each.shape), seed) for each in self._unfolded]

    def by_rank(self, rank: int) -> Stages | None:
        """See `Form`."""
        return self._stages(rank, rank)

    def by_ratio(self, ratio: float) -> Stages | None:
        """See `Form`."""
        inputs, outputs = self._site.kernel.shape[-2:]
        return self._stages(_share(ratio, inputs), _share(ratio, outputs))

    def by_energy(self, share: float) -> Stages | None:
        """Each of the two projections alone keeps at least this share."""
        ranks = [spectrum.rank_for(share) for spectrum in self._spectra]
        return self._stages(
            *(rank or len(spectrum.values) for rank, spectrum in zip(ranks, self._spectra, strict=True))
        )

    def by_vbmf(self) -> Stages | None:
        """See `Form`."""
        return self._stages(*(vbmf.rank(each) for each in self._unfolded))

    def step(self, index: int) -> Stages | None:
        """See `Form`."""
        return self.by_energy(ENERGIES[index])

    def _stages(self, inner: int, outer: int) -> Stages:
        from tensorly.decomposition import partial_tucker

        kernel = self._site.kernel.astype(np.float64)
        spatial = kernel.ndim - 2
        inputs, outputs = kernel.shape[-2:]
        inner, outer = _fitting(inner, outer, inputs, outputs, spatial_size(self._site))
        (core, (first, last)), _ = partial_tucker(
            kernel, rank=[inner, outer], modes=[spatial, spatial + 1], init="svd", random_state=self._seed
        )
        ones = (1,) * spatial
        return (
            Stage(first.reshape(*ones, inputs, inner)),
            Stage(core, axes=tuple(range(spatial))),
            Stage(last.T.reshape(*ones, outer, outputs)),
        )


class CanonicalPolyadic:
    """A convolution as 1×1, depthwise along each spatial axis, 1×1 (Lebedev et al. 2015), by alternating least squares.

    Where a framework has no depthwise convolution with strides along one axis alone, one for all spatial axes stands
    in their place, and the spatial axes are one mode of the decomposition.
    """

    def __init__(self, site: Site, seed: int) -> None:
        self._site, self._seed = site, seed
        self._fits: dict[int, Stages] = {}

    def by_rank(self, rank: int) -> Stages | None:
        """See `Form`."""
        if rank not in self._fits:
            self._fits[rank] = self._fit(rank)
        return self._fits[rank]

    def by_ratio(self, ratio: float) -> Stages | None:
        """See `Form`."""
        return self.by_rank(_share(ratio, max(self._site.kernel.shape[-2:])))

    def by_energy(self, share: float) -> Stages | None:
        """The smallest rank of a doubling row, then between the last two, with that share; None when none saves."""
        low, high = 0, 1
        while self._energy(high) < share:
            if high * sum(self._site.kernel.shape) > self._site.kernel.size:
                return None
            low, high = high, 2 * high
        while high - low > max(1, high // 16):
            middle = (low + high) // 2
            low, high = (low, middle) if self._energy(middle) >= share else (middle, high)
        return self.by_rank(high)

    def by_vbmf(self) -> Stages | None:
        """The larger of the two ranks that Tucker-2 would have."""
        return self.by_rank(max(vbmf.rank(_unfolded(self._site.kernel, axis)) for axis in (-2, -1)))

    def step(self, index: int) -> Stages | None:
        """See `Form`."""
        return self.by_ratio(_RATIOS[index])

    def _energy(self, rank: int) -> float:
        from edgeward_converters.compress.factorization.stages import composed

        kernel = self._site.kernel.astype(np.float64)
        stages = self.by_rank(rank)
        lost = np.square(kernel - composed(stages)).sum() if stages else math.inf
        return 1 - float(lost / max(np.square(kernel).sum(), 1e-300))

    def _fit(self, rank: int) -> Stages:
        kernel = self._site.kernel.astype(np.float64)
        spatial, (inputs, outputs) = kernel.shape[:-2], kernel.shape[-2:]
        groups = _moving(spatial, whole=self._site.separable == "whole")
        sizes = [math.prod(spatial[axis] for axis in group) for group in groups]
        tensor = kernel.reshape(*sizes, inputs, outputs)
        rank = min(rank, tensor.size // max(tensor.shape))  # no tensor has a higher one
        *moving, first, last = _cp(tensor, rank, self._seed)
        ones = (1,) * len(spatial)
        return (
            Stage(first.reshape(*ones, inputs, rank)),
            *(
                Stage(factor.reshape(*_along(spatial, group), rank), depthwise=True, axes=group)
                for factor, group in zip(moving, groups, strict=True)
            ),
            Stage(last.T.reshape(*ones, rank, outputs)),
        )


def _cp(tensor: Array, rank: int, seed: int) -> list[Array]:
    """One factor (size, rank) for each axis, of equal norms in each component."""
    from tensorly.decomposition import parafac

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a small axis has fewer singular vectors than components: the rest is random
        weights, factors = parafac(
            tensor, rank, n_iter_max=_ITERATIONS, tol=_TOLERANCE, init="svd", normalize_factors=True, random_state=seed
        )
    share = np.abs(weights) ** (1 / len(factors))
    balanced = [factor * share for factor in factors]
    balanced[0] = balanced[0] * np.sign(weights)
    return balanced


def _moving(spatial: tuple[int, ...], *, whole: bool) -> list[tuple[int, ...]]:
    """Which spatial axes each depthwise stage moves along; axes of size 1 go with the first."""
    large = [axis for axis, size in enumerate(spatial) if size > 1]
    if whole or len(large) < 2:
        return [tuple(range(len(spatial)))]
    small = [axis for axis in range(len(spatial)) if axis not in large]
    return [tuple(sorted([large[0], *small])), *((axis,) for axis in large[1:])]


def _along(spatial: tuple[int, ...], group: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size if axis in group else 1 for axis, size in enumerate(spatial))


def _unfolded(kernel: Array, axis: int) -> Array:
    return np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)


def _fitting(inner: int, outer: int, inputs: int, outputs: int, spatial: int) -> tuple[int, int]:
    """Ranks that a Tucker-2 decomposition can have: no more than channels, nor than the rest of the core together."""
    inner, outer = min(inner, inputs), min(outer, outputs)
    return min(inner, outer * spatial), min(outer, inner * spatial)


def _share(ratio: float, size: int) -> int:
    return max(1, round(ratio * size))
