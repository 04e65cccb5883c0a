import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.config import (
    GroupConfig,
    RunConfig,
    audited_attributes,
    check_out,
    dump_config,
    group_names,
    load_config,
    parse_config,
    target_shares,
)
from qdgs.errors import ConfigError, InputError

SHAPES = Path(__file__).parents[1] / "configs" / "shapes.yaml"
DATA = yaml.safe_load(SHAPES.read_text())


def put(place, value):
    """The shapes configuration with one value replaced; `...` takes the key away."""
    data = copy.deepcopy(DATA)
    *parents, last = (int(part) if part.isdigit() else part for part in place.split("."))
    node = data
    for part in parents:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return data


def mistake(data):
    with pytest.raises(ConfigError) as error:
        parse_config(data)
    return str(error.value)


ONE_LINE = r"^[^\n]*$"
TWO_SIDES = "expected different prompts on the two sides, got 'A blue shape.' on both"
MISTAKES = [
    ("serch", {}, "serch: unknown key; did you mean 'search'? known: audit, dataset, "),
    ("search.emiters", 1, "search.emiters: unknown key; did you mean 'emitters'? known: algorithm, "),
    ("guide.clip.modle", "x", "guide.clip.modle: unknown key; did you mean 'model'? known: model, "),
    ("guide.measures.0.cell", 3, "guide.measures.0.cell: unknown key; did you mean 'cells'?"),
    ("dataset.groups.color.ct", 3, "dataset.groups.color.ct: unknown key; did you mean 'cut'?"),
    ("judges.gates", "x", "judges.gates: unknown key; did you mean 'gate'?"),
    ("generator", ..., "generator: expected a value, got none"),
    ("generator", {}, "generator.name: expected a value, got none"),
    ("generator", None, "generator: expected a mapping, got nothing"),
    ("guide", "x", "guide: expected a mapping, got 'x'"),
    ("guide.measures.1.cells", 0, "guide.measures.1.cells: expected an integer of at least 1, got 0"),
    ("guide.measures.1.cells", 2.5, "guide.measures.1.cells: expected an integer, got 2.5"),
    ("guide.measures.1.cells", True, "guide.measures.1.cells: expected an integer, got true"),
    ("guide.measures.1.range", [1, 0], "guide.measures.1.range: expected low < high, got [1, 0]"),
    ("guide.measures.1.range", [0, 0], "guide.measures.1.range: expected low < high, got [0, 0]"),
    ("guide.measures.1.range", [0], "guide.measures.1.range.1: expected a value, got none"),
    ("guide.measures.1.range", "all", "guide.measures.1.range: expected 'auto' or a pair of numbers, got"),
    ("guide.measures.1.range", [0, float("nan")], "guide.measures.1.range.1: expected a finite number"),
    ("guide.measures.1.name", "a b", "guide.measures.1.name: expected a name of letters, digits and _"),
    ("guide.measures.1.name", "color", "guide.measures: expected distinct names, got 'color' twice"),
    ("guide.measures.1.name", "cell", "guide.measures: 'cell' is the name of a column of the archive"),
    ("guide.measures.0.low", "A blue shape.", f"guide.measures.0: {TWO_SIDES}"),
    ("guide.measures.0.low", ["A blue shape. "], f"guide.measures.0: {TWO_SIDES}"),
    ("guide.objective.negative", DATA["guide"]["objective"]["positive"], "guide.objective: expected diff"),
    ("guide.objective.positive", [""], "guide.objective.positive.0: expected a prompt, got ''"),
    ("guide.objective.positive", " ", "guide.objective.positive.0: expected a prompt, got ' '"),
    ("guide.objective.positive", [3], "guide.objective.positive.0: expected a prompt, got 3"),
    ("guide.objective.positive", [], "guide.objective.positive: expected at least one prompt, got none"),
    ("guide.measures", [], "guide.measures: expected at least 1 of them, got []"),
    ("search.evaluations", 10, "search.evaluations: expected at least one batch of 8 emitters × 32 = 256"),
    ("search.algorithm", "cma_mee", "search.algorithm: unknown 'cma_mee'; did you mean 'cma_me'? known: "),
    ("search.sigma0", -1, "search.sigma0: expected a number above 0, got -1"),
    ("search.learning_rate", 2, "search.learning_rate: expected a number of at most 1, got 2"),
    ("search.restart_rule", 0, "search.restart_rule: expected an integer of at least 1 or 'basic' or"),
    ("search.micro_batch", 4, "search.micro_batch: expected an integer of at least 16, got 4"),
    ("search", None, "search: expected a mapping, got nothing"),
    ("dataset.label", "colour", "dataset.label: unknown group 'colour'; did you mean 'color'? known: "),
    ("dataset.groups", {}, "dataset.groups: expected at least 1 of them, got {}"),
    ("dataset.groups.weight", {}, "dataset.groups: unknown measure 'weight'; known: color, edges"),
    ("dataset.groups.color.cut", "atuo", "dataset.groups.color.cut: expected 'auto', a number or a list"),
    ("dataset.groups.color.cut", [0.1, 0], "dataset.groups.color.cut: expected ascending cut points"),
    ("dataset.groups.color.cut", [0, 0.1], "dataset.groups.color: expected 3 values for 2 cut points"),
    ("dataset.groups.color.gap", -0.1, "dataset.groups.color.gap: expected a number of at least 0, got"),
    ("guide.measures.0.audit", "color", "guide.measures.color.audit: groups are made of this measure; give "),
    ("dataset.groups.color.low", "blue", "dataset.groups.color: expected distinct values, got ['blue',"),
    ("dataset.groups.color.low", "../x", "dataset.groups.color.low: expected a name that can be a folder"),
    ("dataset.target", {"red/square": 0.5}, "dataset.target: expected shares that sum to 1, got 0.5"),
    ("dataset.target", {"red/sqare": 1}, "dataset.target: unknown group 'red/sqare'; did you mean "),
    ("dataset.target", {"red/square": -1}, "dataset.target.red/square: expected a number of at least 0"),
    ("dataset.target", "even", "dataset.target: expected 'uniform' or a mapping, got 'even'"),
    ("dataset.on_shortage", "go", "dataset.on_shortage: expected 'stop' or 'accept', got 'go'"),
    ("judges", {"gate": "a", "auditor": "a"}, "judges: expected an auditor that holds no other role, got"),
    ("judges", {"teacher": "a", "auditor": "a"}, "judges: expected an auditor that holds no other role"),
    ("judges.gate", 3, "judges.gate: expected a mapping, got 3"),
    ("seed", -1, "seed: expected an integer of at least 0, got -1"),
    ("kind", "rn", "kind: expected 'run', got 'rn'"),
    ("workers.count", 2, "workers.count: expected 1 where kind is local, got 2"),
    ("search.ranker", "nov", "search.ranker: unknown 'nov'; known: 2imp, "),
    ("workers.kind", "slurm", "workers.kind: expected 'local' or 'ray', got 'slurm'"),
    ("workers.address", "head:6379", "workers.address: expected local where kind is local, got head:6379"),
    (
        "workers",
        {"kind": "ray", "address": "head"},
        "workers.address: expected HOST:PORT, auto or local",
    ),
    ("workers", {"kind": "ray", "gpus_per_worker": 1.5}, "workers.gpus_per_worker: expected a whole number"),
]


