"""Says which folders make the package and builds its native library; everything else stands in pyproject.toml.

`pipelines`, `configs` and `bench` stand at the top of the repository, where users read and copy them, and are
installed under the package's name, so that nothing generic lands in site-packages.
"""

import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent))
import native_build  # noqa: E402

TOP_FOLDERS = ("pipelines", "configs", "bench")
LIBRARY = "fastlt._native"


def packages() -> list[str]:
    """Every package by the name it is imported by."""
    names = ["fastlt", *(f"fastlt.{name}" for name in find_packages("fastlt"))]
    for folder in TOP_FOLDERS:
        names += [f"fastlt.{folder}", *(f"fastlt.{folder}.{name}" for name in find_packages(folder))]
    return names


class BuildNative(build_ext):
    """The operators' library, or none where it cannot be built: then nothing is left of an older one either."""

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", "/") + ".so"  # no module of Python's, so no tag of its ABI

    def run(self) -> None:
        library = Path(self.get_ext_fullpath(LIBRARY))
        if not native_build.build(library):
            library.unlink(missing_ok=True)
            self.extensions = self.distribution.ext_modules = []


class Wheel(bdist_wheel):
    """One for every Python; for this platform only if the library is in it, which is known once that is built."""

    @property
    def root_is_pure(self) -> bool:
        return not self.distribution.ext_modules

    @root_is_pure.setter
    def root_is_pure(self, value: bool) -> None:
        """What setuptools concludes before anything is built."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    packages=packages(),
    package_dir={f"fastlt.{folder}": folder for folder in TOP_FOLDERS},
    package_data={"fastlt.configs": ["*.yaml", "*/*.yaml"]},
    include_package_data=False,
    ext_modules=[Extension(LIBRARY, [])],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": Wheel},
)
