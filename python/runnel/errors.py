"""The errors of the module: what was wrong, what was wanted, what was found."""

from . import _engine


class Error(ValueError):
    """A bad request or a bad file."""


class FileError(OSError, Error):
    """A file that cannot be opened, read or written; errno says why."""

    def __str__(self) -> str:
        return str(self.strerror)


_engine.set_errors(Error, FileError)
