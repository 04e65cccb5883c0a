import json
from pathlib import Path

import pytest
import yaml

from qdgs.cli import run_command
from qdgs.config import parse_config
from qdgs.errors import ConfigError, InputError
from qdgs.schema import KINDS, schema
from qdgs.starter import STARTER

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install 'qdgs[dev]'")
CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def wrong(data, kind="run"):
    return [error.message for error in jsonschema.Draft202012Validator(schema(kind)).iter_errors(data)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_schema(kind):
    jsonschema.Draft202012Validator.check_schema(schema(kind))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configurations_that_hold_pass(path):
    data = yaml.safe_load(path.read_text())
    assert wrong(data, data.get("kind", "run")) == []


@pytest.mark.parametrize(
    "change",
    [
        {"generator": "shapes-vae"},
        {
            "judges": {
                "auditor": {"color": "shape-cnn", "shape": {"name": "shape-cnn"}},
                "gate": "shape-geometry",
            }
        },
        {"seed": 3},
    ],
)
def test_what_is_written_shorter_passes_both(change):
    data = {**yaml.safe_load(STARTER), **change}
    parse_config(data)
    assert wrong(data) == []


@pytest.mark.parametrize(
    "change",
    [
        {"serch": {}},
        {"seed": "one"},
        {"seed": -1},
        {"generator": 3},
        {"search": {"algorithm": "cma"}},
        {"search": {"emitters": 0}},
        {"dataset": {"images": 10}},
        {"judges": {"audit": "shape-cnn"}},
    ],
)
def test_what_does_not_hold_passes_neither(change):
    data = {**yaml.safe_load(STARTER), **change}
    with pytest.raises(ConfigError):
        parse_config(data)
    assert wrong(data)


def test_the_command_prints_or_writes_it_and_knows_its_kinds(tmp_path, capfd):
    assert run_command(["schema"]) == 0
    assert json.loads(capfd.readouterr().out) == schema("run")
    assert run_command(["schema", "compare", "--out", str(tmp_path / "compare.json")]) == 0
    assert "yaml-language-server" in capfd.readouterr().out
    assert json.loads((tmp_path / "compare.json").read_text()) == schema("compare")
    with pytest.raises(InputError, match="KIND: unknown 'runs'; did you mean 'run'"):
        schema("runs")
