"""What all public names have in common."""

import inspect

import pytest

import qdgs


def takes_a_path():
    """Public functions and class methods that take a path."""
    for name in qdgs.__all__:
        public = getattr(qdgs, name)
        methods = inspect.getmembers(public, inspect.ismethod) if inspect.isclass(public) else []
        functions = [(name, public)] if inspect.isfunction(public) else []
        for told, function in [*functions, *((f"{name}.{method}", found) for method, found in methods)]:
            parameters = inspect.signature(function).parameters.values()
            asked = [str(one.annotation) for one in parameters if "Path" in str(one.annotation)]
            if asked:
                yield pytest.param(asked, id=told)


@pytest.mark.parametrize("asked", [*takes_a_path()])
def test_a_path_may_be_a_string(asked):
    assert all("str" in annotation for annotation in asked)
