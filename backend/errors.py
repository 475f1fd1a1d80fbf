"""Errors that a person can act on; app/ maps each to an HTTP status, the CLI to exit code 2."""


class QuantaError(Exception):
    """Something a person can repair: `problem` names the value, `remedy` what to do next."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy


class NotFoundError(QuantaError):
    """An id or name that the store does not hold."""


class InvalidInputError(QuantaError):
    """A file, folder or parameter that cannot be used."""

    def __init__(self, problem: str, remedy: str, parameter: str | None = None) -> None:
        super().__init__(problem, remedy)
        self.parameter = parameter


class ConflictError(QuantaError):
    """A request that contradicts what is stored: another use of a key, or a state that forbids."""


class NotReadyError(QuantaError):
    """A result that is not finished yet, or whose inputs are not."""


class StoreError(QuantaError):
    """The database is missing, older or newer than this program, or damaged."""


class StoreBusyError(StoreError):
    """The database is locked by another program, or does not answer: it passes."""


class StoreFullError(StoreError):
    """There is no room on the disk for what was to be written; nothing of it was."""
