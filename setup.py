"""Builds the library of the kernels into the wheel where a C compiler is at hand; all else stands in pyproject.toml.

Without one the wheel holds the sources alone, and the library is built, or numba used, on the machine that runs them.
"""

import runpy
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

native = runpy.run_path(str(Path(__file__).resolve().parent / "replication" / "formats" / "native_library.py"))


class BuildWithLibrary(build_py):
    """Copies the modules, then compiles beside them; of an editable install, in the sources' own folder."""

    def run(self) -> None:
        """Copy, then compile."""
        super().run()
        folder = Path("replication" if self.editable_mode else self.build_lib + "/replication") / "native"
        if native["build"](folder) is None:
            print("no library of kernels: no C compiler was found that builds it", file=sys.stderr)


class PlatformWheel(bdist_wheel):
    """A wheel for any Python 3, but, with the library in it, for this platform alone."""

    def get_tag(self) -> tuple[str, str, str]:
        """Python, ABI and platform."""
        built = any((Path(self.bdist_dir) / "replication" / "native").glob("*.so")) if self.bdist_dir else False
        if not built:
            return super().get_tag()
        self.root_is_pure = False
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel})
