"""Files of optional packages, read without importing the package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from qdgs.errors import CorruptFileError, MissingPackageError


@dataclass(frozen=True)
class PackagedFile:
    """A file that an optional package brings along.

    Attributes:
        package: Name of the package in the index.
        path: The file inside the installation.
        sha256: What its content hashes to.
        install: The command that installs the package.
    """

    package: str
    path: str
    sha256: str
    install: str

    def locate(self, whom: str) -> Path:
        """Where it lies.

        Args:
            whom: Who needs it, for the error.

        Raises:
            MissingPackageError: The package is not installed.
        """
        try:
            return Path(str(metadata.distribution(self.package).locate_file(self.path)))
        except metadata.PackageNotFoundError:
            raise MissingPackageError(
                f"{whom} needs the optional package {self.package}: {self.install}"
            ) from None

    def read(self, whom: str) -> bytes:
        """Its content, checked.

        Raises:
            MissingPackageError: The package is not installed.
            CorruptFileError: The file is missing, cannot be read or is another.
        """
        path = self.locate(whom)
        remedy = f"pip uninstall {self.package}, then {self.install}"
        try:
            content = path.read_bytes()
        except OSError:
            raise CorruptFileError(f"{path}: cannot be read; {remedy}") from None
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise CorruptFileError(
                f"{path}: expected sha256 {self.sha256[:12]}…, got {found[:12]}…; {remedy}"
            )
        return content
