"""Errors with a remedy; app/ maps each to an HTTP status, the CLI to exit code 2."""


class QuantaError(Exception):
    """An error that the user can fix: `problem` names the value, `remedy` the next step."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy


class NotFoundError(QuantaError):
    """An id or name that is not in the store."""


class InvalidInputError(QuantaError):
    """A file, folder or parameter that cannot be used."""

    def __init__(self, problem: str, remedy: str, parameter: str | None = None) -> None:
        super().__init__(problem, remedy)
        self.parameter = parameter


class ConflictError(QuantaError):
    """A request that conflicts with the store: a key in use, or a state that forbids it."""


class NotReadyError(QuantaError):
    """A result that is not finished yet, or whose inputs are not."""


class StoreError(QuantaError):
    """The database is missing, older or newer than this program, or damaged."""


class StoreBusyError(StoreError):
    """The database is locked by another program or does not answer; retry later."""


class StoreFullError(StoreError):
    """The disk is full; nothing was written."""
