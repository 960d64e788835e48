from __future__ import annotations

import pytest
import torch
from torch.func import grad, jvp, vmap
from torch.nn import functional

from regimes.observe import curvature
from regimes.observe.aligned import over_runs
from tests.observe.networks import Task, joined, mlp, split

WIDTHS = (5, 7, 6, 4)
LOSSES = ("mse", "cross_entropy")


@pytest.fixture(autouse=True)
def policy():
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)


def hessian(task, run):
    """Dense Hessian of one run from the definition."""
    extras = [item[run] for item in task.extras]

    def loss(vector):
        return task.loss(split(vector, task.params), *extras)

    return torch.func.hessian(loss)(joined(task.params, run))


def dense(product, runs, size, dtype=torch.float64):
    """Matrices (R, P, P) of a product."""
    unit = torch.eye(size, dtype=dtype)
    return torch.stack([product(column.expand(runs, size)) for column in unit], 2)


def test_flat_vectors_and_stacked_tensors():
    task = Task(3, WIDTHS, 5, "mse")
    flat = curvature.flatten(task.params)
    assert torch.equal(flat[1], joined(task.params, 1))
    back = curvature.unflatten(flat, task.params)
    assert list(back) == list(task.params)
    assert all(torch.equal(back[name], value) for name, value in task.params.items())
    with pytest.raises(ValueError, match="vectors have 3 numbers"):
        curvature.unflatten(flat[:, :3], task.params)


@pytest.mark.parametrize("loss", LOSSES)
def test_hessian_of_each_run(loss):
    task = Task(3, WIDTHS, 11, loss)
    product = curvature.hessian_vector_products(task.loss, task.params, task.extras)
    size = curvature.flatten(task.params).shape[1]
    matrices = dense(product, 3, size)
    for run in range(3):
        expected = hessian(task, run)
        assert torch.allclose(matrices[run], expected, rtol=1e-9, atol=1e-12 * expected.abs().max())


