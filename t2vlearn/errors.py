"""The one kind of error that a person is meant to read."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake that the user can mend. Its message is one line and says what to do; the command line shows just that."""


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Where memory runs out inside the `with` block, on a CPU or a GPU, `advice` says what to lower.

    Raises:
        UserError: instead of Python's MemoryError and of what torch raises.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch has a class of its own for GPUs, but none for CPUs: there, only the words tell.
        signs = ("out of memory", "can't allocate memory")
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in signs):
            raise
        raise UserError(f"the memory is too small for this: {advice}") from None
