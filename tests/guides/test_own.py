import sys

import numpy as np
import pytest
import torch

import qdgs
from qdgs.config import GuideConfig, load_config, parse_config, plain
from qdgs.errors import ConfigError, CorruptFileError, InputError
from qdgs.stages.identity import guide_key
from qdgs.stages.scoring import Scorer

pytestmark = pytest.mark.usefixtures("brought")
IMAGES = torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(0))


def config(measures=("warmth", "detail"), **keys):
    return GuideConfig(**{"name": "python", "target": "brought:Warmth", **keys, "measures": named(*measures)})


def named(*names):
    return [{"name": name} for name in names]


def test_a_guide_of_ones_own_is_asked_as_it_is(brought):
    guide = qdgs.load_guide(config(gain=2.0))
    objective, measures = brought.Warmth(gain=2.0).score(IMAGES)
    assert torch.equal(guide.score(IMAGES).objective, objective)
    assert torch.equal(guide.score(IMAGES).measures, measures)


def test_measures_come_in_the_order_of_the_configuration_and_some_may_be_left_out():
    whole = qdgs.load_guide(config()).score(IMAGES).measures
    assert torch.equal(qdgs.load_guide(config(("detail",))).score(IMAGES).measures, whole[:, 1:])
    assert torch.equal(qdgs.load_guide(config(("detail", "warmth"))).score(IMAGES).measures, whole.flip(1))


def test_a_scripts_measures_are_named_by_the_configuration(brought, scripts):
    guide = qdgs.load_guide(
        GuideConfig(name="torchscript", path=scripts["guide"], measures=named("warmth", "green"))
    )
    objective, measures = brought.Rater()(IMAGES)
    torch.testing.assert_close(guide.score(IMAGES).measures, measures)
    torch.testing.assert_close(guide.score(IMAGES).objective, objective)


def test_a_factory_that_wants_the_names_of_the_measures_gets_them(brought, monkeypatch):
    class Named(brought.Warmth):
        def __init__(self, measure_names):
            super().__init__()
            self.measure_names = measure_names

    monkeypatch.setattr(brought, "Named", Named, raising=False)
    monkeypatch.setitem(qdgs.GUIDES, "mine", Named)
    for keys in ({"name": "mine"}, {"name": "python", "target": "brought:Named"}):
        guide = qdgs.load_guide(GuideConfig(**keys, measures=named("cosiness", "detail")))
        assert guide.encoder.measure_names == ("cosiness", "detail")
        with pytest.raises(ConfigError, match=r"^guide\.measure_names: unknown option of "):
            qdgs.load_guide(GuideConfig(**keys, measure_names=["a"], measures=named("a")))


def test_a_factory_of_any_options_gets_those_of_the_configuration_alone(brought, monkeypatch):
    def make(**options):
        assert options == {"asked_at": "dusk"}
        return brought.Warmth()

    monkeypatch.setitem(qdgs.GUIDES, "mine", make)
    assert qdgs.load_guide(GuideConfig(name="mine", asked_at="dusk", measures=named("warmth")))


def test_a_guide_may_be_registered(brought, monkeypatch):
    guide = brought.Warmth()
    monkeypatch.setitem(qdgs.GUIDES, "mine", guide)
    assert qdgs.load_guide(GuideConfig(name="mine", measures=named("warmth"))).encoder is guide


def test_a_guide_without_gradients_is_searched_without_them(brought, monkeypatch):
    generator = brought.Stripes()
    assert Scorer(generator, qdgs.load_guide(config()), seed=0).differentiable
    monkeypatch.setattr(brought.Warmth, "differentiable", False, raising=False)
    assert not Scorer(generator, qdgs.load_guide(config()), seed=0).differentiable


def test_parts_that_stop_gradients_without_saying_so_are_told(brought, monkeypatch):
    latents = brought.Stripes().sample_latents(4, np.random.default_rng(0)).requires_grad_()
    scorer = Scorer(brought.Stripes(), qdgs.load_guide(config()), seed=0)
    assert scorer(latents)[1].requires_grad
    for kind, member, said in (
        (brought.Warmth, "score", r"the guide's scores carry none"),
        (brought.Stripes, "__call__", r"the generator's images carry none"),
    ):
        whole = getattr(kind, member)
        monkeypatch.setattr(kind, member, lambda self, given, whole=whole: whole(self, given.detach()))
        with pytest.raises(InputError, match=rf"^search\.algorithm: gradients are needed and {said}"):
            scorer(latents)
        with torch.no_grad():
            assert scorer(latents)[0].shape == (4,)


