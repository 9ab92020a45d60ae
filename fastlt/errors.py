"""The one exception that ends a command with a single line."""


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, where, and what to do."""
