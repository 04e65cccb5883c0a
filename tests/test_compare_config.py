from pathlib import Path

import pytest
import yaml

from qdgs.checking import check_file
from qdgs.compare_config import dump_compare, load_compare, parse_compare
from qdgs.errors import ConfigError

CONFIG = Path(__file__).parents[1] / "configs" / "comparison-shapes.yaml"


def test_a_dumped_configuration_reads_to_an_equal_one(tmp_path):
    config = load_compare(CONFIG, ["methods.0={name: random, as: chance}"])
    path = tmp_path / "config.yaml"
    path.write_text(dump_compare(config))
    assert load_compare(path) == config
    assert config.methods[0].title == "chance"


def test_keys_of_the_run_are_overridden_below_it():
    config = load_compare(CONFIG, ["run.search.evaluations=4000", "seeds=1"])
    assert config.run.search.evaluations == 4000
    assert list(config.every_seed) == [0]


def test_quick_takes_tiny_sizes_and_an_override_still_counts():
    config = load_compare(CONFIG, ["images=80"], quick=True)
    assert config.quick
    assert config.images == 80
    assert config.downstream.epochs == 2
    assert config.data.bias == 0.98


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("methods=[random, random]", "methods: expected different names, got 'random' twice; add `as: NAME`"),
        ("methods=[{name: random, as: drawn}]", "methods: 'drawn' is the name of a downstream arm"),
        ("methods=[]", "methods: expected at least 1 of them"),
        ("run.dataset.groups={edges: {cut: 0.0, low: triangle, high: square, audit: shape}}", "downstream: "),
        ("data=null", "data: expected images to train and test classifiers on, got none"),
        ("data.path=faces", "data.path: expected no path of shapes that are drawn, got faces"),
        (
            "data.attributes={color: {column: hue, values: {red: warm}}}",
            "data.attributes: expected none of shapes",
        ),
        ("data.source=celeba", "data.path: expected the folder of the images, got none"),
        ("downstream.last=31", "downstream.last: expected at most the epochs there are, got 31"),
        ("downstream.arms=[ceiling]", "downstream.arms.0: unknown 'ceiling'"),
        ("endpoints.0.method=qdsg", "endpoints: unknown method 'qdsg'; did you mean 'qdgs'"),
        ("run.judges.gate=null", "run.judges"),
        ("seeds=0", "seeds: expected an integer of at least 1, got 0"),
        ("seedz=2", "seedz: unknown key; did you mean 'seeds'"),
        ("run.dataset.images=0", "run.dataset.images: expected an integer of at least 1, got 0"),
    ],
)
def test_a_mistake_is_one_sentence_at_its_place(override, sentence):
    overrides = [override, "run.judges.teacher=null"] if override == "run.judges.gate=null" else [override]
    with pytest.raises(ConfigError, match=sentence.replace("[", r"\[")) as told:
        load_compare(CONFIG, overrides)
    assert "\n" not in str(told.value)


def test_a_folder_of_images_has_no_arm_of_drawings():
    drawn = load_compare(CONFIG)
    folder = load_compare(CONFIG, ["data.source=celeba", "data.path=faces"])
    assert set(drawn.arms) - set(folder.arms) == {"drawn"}
    assert load_compare(CONFIG, ["downstream=null"]).arms == []


def test_a_run_is_not_a_comparison():
    with pytest.raises(ConfigError, match="expected kind: compare, got run"):
        load_compare(CONFIG.with_name("shapes.yaml"))
    with pytest.raises(ConfigError, match="expected a mapping"):
        parse_compare([])
    with pytest.raises(ConfigError, match="run: expected"):
        parse_compare({"kind": "compare", "methods": ["random"]})


def test_check_tells_of_a_comparison_how_many_cells_it_has():
    lines = check_file(CONFIG, ["seeds=2"])
    assert lines[0] == "valid; nothing to fetch"
    config = yaml.safe_load(CONFIG.read_text())
    assert lines[-1] == f"{2 * (len(config['methods']) + 7)} cells"
