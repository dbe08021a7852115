"""What ends a stage with a line in place of a traceback."""


class UserError(Exception):
    """A mistake of the user's; its message is one line that names the key, file or row, and what to do."""


class ComeBack(BaseException):
    """The stage was told to stop and has saved: started again, it goes on.

    No Exception, or what catches those would take it for the fault of an image.
    """
