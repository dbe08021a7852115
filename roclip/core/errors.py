"""What ends a stage with a line in place of a traceback."""


def one_line(text: str) -> str:
    """A text from data as it is shown: line breaks and what else a terminal would act on are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class UserError(Exception):
    """A mistake of the user's; its message is one line that names the key, file or row, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class ComeBack(BaseException):
    """The stage was told to stop and has saved: started again, it resumes.

    No Exception, or what catches those would take it for the fault of an image.
    """
