"""Maps in local frames: equivariant about the axis, and of a definite parity."""

import math

import pytest
import torch

from nabladft.models.layers.frames import LocalFrames, frame_order
from nabladft.models.layers.so2 import FrameGate, FrameLinear

LMAX, WIDTH = 3, 4
ORDER = frame_order(LMAX, LMAX)


@pytest.fixture
def features():
    torch.manual_seed(1)
    return torch.randn(6, len(ORDER), WIDTH, dtype=torch.float64)


def layer(**options):
    torch.manual_seed(5)
    sizes = {"mmax": LMAX, "channels_in": WIDTH, "channels_out": WIDTH}
    return FrameLinear(LMAX, LMAX, **(sizes | options)).double()


def turned_about_axis(features, order=ORDER, angle=0.7):
    """Turn by an angle: m and -m of each degree mix."""
    result = features.clone()
    for row, (l, m) in enumerate(order):
        if m:
            partner = features[:, order.index((l, -m))]
            sine = -math.copysign(1.0, m) * math.sin(abs(m) * angle)
            result[:, row] = math.cos(m * angle) * features[:, row] + sine * partner
    return result


def mirrored(features, order=ORDER, *, pseudo=False):
    """Mirror at the plane of the axis and m = +1."""
    signs = torch.tensor([-1.0 if (m < 0) != pseudo else 1.0 for _, m in order])
    return features * signs[:, None].double()


@pytest.mark.parametrize(
    "module", [layer(), layer(pseudo=True), FrameGate(LMAX, mmax=LMAX, channels=WIDTH).double()]
)
def test_turning_about_the_axis_before_is_turning_after(module, features):
    before = module(turned_about_axis(features))

    torch.testing.assert_close(before, turned_about_axis(module(features)), atol=1e-12, rtol=0)


def test_a_map_keeps_the_parity_of_harmonics(features):
    module = layer()

    torch.testing.assert_close(module(mirrored(features)), mirrored(module(features)))


def test_a_pseudo_map_makes_the_opposite_parity(features):
    module = layer(pseudo=True)

    found = module(mirrored(features))

    torch.testing.assert_close(found, mirrored(module(features), pseudo=True))
    assert found[:, : LMAX + 1].abs().max() == 0


def test_a_gate_keeps_the_parity_of_harmonics(features):
    gate = FrameGate(LMAX, mmax=LMAX, channels=WIDTH).double()

    torch.testing.assert_close(gate(mirrored(features)), mirrored(gate(features)))


def test_a_gate_knows_how_two_atoms_are_turned_against_each_other(features):
    """The same two features at another dihedral angle give another gate of what lies along."""
    gate = FrameGate(LMAX, mmax=LMAX, channels=WIDTH).double()
    other = features.flip(0)

    here, there = gate(features + other), gate(features + turned_about_axis(other))

    assert (here - there)[:, : LMAX + 1].abs().max() > 1e-3


def test_maps_between_frames_do_not_depend_on_the_angle_about_the_axis(features):
    """Rotations into a frame and back cancel whatever was chosen, as with the line reversed."""
    vectors = torch.randn(6, 3, dtype=torch.float64)
    frames, module = LocalFrames(LMAX)(vectors), layer()
    common = torch.randn(6, (LMAX + 1) ** 2, WIDTH, dtype=torch.float64)

    found = frames.mT @ module(frames @ common)

    other = turned_about_axis(frames)
    torch.testing.assert_close(other.mT @ module(other @ common), found)


def test_a_map_is_the_plain_sum_over_its_weights(features):
    module = layer(mmax=1, channels_out=2)
    order = frame_order(LMAX, 1)
    cut = features[:, : len(order)]

    found = module(cut)

    expected = torch.zeros(6, len(order), 2, dtype=torch.float64)
    for row, (l, m) in enumerate(order):
        weight = module.weights[abs(m)].view(LMAX + 1 - abs(m), WIDTH, LMAX + 1 - abs(m), 2)
        for column, (k, n) in enumerate(order):
            if n == m:
                block = weight[k - abs(m), :, l - abs(m)]
                expected[:, row] += cut[:, column] @ block
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("lmax_in", "lmax_out"), [(2, 3), (3, 1)])
def test_degrees_may_differ_between_input_and_output(lmax_in, lmax_out):
    mmax = min(lmax_in, lmax_out)
    module = FrameLinear(lmax_in, lmax_out, mmax=mmax, channels_in=3, channels_out=2)

    found = module(torch.randn(4, len(frame_order(lmax_in, mmax)), 3))

    assert found.shape == (4, len(module.order), 2)
    assert module.order == tuple(frame_order(lmax_out, mmax))


@pytest.mark.parametrize("pseudo", [False, True])
def test_numbers_of_size_one_stay_of_size_one(pseudo):
    module = layer(channels_in=32, channels_out=32, pseudo=pseudo)
    features = torch.randn(50, len(ORDER), 32, dtype=torch.float64)

    found = module(features)[:, LMAX + 1 :]

    assert 0.8 < found.std() < 1.2
