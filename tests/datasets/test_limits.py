"""What a set is not fit for."""

from qdgs.datasets.limits import EVERY_SET, limits


def test_what_parts_bring_with_them_is_told_of_sets_that_they_made():
    made = {
        "generator": {"name": "dcgan-digiface"},
        "judges": {"gate": "faces-dlib", "auditor": "face-light (lightness), faces-xception (age)"},
    }
    lines = limits(made).removeprefix(EVERY_SET)
    assert all(
        word in lines for word in ("consenting", "apparent lightness", "`faces-dlib`", "`faces-xception`")
    )
    assert lines.count("\n- ") == 4


def test_other_sets_hear_of_none_of_it():
    assert limits({"generator": {"name": "shapes-vae"}, "judges": {"gate": "shape-geometry"}}) == EVERY_SET
    assert limits({"generator": {"name": "a and b"}}) == EVERY_SET
