import sys

import pytest

from qdgs.errors import ConfigError
from qdgs.registry import nearest, resolve

KNOWN = {"decimal": "decimal:Decimal", "fraction": "fractions:Fraction"}


def test_a_name_stands_for_what_it_is_registered_as():
    from fractions import Fraction

    assert resolve(KNOWN, "fraction", place="number.name") is Fraction


def test_an_unknown_name_is_answered_with_the_nearest_and_with_all_known_ones():
    with pytest.raises(ConfigError) as error:
        resolve(KNOWN, "fractoin", place="number.name")
    assert (
        str(error.value)
        == "number.name: unknown 'fractoin'; did you mean 'fraction'? known: decimal, fraction"
    )


def test_a_name_far_from_all_gets_no_suggestion():
    assert nearest("zzz", KNOWN) == "; known: decimal, fraction"


def test_a_registry_imports_only_what_is_asked_for():
    registry = {"here": "decimal:Decimal", "elsewhere": "no_such_module:thing"}
    resolve(registry, "here", place="x")
    assert "no_such_module" not in sys.modules
