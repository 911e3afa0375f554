"""Errors that the command line turns into one clear line and an exit code."""


class UserError(Exception):
    """A mistake that the user can mend: bad configuration, missing or malformed input.

    Args:
        what: one line that says what is wrong, naming the file, line or value.
        mend: one line that says how to mend it.

    The command line prints both lines without a traceback and exits with status 2.
    """

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str]]:
        return type(self), (self.what, self.mend)


def require(holds: bool, what: str, mend: str) -> None:
    """Raises UserError unless `holds`."""
    if not holds:
        raise UserError(what, mend)
