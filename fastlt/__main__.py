"""The command `fastlt`, also as `python -m fastlt`; a Ctrl-C while its packages are still being loaded ends it too."""

import sys

STOPPED = 130  # the shell's status for Ctrl-C


def main() -> None:
    try:
        from fastlt.cli import main as run
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(STOPPED)
    run()


if __name__ == "__main__":
    main()
