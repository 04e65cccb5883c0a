import copy
from pathlib import Path

import pytest
import yaml

from qdgs.cli import INPUT_IS_WRONG, run_command
from qdgs.config import dump_config, load_config, parse_config
from qdgs.dataset_config import DatasetConfig
from qdgs.errors import ConfigError

SHAPES = Path(__file__).parents[1] / "configs" / "shapes.yaml"
TABLE = "color,edges,count\nred,triangle,1\nred,square,3\nblue,triangle,0\nblue,square,4\n"
SHARES = {"red/triangle": 0.125, "red/square": 0.375, "blue/triangle": 0.0, "blue/square": 0.5}


@pytest.fixture
def folder(tmp_path):
    """A configuration with a census table beside it."""
    data = yaml.safe_load(SHAPES.read_text())
    data["dataset"]["target"] = "census.csv"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/run.yaml").write_text(yaml.safe_dump(data))
    (tmp_path / "config/census.csv").write_text(TABLE)
    return tmp_path / "config"


def configured(**dataset):
    data = copy.deepcopy(yaml.safe_load(SHAPES.read_text()))
    data["dataset"] |= dataset
    return data


def mistake(data):
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as error:
        parse_config(data)
    return str(error.value)


def test_a_table_is_looked_for_beside_the_configuration_that_names_it(folder, tmp_path, monkeypatch):
    for place in (tmp_path, folder):
        monkeypatch.chdir(place)
        assert load_config(folder / "run.yaml").dataset.target == SHARES
        assert load_config((folder / "run.yaml").relative_to(place)).dataset.target == SHARES


def test_a_table_that_an_override_names_is_looked_for_in_the_working_directory(folder, tmp_path, monkeypatch):
    (tmp_path / "other.csv").write_text(TABLE.replace(",4", ",0"))
    monkeypatch.chdir(tmp_path)
    config = load_config(folder / "run.yaml", ["dataset.target=other.csv"])
    assert config.dataset.target == {**SHARES, "red/triangle": 0.25, "red/square": 0.75, "blue/square": 0.0}


def test_the_path_of_a_table_may_be_absolute(folder):
    assert parse_config(configured(target=str(folder / "census.csv"))).dataset.target == SHARES


def test_the_resolved_configuration_repeats_a_run_without_its_table(folder):
    config = load_config(folder / "run.yaml")
    (folder / "resolved.yaml").write_text(dump_config(config))
    (folder / "census.csv").unlink()
    assert load_config(folder / "resolved.yaml") == config


def test_a_mistake_in_a_table_is_one_sentence_and_exit_code_2(folder, capsys):
    (folder / "census.csv").write_text(TABLE.replace("red,square,3\n", ""))
    assert run_command(["check", str(folder / "run.yaml")]) == INPUT_IS_WRONG
    told = capsys.readouterr().err.strip()
    assert "\n" not in told
    assert f"dataset.target: {folder / 'census.csv'}: expected a row for each of 4 groups" in told
    assert "got none for 'red/square'; give it a count of 0" in told


def test_without_groups_that_hold_a_table_is_not_read():
    assert mistake(configured(target="none.csv", groups=3)).startswith("dataset.groups: expected a mapping")


def test_what_is_not_named_is_as_it_was():
    dataset = parse_config(configured()).dataset
    assert (dataset.identities, dataset.balance, dataset.layout) == (None, {}, "label")
    assert dataset.per_latent == 1


def test_identities_have_the_published_defaults():
    identities = parse_config(configured(identities={})).dataset.identities
    assert (identities.count, identities.images, identities.offset) == ("auto", 9, 0.2)
    assert parse_config(configured(identities={"images": 4})).dataset.per_latent == 4


@pytest.mark.parametrize(
    ("dataset", "start"),
    [
        ({"layout": "identity"}, "dataset.layout: expected dataset.identities where images are laid out by"),
        ({"layout": "identities"}, "dataset.layout: expected 'label' or 'identity', got 'identities'"),
        ({"identities": 3}, "dataset.identities: expected a mapping, got 3"),
        ({"identities": {"count": 0}}, "dataset.identities.count: expected 'auto' or an integer of at least"),
        ({"identities": {"images": 0}}, "dataset.identities.images: expected an integer of at least 1, got"),
        ({"identities": {"offset": 0}}, "dataset.identities.offset: expected a number above 0, got 0"),
        ({"identities": {"ofset": 1}}, "dataset.identities.ofset: unknown key; did you mean 'offset'?"),
        ({"balance": []}, "dataset.balance: expected a mapping, got []"),
        ({"balance": {"quality": {"bins": 1}}}, "dataset.balance.quality.bins: expected an integer of at le"),
        ({"balance": {"quality": {"judge": "auditor"}}}, "dataset.balance.quality.judge: expected 'teacher'"),
        ({"balance": {"color": {}}}, "dataset.balance.color: expected something that makes no groups, got w"),
        ({"balance": {"shape_score": {}}}, "dataset.balance.shape_score: expected something that makes no "),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_place(dataset, start):
    assert mistake(configured(**dataset)).startswith(start)


@pytest.mark.parametrize(
    ("judges", "role", "told"),
    [
        ({"teacher": "a"}, "teacher", None),
        ({"gate": "a"}, "teacher", None),
        ({"gate": "a"}, "gate", None),
        ({"teacher": "a"}, "gate", "expected a judge in the role of gate, got none; name it in judges"),
        ({"auditor": "a"}, "teacher", "expected a judge in the role of teacher, got none; name it in judges"),
    ],
)
def test_a_nuisance_is_read_by_a_judge_that_steers(judges, role, told):
    data = configured(balance={"quality": {"judge": role}}) | {"judges": judges}
    if told is None:
        assert parse_config(data).judges.reader(role).name == "a"
    else:
        assert mistake(data) == f"dataset.balance.quality.judge: {told}"


def test_a_measure_may_not_have_the_name_of_a_column_of_identities():
    data = configured(identities={})
    data["guide"]["measures"][2]["name"] = "offset"
    assert mistake(data).startswith("guide.measures: 'offset' is a column of images with identities")
    assert parse_config({**data, "dataset": configured()["dataset"]})


def test_a_dataset_alone_reads_its_table_too(folder):
    groups = {"color": {"low": "red", "high": "blue"}, "edges": {"low": "triangle", "high": "square"}}
    dataset = DatasetConfig(label="color", groups=groups, target=str(folder / "census.csv"))
    assert dataset.target == SHARES