@pytest.mark.parametrize("loss", LOSSES)
def test_hessian_against_forward_over_reverse_in_single_precision(loss):
    task = Task(2, (16, 32, 32, 10), 64, loss, dtype=torch.float32)
    product = curvature.hessian_vector_products(task.loss, task.params, task.extras)
    vectors = torch.randn(2, curvature.flatten(task.params).shape[1])

    def along(params, direction, *extras):
        return jvp(lambda p: grad(task.loss)(p, *extras), (params,), (direction,))[1]

    direction = curvature.unflatten(vectors, task.params)
    expected = curvature.flatten(vmap(along)(task.params, direction, *task.extras))
    assert (product(vectors) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("loss", LOSSES)
def test_gauss_newton_matrix(loss):
    task = Task(3, WIDTHS, 11, loss)
    product = curvature.gauss_newton_products(
        task.outputs, task.output_loss, task.params, task.extras
    )
    size = curvature.flatten(task.params).shape[1]
    matrices = dense(product, 3, size)
    for run in range(3):
        extras = [item[run] for item in task.extras]
        flat = joined(task.params, run)

        def outputs(vector, extras=extras):
            return task.outputs(split(vector, task.params), *extras).reshape(-1)

        jacobian = torch.func.jacrev(outputs)(flat)
        curved = torch.func.hessian(lambda f: task.output_loss(f.reshape(11, 4)))(outputs(flat))
        expected = jacobian.T @ curved @ jacobian
        assert torch.allclose(matrices[run], expected, rtol=1e-9, atol=1e-12 * expected.abs().max())
        assert torch.linalg.eigvalsh(matrices[run]).min() > -1e-12 * expected.abs().max()


def test_parameters_without_curvature():
    params = {
        "used": torch.tensor([[2.0], [3.0]]),
        "line": torch.ones(2, 2),
        "scale": torch.ones(2),
    }
    cubic = curvature.hessian_vector_products(lambda p: p["used"] ** 3 + p["line"].sum(), params)
    assert cubic(torch.ones(2, 4)).tolist() == [[12, 0, 0, 0], [18, 0, 0, 0]]
    linear = curvature.hessian_vector_products(lambda p: p["line"].sum(), params)
    assert not linear(torch.ones(2, 4)).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_eigenvalues_of_networks(loss):
    task = Task(3, WIDTHS, 11, loss)
    product = curvature.hessian_vector_products(task.loss, task.params, task.extras)
    size = curvature.flatten(task.params).shape[1]
    start = curvature.start_vectors(3, size, dtype=torch.float64)
    found = curvature.lanczos(product, start, 4, largest_iterations=90, tolerance=1e-9)
    assert found.converged.all()
    for run in range(3):
        values = torch.linalg.eigvalsh(hessian(task, run))
        scale = values.abs().max()
        assert torch.allclose(found.values[run], values.flip(0)[:4], rtol=0, atol=1e-8 * scale)
        assert abs(found.lowest[run] - values[0]) < 1e-8 * scale
    remainder = product(found.vectors) - found.values[:, :1] * found.vectors
    assert (remainder.norm(dim=1) <= 1.01e-9 * found.values[:, 0].abs() * 10).all()
    assert torch.allclose(found.vectors.norm(dim=1), torch.ones(3, dtype=torch.float64))


def symmetric(eigenvalues, seed=0):
    """Symmetric matrices (R, P, P) with given eigenvalues (R, P), and their product."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(*eigenvalues.shape, eigenvalues.shape[1], generator=generator)
    basis = torch.linalg.qr(raw.double())[0]
    matrices = (basis * eigenvalues[:, None, :]) @ basis.transpose(1, 2)
    return matrices, lambda vectors: (matrices @ vectors[:, :, None].double())[:, :, 0]


def run_lanczos(product, runs, size, wanted, **options):
    options = {"largest_iterations": size, "tolerance": 1e-8} | options
    start = curvature.start_vectors(runs, size, dtype=torch.float64)
    return curvature.lanczos(product, start, wanted, **options)


def test_largest_value_is_algebraic_although_negative_ones_are_larger_in_magnitude():
    eigenvalues = torch.linspace(-50, 1.5, 60, dtype=torch.float64).repeat(2, 1)
    eigenvalues[1] = torch.linspace(-50, -2, 60, dtype=torch.float64)  # none is positive
    found = run_lanczos(symmetric(eigenvalues)[1], 2, 60, 2)
    expected = eigenvalues.flip(1)[:, :2]
    assert torch.allclose(found.values, expected, atol=1e-6)
    assert torch.allclose(found.lowest, torch.full((2,), -50.0).double(), atol=1e-6)


def test_against_arpack():
    from scipy.sparse.linalg import eigsh

    generator = torch.Generator().manual_seed(4)
    raw = torch.randn(2, 80, 80, generator=generator, dtype=torch.float64)
    matrices = raw + raw.transpose(1, 2)
    found = run_lanczos(lambda v: (matrices @ v[:, :, None])[:, :, 0], 2, 80, 5, tolerance=1e-10)
    for run in range(2):
        expected = eigsh(matrices[run].numpy(), k=5, which="LA", return_eigenvectors=False)
        assert found.values[run].numpy() == pytest.approx(sorted(expected, reverse=True), abs=1e-8)
        lowest = eigsh(matrices[run].numpy(), k=1, which="SA", return_eigenvectors=False)
        assert found.lowest[run].item() == pytest.approx(lowest[0], abs=1e-8)


def test_multiple_eigenvalues_are_found_once_the_space_is_exhausted():
    eigenvalues = torch.cat([torch.full((30,), 1.0), torch.full((4,), 3.0), -torch.ones(6)])
    eigenvalues = eigenvalues.double().repeat(2, 1)
    found = run_lanczos(symmetric(eigenvalues)[1], 2, 40, 6, check_every=40)
    assert found.converged.all()
    expected = torch.tensor([3.0, 3, 3, 3, 1, 1]).double().repeat(2, 1)
    assert torch.allclose(found.values, expected, atol=1e-9)


@pytest.mark.parametrize("factor", [0.0, 2.5, -2.5])
def test_multiples_of_the_identity(factor):
    found = run_lanczos(lambda v: factor * v, 2, 9, 3, check_every=4)
    assert found.converged.all()
    assert torch.allclose(found.values, torch.full((2, 3), factor).double(), atol=1e-12)
    assert torch.allclose(found.lowest, torch.full((2,), factor).double(), atol=1e-12)


def test_fewer_parameters_than_iterations():
    eigenvalues = torch.tensor([[1.0, 2, 5], [-4, -3, -1]]).double()
    found = run_lanczos(symmetric(eigenvalues)[1], 2, 3, 3, largest_iterations=200)
    assert torch.allclose(found.values, eigenvalues.flip(1), atol=1e-12)
    assert found.converged.all() and found.iterations.tolist() == [3, 3]


def test_too_many_values_are_refused():
    for wanted, iterations in ((4, 10), (3, 2), (0, 2)):
        with pytest.raises(ValueError, match="wanted is"):
            run_lanczos(lambda v: v, 2, 3, wanted, largest_iterations=iterations)


def test_run_that_has_not_converged_says_so_and_bounds_its_error():
    # The first run has clear outliers at both ends, the second a dense bulk only.
    eigenvalues = torch.linspace(0, 1, 200, dtype=torch.float64).repeat(2, 1)
    eigenvalues[0, -1], eigenvalues[0, 0] = 40, -40
    found = run_lanczos(
        symmetric(eigenvalues)[1], 2, 200, 1, largest_iterations=20, tolerance=1e-4, check_every=5
    )
    assert found.converged.tolist() == [True, False]
    assert found.iterations[0] < 20 and found.iterations[1] == 20
    assert found.residuals[1, 0] > 1e-4 or found.lowest_residual[1] > 1e-4
    largest = torch.maximum(found.values[:, 0].abs(), found.lowest.abs())
    error = (found.values[:, 0] - eigenvalues[:, -1]).abs()
    assert (error <= found.residuals[:, 0] * largest + 1e-12).all()


def test_run_that_is_not_finite_leaves_the_others_alone():
    task = Task(4, WIDTHS, 11, "mse", dtype=torch.float32)
    options = {"largest_iterations": 60, "tolerance": 1e-4}

    def solve():
        product = curvature.hessian_vector_products(task.loss, task.params, task.extras)
        start = curvature.start_vectors(4, curvature.flatten(task.params).shape[1])
        return curvature.lanczos(product, start, 2, **options)

    healthy = solve()
    task.params["w2"][1] = 1e30  # overflows to infinity
    task.params["b1"][2, 0] = torch.nan
    broken = solve()
    for before, after in zip(healthy, broken, strict=True):
        assert torch.equal(before[[0, 3]], after[[0, 3]])
        if after.is_floating_point():
            assert after[[1, 2]].isnan().all()
    assert broken.converged.tolist() == [True, False, False, True]


@pytest.mark.parametrize("widths", [(16, 16, 16, 10), (5, 7, 6, 3)])
@pytest.mark.parametrize("loss", LOSSES)
def test_bits_of_a_run_do_not_depend_on_the_others(loss, widths):
    every = []
    for runs in (2, 3, 5):
        task = Task(runs, widths, 33, loss, same=True, dtype=torch.float32)
        hessians = curvature.hessian_vector_products(task.loss, task.params, task.extras)
        gauss_newton = curvature.gauss_newton_products(
            task.outputs, task.output_loss, task.params, task.extras
        )
        start = curvature.start_vectors(runs, curvature.flatten(task.params).shape[1])
        results = [hessians(start), gauss_newton(start)]
        results += curvature.lanczos(hessians, start, 3, largest_iterations=50, tolerance=1e-5)
        every.append(results)
    for results in zip(*every, strict=True):
        assert all(torch.equal(results[0][0], lane) for result in results for lane in result)


def test_a_run_is_read_at_its_own_first_success():
    def solve(chosen):
        eigenvalues = torch.linspace(0, 1, 70, dtype=torch.float64).repeat(3, 1)
        eigenvalues[0, -1], eigenvalues[1, -1] = 30, 2
        matrices = symmetric(eigenvalues)[0][chosen]
        return run_lanczos(
            lambda v: (matrices @ v[:, :, None])[:, :, 0],
            len(chosen),
            70,
            1,
            tolerance=1e-2,
            check_every=2,
        )

    alone, together = solve([0, 0]), solve([0, 2, 1])
    assert together.iterations[0] < together.iterations[1]
    for single, joint in zip(alone, together, strict=True):
        assert torch.allclose(single[0].double(), joint[0].double(), rtol=1e-12)


def test_attention_and_convolution_have_second_derivatives():
    x = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(6) % 3
    shapes = {"query": (5, 5), "kernel": (3, 5, 3), "out": (3, 3)}

    def loss(params):
        weights = torch.softmax(x @ params["query"] @ x.transpose(1, 2), -1)
        mixed = functional.gelu(functional.layer_norm(weights @ x, (5,)))
        features = functional.conv1d(mixed.transpose(1, 2), params["kernel"]).mean(2)
        return functional.cross_entropy(features @ params["out"], labels)

    generator = torch.Generator().manual_seed(1)
    params = {
        name: torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    product = curvature.hessian_vector_products(loss, params)
    size = curvature.flatten(params).shape[1]
    matrices = dense(product, 2, size)
    for run in range(2):
        expected = torch.func.hessian(lambda v: loss(split(v, params)))(joined(params, run))
        assert torch.allclose(matrices[run], expected, rtol=1e-9, atol=1e-11)


def test_edge_of_stability_of_a_trained_network():
    """Gradient descent with steps this large ends where the sharpness is 2 over the step."""
    task = Task(2, (8, 16, 16, 4), 64, "mse", dtype=torch.float32)
    teacher = torch.randn(8, 4, generator=torch.Generator().manual_seed(9))
    task.targets = functional.one_hot((task.x @ teacher).argmax(1), 4).float()
    frozen = over_runs(lambda params: mlp(params, task.x))(task.params)
    extras, step, slopes = (torch.ones(2), frozen), 40.0, vmap(grad(task.loss))
    for _ in range(700):
        slope = slopes(task.params, *extras)
        task.params = {name: value - step * slope[name] for name, value in task.params.items()}
    product = curvature.hessian_vector_products(task.loss, task.params, extras)
    start = curvature.start_vectors(2, curvature.flatten(task.params).shape[1])
    found = curvature.lanczos(product, start, 1, largest_iterations=100, tolerance=1e-3)
    assert found.converged.all()
    assert ((found.values[:, 0] * step / 2 - 1).abs() < 0.2).all()
