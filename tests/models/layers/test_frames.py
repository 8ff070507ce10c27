"""Local frames: rotations that bring the direction of a pair to the polar axis."""

import pytest
import torch

from nabladft.chemistry.rotations import wigner_d_real
from nabladft.models.layers.frames import LocalFrames, frame_order
from nabladft.models.layers.spherical import harmonics

LMAX = 4
#: On the poles, the equator, next to a pole, and anywhere.
DIRECTIONS = torch.tensor(
    [
        [0.0, 0.0, 2.0],
        [0.0, 0.0, -0.5],
        [0.0, 1.0, 0.0],
        [-3.0, 0.0, 0.0],
        [1e-9, -1e-9, 1.0],
        [0.3, -1.2, 0.7],
    ],
    dtype=torch.float64,
)


@pytest.fixture
def frames():
    return LocalFrames(LMAX)


def test_in_its_own_frame_a_direction_is_the_polar_axis(frames):
    values = harmonics(DIRECTIONS, LMAX)[:, :, None]

    local = (frames(DIRECTIONS) @ values)[:, :, 0]

    expected = torch.zeros_like(local)
    expected[:, : LMAX + 1] = torch.arange(1, 2 * LMAX + 2, 2).double().sqrt()
    torch.testing.assert_close(local, expected, atol=1e-8, rtol=0)


def test_the_way_into_a_frame_is_undone_by_its_transpose(frames):
    matrices = frames(DIRECTIONS)

    products = matrices.mT @ matrices

    torch.testing.assert_close(
        products, torch.eye(25, dtype=torch.float64).expand_as(products), atol=1e-12, rtol=0
    )


def test_a_frame_is_a_rotation_of_all_degrees_by_the_same_matrix(frames):
    matrix = frames(DIRECTIONS[-1:])[0]
    inverse = [frames.order.index((l, m)) for l in range(LMAX + 1) for m in range(-l, l + 1)]
    ascending = matrix[inverse]
    # Degree 1 is (y, z, x); the rotation itself is in (x, y, z).
    xyz = [3, 1, 2]
    rotation = ascending[xyz][:, xyz].numpy()

    for l in range(LMAX + 1):
        part = slice(l * l, (l + 1) ** 2)
        expected = torch.from_numpy(wigner_d_real(l, rotation))
        torch.testing.assert_close(ascending[part, part], expected, atol=1e-10, rtol=0)


def test_fewer_m_are_the_first_rows(frames):
    few = LocalFrames(LMAX, 2)

    torch.testing.assert_close(few(DIRECTIONS), frames(DIRECTIONS)[:, : len(few.order)])
    assert few.order == tuple(frame_order(LMAX, 2))


def test_frames_of_float32_are_as_exact_as_float32(frames):
    matrices = frames(DIRECTIONS.float())

    assert matrices.dtype == torch.float32
    torch.testing.assert_close(matrices.double(), frames(DIRECTIONS), atol=2e-6, rtol=0)


def test_no_gradient_flows_through_the_choice_of_a_frame(frames):
    vectors = DIRECTIONS.clone().requires_grad_()

    assert not frames(vectors).requires_grad