@pytest.mark.parametrize(("place", "value", "start"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_sentence_that_names_the_place(place, value, start):
    sentence = mistake(put(place, value))
    assert sentence.startswith(start)
    assert "\n" not in sentence


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_not_a_mapping_is_refused(data):
    assert mistake(data).startswith("configuration: expected a mapping of keys to values, got ")


def test_a_measure_is_audited_by_what_its_groups_or_itself_name():
    assert audited_attributes(parse_config(DATA)) == {"color": "color", "edges": "shape", "size": "size"}
    assert audited_attributes(parse_config(put("guide.measures.2.audit", ...))) == {
        "color": "color",
        "edges": "shape",
    }


def test_the_same_judge_may_audit_and_gate_when_that_is_said():
    config = parse_config(put("judges", {"gate": "a", "auditor": "a", "shared": True}))
    assert config.judges.shared


def test_a_name_stands_for_a_mapping_with_that_name():
    config = parse_config(put("generator", "shapes-vae"))
    assert config.generator.name == "shapes-vae"
    assert config.generator.options == {}
    assert config.judges.gate is not None
    assert config.judges.gate.name == "shape-geometry"


def test_options_of_a_named_thing_are_kept():
    config = parse_config(put("generator", {"name": "shapes-vae", "weights": "file"}))
    assert config.generator.options == {"weights": "file"}
    assert load_again(config) == config


def load_again(config: RunConfig) -> RunConfig:
    return parse_config(yaml.safe_load(dump_config(config)))


def test_groups_are_all_combinations_and_uniform_shares_sum_to_one():
    config = parse_config(DATA)
    names = ["red/triangle", "red/square", "blue/triangle", "blue/square"]
    assert group_names(config.dataset.groups) == names
    assert target_shares(config.dataset) == dict.fromkeys(names, 0.25)


def test_groups_that_a_target_leaves_out_get_nothing():
    config = parse_config(put("dataset.target", {"red/square": 0.25, "blue/square": 0.75}))
    assert list(target_shares(config.dataset).values()) == [0.0, 0.25, 0.0, 0.75]


def test_several_cuts_make_several_groups():
    group = GroupConfig(cut=[-0.1, 0.1], values=["20s", "30s", "50s"])
    assert group.names == ("20s", "30s", "50s")
    assert group.cuts == [-0.1, 0.1]


@pytest.mark.parametrize(
    ("assignment", "read"),
    [
        ("search.emitters=3", lambda config: config.search.emitters == 3),
        ("guide.measures.1.cells=7", lambda config: config.guide.measures[1].cells == 7),
        ("guide.measures.0.range=[-0.1, 0.1]", lambda config: config.guide.measures[0].range == (-0.1, 0.1)),
        ("judges.gate.name=other", lambda config: config.judges.gate.name == "other"),
        ("judges.gate=null", lambda config: config.judges.gate is None),
        ("dataset.groups.color.cut=0.02", lambda config: config.dataset.groups["color"].cuts == [0.02]),
    ],
)
def test_an_override_sets_one_key(assignment, read):
    assert read(load_config(SHAPES, [assignment]))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("search.emitters", "--set search.emitters: expected a.b=value"),
        ("=3", "--set =3: expected a.b=value"),
        ("seed.x=3", "--set seed.x=3: seed is not a mapping"),
        ("seed.x.y=3", "--set seed.x.y=3: there is no mapping at 'x'"),
        ("guide.measures.3.cells=3", "expected a position from 0 to 2, got '3'"),
        ("seed=[", "--set seed=[: the value is not YAML"),
        ("search.emiters=3", "search.emiters: unknown key; did you mean 'emitters'?"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(assignment, message):
    with pytest.raises(ConfigError, match=ONE_LINE) as error:
        load_config(SHAPES, [assignment])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "expected a mapping of keys to values, got list"),
        (b"", "expected a mapping of keys to values, got NoneType"),
        (b"a: [1,\nb: 2", "is not YAML: "),
        (b"\xff\xfe\x00x", "is not YAML: "),
        (b"!!python/object:os.system {}", "is not YAML: "),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_by_its_name(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=ONE_LINE) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")


READY_MADE = sorted(SHAPES.parent.glob("*.yaml"))
RUNS = [path for path in READY_MADE if yaml.safe_load(path.read_text())["kind"] == "run"]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_ready_made_configuration_holds_and_survives_yaml(path):
    config = load_config(path)
    assert load_again(config) == config


PLACES = [place for place, _, _ in MISTAKES if place not in ("serch", "judges.gates", "search.emiters")]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=200)
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_anywhere_is_either_valid_or_told_in_one_line(place, value):
    sentence, config = "", None
    try:
        config = parse_config(put(place, value))
    except ConfigError as error:
        sentence = str(error)
    assert (load_again(config) == config) if config else sentence
    assert "\n" not in sentence


def test_an_automatic_cut_makes_as_many_groups_as_there_are_values():
    path = Path(__file__).parents[1] / "configs" / "faces.yaml"
    config = load_config(path)
    assert config.dataset.groups["lightness"].cuts is None
    assert len(group_names(config.dataset.groups)) == 12
    with pytest.raises(ConfigError, match="expected 2 values for 1 cut points"):
        load_config(path, ["dataset.groups.lightness.values=[dark]"])


@pytest.mark.parametrize("name", ["faces.yaml", "faces-paper.yaml"])
def test_a_map_of_judges_is_read_back_as_it_was_written(name):
    config = load_config(Path(__file__).parents[1] / "configs" / name)
    assert parse_config(yaml.safe_load(dump_config(config))) == config
    assert config.judges.auditor.root["age"].name == "faces-xception"


@pytest.mark.parametrize(
    ("judges", "message"),
    [
        ({"auditor": {}}, "judges.auditor: expected at least 1 of them, got {}"),
        ({"auditor": {"age": 3}}, "judges.auditor.age: expected a mapping, got 3"),
        ({"teacher": {"age": {"nam": "x"}}}, "judges.teacher.age.name: expected a value, got none"),
        ({"gate": {"age": "x"}}, "judges.gate.name: expected a value, got none"),
    ],
)
def test_a_mistake_in_a_map_of_judges_is_told_at_its_attribute(judges, message):
    with pytest.raises(ConfigError) as error:
        parse_config(put("judges", judges))
    assert str(error.value) == message


def test_a_folder_of_a_command_is_new_or_of_its_kind(tmp_path):
    check_out(tmp_path / "new", "probe", "probe")
    check_out(tmp_path, "probe", "probe")
    (tmp_path / "config.yaml").write_text("kind: probe\n")
    check_out(tmp_path, "probe", "probe")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.yaml", "kind: compare\n", "expected the folder of a probe, got that of a compare"),
        ("config.yaml", "seed: 3\n", "expected the folder of a probe, got that of a run"),
        ("config.yaml", "a: [\n", "is not YAML"),
        ("notes.txt", "", "expected a new or empty folder, got one with files"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        check_out(tmp_path, "probe", "probe")
