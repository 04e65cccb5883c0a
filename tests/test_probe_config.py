from pathlib import Path

import pytest
import yaml

from qdgs.checking import check_file
from qdgs.errors import ConfigError
from qdgs.probe_config import dump_probe, load_probe, parse_probe

CONFIGS = Path(__file__).parents[1] / "configs"
SHAPES = CONFIGS / "shapes.yaml"


def test_a_dumped_configuration_reads_to_an_equal_one(tmp_path):
    config = load_probe("model.pt", guide=SHAPES, overrides=["samples.images=80"])
    path = tmp_path / "config.yaml"
    path.write_text(dump_probe(config))
    assert load_probe(str(path)) == config


def test_the_label_of_the_run_is_what_a_classifier_is_to_tell():
    config = load_probe("model.pt", guide=SHAPES)
    assert (config.answers, config.attributes, config.causes) == (
        "shape",
        ("color", "shape", "size"),
        ("color", "size"),
    )
    detector = load_probe("model.pt", guide=SHAPES, overrides=["model.task=detector"])
    assert (detector.answers, detector.causes) == (None, ("color", "shape", "size"))


def test_the_embedded_guide_needs_no_configuration():
    config = load_probe("model.pt", guide="qdgs-mini", generator="shapes-vae")
    assert config.run.guide.clip.model == "qdgs-mini"
    assert config.attributes == ("color", "shape")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("probe-*.yaml")), ids=lambda path: path.stem)
def test_configurations_of_the_house_hold(path):
    assert load_probe(str(path)).kind == "probe"


def test_a_judge_is_not_probed_by_itself(tmp_path):
    data = {"kind": "probe", "run": str(SHAPES.resolve()), "model": {"judge": "shape-cnn"}}
    path = tmp_path / "probe.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match="expected a model that is no judge, got 'shape-cnn'"):
        load_probe(str(path))
    path.write_text(yaml.safe_dump({**data, "judges": {"gate": "shape-geometry"}}))
    assert load_probe(str(path)).run.judges.auditor is None
    assert check_file(path) == ["valid; nothing to fetch"]


def test_a_model_on_the_command_line_takes_the_place_of_the_file_s(tmp_path):
    path = tmp_path / "probe.yaml"
    data = {
        "kind": "probe",
        "run": str(SHAPES.resolve()),
        "model": {"path": "one.pt", "outputs": "probabilities"},
    }
    path.write_text(yaml.safe_dump(data))
    config = load_probe("package.module:factory", guide=path)
    assert (config.model.path, config.model.target) == (None, "package.module:factory")
    assert config.model.outputs == "probabilities"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.answers=shap", "model.answers: unknown attribute 'shap'; did you mean 'shape'?"),
        ("samples.attributes=[colour]", "samples.attributes: unknown 'colour'; did you mean 'color'?"),
        ("samples.images=0", "samples.images: expected an integer of at least 8, got 0"),
        ("model.task=classifer", "model.task: unknown 'classifer'; did you mean 'classifier'?"),
        ("model.target=a:b", "model: expected one of path, target and judge, got path and target"),
        ("findings.margin=2", "findings.margin: expected a number below 1, got 2"),
        ("pairs.methd=auto", "pairs.methd: unknown key; did you mean 'method'?"),
        ("model.values=[one]", "model.values: expected at least two, got 1"),
        ("model.options.gain=1", "model.options: expected none, as they are handed to a target"),
    ],
)
def test_what_does_not_hold_is_said_in_one_sentence(override, sentence):
    with pytest.raises(ConfigError, match="^" + sentence.replace("?", r"\?").replace("(", r"\(")):
        load_probe("model.pt", guide=SHAPES, overrides=[override])


def test_other_kinds_of_configuration_are_refused():
    with pytest.raises(ConfigError, match="expected kind: probe or run, got compare"):
        load_probe("model.pt", guide=CONFIGS / "comparison-shapes.yaml")
    with pytest.raises(ConfigError, match="expected a mapping of keys to values, got list"):
        parse_probe([])


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        (
            "model.values=[triangle, triangle, square]",
            "every answer and every column once, got 'triangle' twice",
        ),
        ("model.values={triangle: 0, square: 0}", "every answer and every column once, got 0 twice"),
        (
            "model.values={triangle: [0, 1], square: [2, 1]}",
            "every answer and every column once, got 1 twice",
        ),
        ("model.values={triangle: [], square: 1}", "model.values"),
        ("model.std=[0.5, 0.5, 0]", "model.std"),
        ("model.range=[1, 1]", r"model.range: expected the lower end first, got \[1.0, 1.0\]"),
    ],
)
def test_what_no_model_can_mean_is_refused(assignment, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_probe("model.pt", guide=SHAPES, overrides=[assignment])
