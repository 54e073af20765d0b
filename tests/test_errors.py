"""Out of memory is a line that says what to lower; every other error passes as it is."""

import re

import pytest
import torch

from t2vlearn.errors import UserError, memory_advice


def more_than_there_is():
    torch.empty(2**60, dtype=torch.uint8)  # a CPU's own words


def a_gpus_error():
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB"
    )


def pythons_error():
    bytearray(2**62)


@pytest.mark.parametrize("fail", [more_than_there_is, a_gpus_error, pythons_error])
def test_too_little_memory_is_a_line(fail):
    with (
        pytest.raises(UserError, match=re.escape("the memory is too small for this: buy more")),
        memory_advice("buy more"),
    ):
        fail()


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory"), KeyboardInterrupt()])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, memory_advice("buy more"):
        raise error
    assert caught.value is error
