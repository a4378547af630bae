"""The one exception of mete."""


class ResourceError(Exception):
    """A refusal, with the code that docs/errors.md explains: "E2070", "E2071", ..

    `retry_after` is in seconds, and set where waiting helps (E2077).
    """

    def __init__(self, code: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(code, message, retry_after)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def invalid(message: str) -> ResourceError:
    return ResourceError("E2071", message)
