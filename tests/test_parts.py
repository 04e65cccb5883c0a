import pytest

from qdgs.config import JudgesConfig, Named, load_config
from qdgs.errors import ConfigError
from qdgs.generators.base import GENERATORS, Generator
from qdgs.judges.base import Judge
from qdgs.parts import judges_shared, load_generator, load_guide, load_judge


def test_names_become_what_they_stand_for(tiny_config):
    assert isinstance(load_generator("patches"), Generator)
    assert isinstance(load_judge("pixels"), Judge)
    assert load_judge(Named(name="pixels", smallest=0.5)).smallest == 0.5
    assert load_guide(load_config(tiny_config).guide).measure_names == ("color", "edges")


def test_the_device_is_handed_on(brought, monkeypatch):
    class Told(brought.Stripes):
        def __init__(self, device):
            super().__init__()
            self.told = device

    monkeypatch.setitem(GENERATORS, "told", Told)
    assert load_generator("told", device="cpu:0").told == "cpu:0"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("nan", "generator: expected finite pixel values, got NaN or infinity"),
        ("shape", "generator: expected images (batch_size, 3, height, width) = (2, 3, 32, 32), got (2, 1, "),
        ("range", "generator: expected pixel values in [0, 1], got ["),
    ],
)
def test_a_registered_generator_is_asked_for_two_images(tiny_config, fault, said):
    with pytest.raises(ConfigError) as error:
        load_generator(Named(name="patches", fault=fault))
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (Named(name="pixel"), "judges.gate.name: unknown 'pixel'; did you mean 'pixels'?"),
        (
            Named(name="pixels", smalest=1),
            "judges.gate.smalest: unknown option of 'pixels'; did you mean 'smallest'?",
        ),
        (Named(name="pixels", device="cpu"), "judges.gate.device: unknown option of 'pixels'"),
    ],
)
def test_an_unknown_name_or_option_is_told_at_its_place(tiny_config, named, said):
    with pytest.raises(ConfigError) as error:
        load_judge(named, role="gate")
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("judges", "shared"),
    [
        ({"gate": "a", "auditor": "b"}, []),
        ({"gate": "a"}, []),
        ({"gate": "a", "auditor": "a", "shared": True}, ["gate"]),
        ({"teacher": "a", "gate": "a", "auditor": "a", "shared": True}, ["teacher", "gate"]),
    ],
)
def test_the_other_roles_of_the_auditor_are_known(judges, shared):
    assert judges_shared(JudgesConfig.model_validate(judges)) == shared
