"""Seeds a fault into the kernels' text, one patch of mutants/ after the other, and sees which builds notice.

`python tests/simt/mutants.py [NAME ...]` writes MUTANTS.md anew, or only prints what became of the named mutants. Each
takes about half a minute: a program is compiled and run plain, with the address and with the thread sanitizer.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import library
import sanitized

FOLDER = library.HERE / "mutants"
TABLE = library.HERE / "MUTANTS.md"
SEEDS = {"plain": 6, "address": 1, "thread": 1}

HEADING = """# Mutants

Each patch of `mutants/` plants one fault in the kernels' text; the program that launches the kernel is then built and
run plain, with the address and undefined-behaviour sanitizers, and with the thread sanitizer. Written by
`python tests/simt/mutants.py`.

| mutant | kernel | sort | plain | address | thread |
|---|---|---|---|---|---|
"""


@dataclass
class Mutant:
    """A patch; its first lines say the kernel, the sort of fault and the program that launches the kernel."""

    path: Path
    killed: dict[str, bool] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.stem

    def said(self, what: str) -> str:
        lines = (line.partition(": ") for line in self.path.read_text().splitlines())
        return next(value for key, _, value in lines if key == what)

    def row(self) -> str:
        marks = ["killed" if self.killed[mode] else "-" for mode in sanitized.MODES]
        return f"| {' | '.join([self.name, self.said('kernel'), self.said('sort'), *marks])} |\n"


def mutants() -> list[Mutant]:
    return [Mutant(path) for path in sorted(FOLDER.glob("*.patch"))]


def copy_of_the_text(folder: Path) -> None:
    """The files that the programs are built from."""
    root = library.CSRC.parent
    for path in library.texts(sanitized.PROGRAMS):
        out = folder / path.relative_to(root)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out)


def apply(mutant: Mutant, folder: Path) -> None:
    """Patches the copy; an error says that the patch no longer fits the kernels' text."""
    done = subprocess.run(["git", "apply", str(mutant.path)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{mutant.name} does not apply: {done.stderr}")


def try_mode(mutant: Mutant, folder: Path, mode: str) -> bool:
    """Whether the program fails. Not to compile is no kill: the patch is at fault."""
    out, simt = folder / mode, folder / library.HERE.relative_to(library.CSRC.parent)
    source = simt / "programs" / f"{mutant.said('program')}.cpp"
    library.compile_to(out, sanitized.command(mode, source, simt))
    return sanitized.run(out, SEEDS[mode]).code != 0


def try_mutant(mutant: Mutant) -> Mutant:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_the_text(folder)
        apply(mutant, folder)
        mutant.killed = {mode: try_mode(mutant, folder, mode) for mode in sanitized.MODES}
    return mutant


def read_table() -> dict[str, list[bool]]:
    """Of each mutant in the table, which builds killed it."""
    rows = [line.strip("| \n").split(" | ") for line in TABLE.read_text().splitlines() if " | " in line]
    return {row[0]: [mark == "killed" for mark in row[3:]] for row in rows[1:]}


def main(names: list[str]) -> None:
    chosen = [mutant for mutant in mutants() if not names or mutant.name in names]
    rows = []
    for mutant in chosen:
        rows.append(try_mutant(mutant).row())
        print(rows[-1], end="", flush=True)
    if not names:
        TABLE.write_text(HEADING + "".join(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
