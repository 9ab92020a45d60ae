"""What a user is told in a single line: the one exception that ends a command, and the warning that does not."""


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, where, and what to do."""


class UserNotice(UserWarning):
    """Something to know, though the command goes on."""
