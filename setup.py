"""Says which folders make the package; everything else about it stands in pyproject.toml.

`pipelines`, `configs` and `bench` stand at the top of the repository, where users read and copy them, and are
installed under the package's name, so that nothing generic lands in site-packages.
"""

from setuptools import find_packages, setup

TOP_FOLDERS = ("pipelines", "configs", "bench")


def packages() -> list[str]:
    """Every package by the name it is imported by."""
    names = ["fastlt", *(f"fastlt.{name}" for name in find_packages("fastlt"))]
    for folder in TOP_FOLDERS:
        names += [f"fastlt.{folder}", *(f"fastlt.{folder}.{name}" for name in find_packages(folder))]
    return names


setup(
    packages=packages(),
    package_dir={f"fastlt.{folder}": folder for folder in TOP_FOLDERS},
    package_data={"fastlt.configs": ["*.yaml", "*/*.yaml"]},
    include_package_data=False,
)