def test_its_code_and_its_options_tell_it_from_another(brought, monkeypatch):
    one = guide_key(qdgs.load_guide(config()))
    assert one == guide_key(qdgs.load_guide(config()))
    assert one != guide_key(qdgs.load_guide(config(gain=2.0)))
    monkeypatch.setattr("qdgs.stages.identity.inspect.getsource", lambda module: "another")
    assert one != guide_key(qdgs.load_guide(config()))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"name": "pyton"}, "guide.name: unknown 'pyton'; did you mean 'python'?"),
        ({"target": "brought:Blind"}, "guide: expected a guide, got a Blind that lacks measure_names (a tup"),
        ({"gian": 1}, "guide.gian: unknown option of 'brought:Warmth'; did you mean 'gain'?"),
        (
            {"measures": ("warmth", "colour")},
            "guide.measures.1.name: expected a measure of python (brought:Warmth) (warmth, detail), got 'col",
        ),
    ],
)
def test_what_is_no_guide_is_one_sentence(keys, said):
    with pytest.raises(ConfigError) as error:
        qdgs.load_guide(config(**keys))
    assert str(error.value).startswith(said.replace("guide: ", "guide.target (brought:Blind): "))


def test_running_out_of_memory_is_no_mistake_of_the_guide(brought, monkeypatch):
    monkeypatch.setattr(brought.Warmth, "score", lambda self, images: torch.empty(1 << 50))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        qdgs.load_guide(config()).score(IMAGES)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (lambda images: images.mean(), "got a Tensor"),
        (lambda images: (images.mean(), images.mean()), r"got \(\) and \(\)"),
        (lambda images: (torch.zeros(4), torch.zeros(4, 1)), r"got \(4,\) and \(4, 1\)"),
        (lambda images: sys.exit(5), r"fails on images \(4, 3, 20, 20\): SystemExit: 5"),
        (lambda images: images.reshape(7, -1), r"fails on images \(4, 3, 20, 20\): RuntimeError: .*test_own"),
    ],
)
def test_scores_that_are_none_are_one_sentence(brought, monkeypatch, told, said):
    monkeypatch.setattr(brought.Warmth, "score", lambda self, images: told(images))
    with pytest.raises(ConfigError, match=said) as error:
        qdgs.load_guide(config()).score(IMAGES)
    assert str(error.value).startswith("guide (python (brought:Warmth)): ")


def test_a_script_of_something_else_is_one_sentence(scripts, tmp_path):
    guide = qdgs.load_guide(
        GuideConfig(name="torchscript", path=scripts["judge"], measures=named("warmth", "green"))
    )
    with pytest.raises(
        ConfigError, match=r"guide\.path: expected objective \(batch_size,\) = \(4,\) and meas"
    ):
        guide.score(IMAGES)
    (tmp_path / "cut.pt").write_bytes(b"PK")
    with pytest.raises(CorruptFileError, match="cannot be read as TorchScript"):
        qdgs.load_guide(
            GuideConfig(name="torchscript", path=str(tmp_path / "cut.pt"), measures=named("warmth"))
        )


@pytest.fixture
def data(tiny_config):
    data = plain(load_config(tiny_config))
    data["guide"] = {"name": "python", "target": "brought:Warmth", "measures": named("warmth", "detail")}
    data["dataset"]["groups"] = {"warmth": {"cut": 0.0, "low": "cold", "high": "warm", "audit": "color"}}
    return {**data, "dataset": {**data["dataset"], "label": "warmth"}}


def test_a_configuration_without_prompts_is_kept_as_it_is(data):
    config = parse_config(data)
    assert config.guide.options == {"target": "brought:Warmth"}
    assert "clip" not in plain(config)["guide"]
    assert parse_config(plain(config)) == config
    assert config.guide.measures[0].ends == ("low", "high")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"clip": {"model": "qdgs-mini"}},
            "guide.clip: expected none, as the guide 'python' uses no prompts",
        ),
        (
            {"weights": {"uniqueness": 0.2}},
            "guide.weights.uniqueness: expected 0 for the guide 'python', which embeds nothing",
        ),
        ({"name": "prompts"}, "guide.target: unknown key; known: clip"),
        ({"name": "prompts", "target": ...}, "guide.objective: expected a value, got none"),
    ],
)
def test_keys_that_do_not_fit_the_guide_are_told(data, change, said):
    data["guide"] = {key: value for key, value in {**data["guide"], **change}.items() if value is not ...}
    with pytest.raises(ConfigError) as error:
        parse_config(data)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("side", "value", "said"),
    [
        ("low", ..., "guide.measures.1.low: expected a value, got none"),
        ("high", [], "guide.measures.1.high: expected at least one prompt, got none"),
    ],
)
def test_a_guide_of_prompts_needs_them(tiny_config, side, value, said):
    data = plain(load_config(tiny_config))
    measure = {**data["guide"]["measures"][1], side: value}
    data["guide"]["measures"][1] = {key: item for key, item in measure.items() if item is not ...}
    with pytest.raises(ConfigError) as error:
        parse_config(data)
    assert str(error.value) == said
