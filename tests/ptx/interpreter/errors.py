"""The one error of the interpreter."""


class PtxError(RuntimeError):
    """The program does what no CUDA program may, or what is not known here. The message ends with the line."""
