"""The moving average of weights."""

import pytest
import torch

from nabladft.training.averaging import MovingAverage


@pytest.fixture
def module():
    return torch.nn.Linear(1, 1, bias=False)


def test_the_average_is_the_recursion_written_out(module):
    module.weight.data.fill_(1.0)
    average = MovingAverage(module, decay=0.5)
    expected = 1.0
    for step, value in enumerate([3.0, -2.0, 7.0], start=1):
        module.weight.data.fill_(value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value

    assert float(average.state_dict()["weight"]) == pytest.approx(expected)


def test_the_weights_return_after_use_even_when_something_fails(module):
    module.weight.data.fill_(1.0)
    average = MovingAverage(module, decay=0.9)
    module.weight.data.fill_(5.0)

    def fail_inside():
        with average.applied():
            assert float(module.weight.detach()) == 1.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()

    assert float(module.weight.detach()) == 5.0
