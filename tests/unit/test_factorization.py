"""Taking kernels apart, without a framework: the factors multiply to the kernel, and ranks are what was asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import ValidationError, convert

from edgeward_converters.compress.factorization import Decompose, Factorize, gate, matrices, vbmf
from edgeward_converters.compress.factorization.forms import CanonicalPolyadic, LowRank, Tucker
from edgeward_converters.compress.factorization.stages import Site, Stage, composed, multiplications, saves
from edgeward_converters.compress.training import Training

_SEEDS = st.integers(0, 2**16)


def _kernel(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def _of_rank(rank: int, rows: int, columns: int, seed: int = 0) -> Any:
    return _kernel(rows, rank, seed=seed) @ _kernel(rank, columns, seed=seed + 1)


@given(rows=st.integers(1, 20), columns=st.integers(1, 20), rank=st.integers(1, 20), seed=_SEEDS)
def test_low_rank_factors_are_as_near_as_a_rank_allows(rows: int, columns: int, rank: int, seed: int) -> None:
    kernel = _kernel(rows, columns, seed=seed)
    stages = LowRank(Site("dense", "dense", kernel), 0).by_rank(rank)
    assert stages is not None
    values = np.linalg.svd(kernel, compute_uv=False)
    assert stages[0].kernel.shape == (rows, min(rank, rows, columns))
    assert np.linalg.norm(kernel - composed(stages)) == pytest.approx(np.linalg.norm(values[rank:]), abs=1e-9)


def test_a_large_matrix_takes_the_randomized_route_and_finds_the_same_values() -> None:
    values = 1.0 / np.arange(1, 601)  # falling as those of trained layers do
    matrix = np.zeros((900, 700))
    matrix[np.random.default_rng(0).permutation(900)[:600], np.random.default_rng(1).permutation(700)[:600]] = values
    found = matrices.spectrum(matrix, 40, seed=3)
    assert len(found.values) == 40, "no more than asked for"
    np.testing.assert_allclose(found.values, values[:40], rtol=5e-3)
    assert found.energy == pytest.approx(np.square(values).sum())
    assert found.rank_for(0.5) == 1
    assert found.rank_for(0.9999) is None, "it takes more than 40"
    again = matrices.spectrum(matrix, 40, seed=3)
    assert found.left.tobytes() == again.left.tobytes()


@given(share=st.floats(0.05, 1), seed=_SEEDS)
def test_an_energy_is_kept_by_the_smallest_rank_that_can(share: float, seed: int) -> None:
    kernel = _kernel(12, 9, seed=seed)
    values = np.square(np.linalg.svd(kernel, compute_uv=False))
    rank = matrices.spectrum(kernel, 9, 0).rank_for(share)
    assert rank is not None
    assert values[:rank].sum() >= share * values.sum() * (1 - 1e-9)
    assert rank == 1 or values[: rank - 1].sum() < share * values.sum() * (1 + 1e-9)


@given(spatial=st.sampled_from([(3,), (3, 3), (1, 5), (2, 3, 2)]), inputs=st.integers(2, 7), outputs=st.integers(2, 7))
@settings(max_examples=30)
def test_full_tucker_ranks_are_the_kernel_itself(spatial: tuple[int, ...], inputs: int, outputs: int) -> None:
    kernel = _kernel(*spatial, inputs, outputs)
    stages = Tucker(Site("conv", "convolution", kernel), 0).by_rank(99)
    assert stages is not None
    np.testing.assert_allclose(composed(stages), kernel, atol=1e-9)


def test_tucker_finds_the_channels_that_a_kernel_really_has() -> None:
    small = _kernel(3, 3, 4, 5)
    kernel = np.einsum("hwab,ia,ob->hwio", small, _kernel(16, 4, seed=1), _kernel(24, 5, seed=2))
    noisy = kernel + 0.01 * _kernel(3, 3, 16, 24, seed=3)
    for stages in (
        Tucker(Site("conv", "convolution", noisy), 0).by_vbmf(),
        Tucker(Site("conv", "convolution", kernel), 0).by_energy(1 - 1e-12),
    ):
        assert stages is not None
        assert [stage.kernel.shape for stage in stages] == [(1, 1, 16, 4), (3, 3, 4, 5), (1, 1, 5, 24)]


@pytest.mark.parametrize("separable", ["by_axis", "whole"])
def test_cp_finds_a_kernel_that_is_separable(separable: Any) -> None:
    factors = [_kernel(size, 3, seed=size) for size in (3, 5, 8, 10)]
    kernel = np.einsum("hr,wr,ir,or->hwio", *factors)
    form = CanonicalPolyadic(Site("conv", "convolution", kernel, separable=separable), 0)
    for stages in (form.by_rank(3), form.by_energy(0.999)):
        assert stages is not None
        assert [stage.depthwise for stage in stages] == [False, *[True] * (2 if separable == "by_axis" else 1), False]
        assert np.linalg.norm(composed(stages) - kernel) < 0.04 * np.linalg.norm(kernel)


def test_noise_alone_has_no_rank_to_speak_of() -> None:
    assert vbmf.rank(_kernel(60, 90)) == 1
    assert vbmf.rank(np.zeros((5, 8))) == 1
    assert vbmf.rank(_of_rank(6, 60, 90) + 0.5 * _kernel(60, 90, seed=2)) == 6


def test_a_layer_is_replaced_only_where_that_saves() -> None:
    dense = Site("dense", "dense", _kernel(20, 30))
    lengths = [rank for rank in range(1, 20) if saves(dense, LowRank(dense, 0).by_rank(rank) or ())]
    assert lengths == list(range(1, 12)), "20 · 12 + 12 · 30 is as large as 20 · 30"


def test_a_strided_convolution_pays_for_positions_that_it_would_have_left_out() -> None:
    kernel = _kernel(3, 3, 8, 8)
    stages = (Stage(_kernel(1, 1, 8, 6)), Stage(_kernel(3, 3, 6, 6), axes=(0, 1)), Stage(_kernel(1, 1, 6, 8)))
    assert multiplications(Site("conv", "convolution", kernel, thinning=1), stages) == 48 + 324 + 48
    assert multiplications(Site("conv", "convolution", kernel, thinning=4), stages) == 4 * 48 + 324 + 48
    assert saves(Site("conv", "convolution", kernel, thinning=1), stages)
    assert not saves(Site("conv", "convolution", kernel, thinning=9), stages)


@given(limits=st.lists(st.integers(0, 16), min_size=1, max_size=5), budget=st.integers(0, 60))
def test_the_gate_never_leaves_what_holds_and_leaves_no_site_that_could_go_further(
    limits: list[int], budget: int
) -> None:
    """Each site holds up to a step of its own, and all of them together up to a budget."""
    sites = {f"layer {index}": index for index in range(len(limits))}
    asked = 0

    def holds(steps: gate.Steps) -> bool:
        nonlocal asked
        asked += 1
        within = all(steps[name] <= limits[index] for name, index in sites.items())
        return within and sum(steps.values()) <= budget

    chosen = gate.search(sites, 16, holds, lambda steps: -sum(steps.values()))
    assert asked <= gate.evaluations(len(sites), 16)
    assert holds(chosen)
    for name in sites:
        assert chosen[name] == 16 or not holds({**chosen, name: chosen[name] + 1})


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"energy": 1.5}, "above 0 and at most 1"),
        ({"energy": 0}, "above 0 and at most 1"),
        ({"rank": 0}, "at least 1"),
        ({"rank": "best"}, "Invalid"),
        ({"rank_ratio": 1.1}, "at most 1; 1.1 came"),
        ({"rank": 3, "energy": 0.5}, "rank and energy came"),
        ({"distill": True}, "say how long in training"),
        ({"depth": 3}, "unknown field `depth`"),
    ],
)
@pytest.mark.parametrize("method", [Factorize, Decompose])
def test_parameters_out_of_range_are_refused_in_a_sentence(
    method: Callable[..., Any], table: dict[str, Any], says: str
) -> None:
    tag = "factorize" if method is Factorize else "decompose"
    with pytest.raises(ValidationError, match=says):
        convert({"method": tag, **table}, method)


def test_a_recipes_table_becomes_a_step() -> None:
    step = convert({"method": "decompose", "form": "cp", "rank_ratio": 2.0, "training": {"epochs": 1}}, Decompose)
    assert step.training is not None
    assert (step.form, step.rank_ratio, step.training.epochs) == ("cp", 2.0, 1)


def test_a_step_needs_data_only_for_training_and_for_the_gate() -> None:
    training = convert({"epochs": 1.0}, Training)
    assert Factorize(energy=0.5).needs == frozenset()
    assert Factorize(training=training).needs == {"training"}
    assert Decompose(rank="gate").needs == {"training"}
