"""What each command does between its arguments and its output; `cli.py` parses, these call and render."""
