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


def one_line(text: str, most: int = 200) -> str:
    """With what is no printable character escaped: a text of others, fit for a log or a message."""
    cut = text[:most]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return shown[:most] + ".." if max(len(shown), len(text)) > most else shown


def shown(value: object) -> str:
    """A value that was refused, or its type where it cannot be shown: 60 characters at most."""
    try:
        text = repr(value)
    except Exception:  # a __repr__ that raises, an int of more digits than Python writes
        text = ""
    return one_line(text or type(value).__name__, 60)


def failure_of(error: BaseException) -> str:
    """What a callback raised, in one line."""
    try:
        text = str(error)
    except Exception:
        text = ""
    name = type(error).__name__
    return one_line(f"{name}: {text}" if text else name)


def invalid(message: str) -> ResourceError:
    return ResourceError("E2071", message)
