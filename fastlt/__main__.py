"""`python -m fastlt` is the command `fastlt`."""

from fastlt.cli import main

if __name__ == "__main__":
    main()
