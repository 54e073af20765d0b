"""The one kind of error that a person is meant to read."""


class UserError(ValueError):
    """A mistake that the user can mend. Its message is one line and says what to do; the command line shows just that."""
