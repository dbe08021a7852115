"""The one exception that is meant for the user's eyes."""


class UserError(Exception):
    """A mistake of the user's; its message is one line that names the key, file or row, and what to do."""


class ComeBack(Exception):
    """The stage was told to stop and has saved: started again, it goes on."""
