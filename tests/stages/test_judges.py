import pytest

from qdgs.config import load_config
from qdgs.errors import ConfigError
from qdgs.stages.judges import check_judges


@pytest.mark.parametrize(
    ("override", "place", "rest"),
    [
        (
            "guide.measures.2.audit=weight",
            "guide.measures.size.audit",
            "expected an attribute of 'shape-cnn' (color, shape, size), got 'weight'",
        ),
        (
            "dataset.groups.color.audit=hue",
            "dataset.groups.color.audit",
            "expected an attribute of 'shape-geometry' (color, shape, size), got 'hue'",
        ),
        (
            "dataset.groups.color.low=crimson",
            "dataset.groups.color",
            "expected values that 'shape-geometry' tells of 'color' (red, blue), got 'crimson'",
        ),
    ],
)
def test_what_no_judge_tells_is_refused_before_a_search(request, override, place, rest):
    config = load_config(request.config.rootpath / "configs" / "shapes.yaml", [override])
    with pytest.raises(ConfigError) as error:
        check_judges(config)
    assert str(error.value) == f"{place}: {rest}"


def test_the_ready_made_configuration_asks_of_its_judges_what_they_tell(request):
    check_judges(load_config(request.config.rootpath / "configs" / "shapes.yaml"))
