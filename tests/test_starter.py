import os
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from qdgs.cli import app, run_command
from qdgs.config import load_config
from qdgs.errors import InputError
from qdgs.starter import Wishes, parse_difference, starter_of

AGE = 'age: A young person. | An old person\'s "face".'


def test_flags_make_a_configuration_that_holds(tmp_path):
    path = tmp_path / "mine.yaml"
    command = [
        "init",
        path,
        "--generator",
        "dcgan-digiface",
        "--good",
        "A photo of a person.",
        "--bad",
        "A blur: #1",
    ]
    command += ["--measure", AGE, "--measure", "hair: short | long", "--label", "hair", "--images", 50]
    assert run_command([str(part) for part in command]) == 0
    config = load_config(path)
    assert config.generator.name == "dcgan-digiface"
    assert config.guide.clip.model == "ViT-B-32"
    assert config.guide.clip.pretrained == "openai"
    assert config.guide.objective.negative == ["A blur: #1"]
    assert config.guide.measures[0].high == ['An old person\'s "face".']
    assert config.dataset.label == "hair"
    assert config.dataset.images == 50
    assert config.dataset.groups["age"].names == ("age-low", "age-high")
    assert path.read_text().count("#") > 5


def test_answers_make_the_same_as_flags(tmp_path):
    said = ["dcgan-digiface", "A photo of a person.", "", "age", "A young person.", "An old person.", "y"]
    answers = "\n".join([*said, "hair", "short", "long", "n", ""])
    asked = CliRunner().invoke(app, ["init", str(tmp_path / "asked.yaml"), "--ask"], input=answers)
    assert asked.exit_code == 0
    wishes = ["--generator", "dcgan-digiface", "--good", "A photo of a person."]
    measures = ["--measure", "age: A young person. | An old person.", "--measure", "hair: short | long"]
    assert run_command(["init", str(tmp_path / "told.yaml"), *wishes, *measures]) == 0
    assert (tmp_path / "asked.yaml").read_text() == (tmp_path / "told.yaml").read_text()


def test_an_answer_that_does_not_come_is_no_traceback(tmp_path, capfd):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from qdgs.cli import main; main()",
            "init",
            str(tmp_path / "a.yaml"),
            "--ask",
        ],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--good", "x"], "expected --good and --measure"),
        (["--good", "x", "--measure", "age: young"], "--measure: expected 'NAME: LOW PROMPT | HIGH PROMPT'"),
        (["--good", "x", "--measure", AGE, "--label", "ages"], "--label: expected one of age, got 'ages'"),
        (["--good", "x", "--measure", "objective: a | b"], "is the name of a column"),
        (["--good", "x", "--measure", "age: a | a"], "expected different prompts"),
    ],
)
def test_flags_that_make_no_configuration_are_one_sentence_and_write_nothing(
    tmp_path, capfd, arguments, said
):
    path = tmp_path / "mine.yaml"
    assert run_command(["init", str(path), *arguments]) == 2
    told = capfd.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize("text", ["age", "age: one", "2age: a | b", "age: a | b | c", ": a | b"])
def test_a_difference_of_another_form_is_refused(text):
    with pytest.raises(InputError, match="--measure"):
        parse_difference(text)


def test_whatever_is_said_is_quoted_as_yaml_wants_it():
    words = ["a: b", "- x", "'", '"', "# no comment", "שלום 😀", "{}", "null", "yes"]
    text = starter_of(Wishes("shapes-vae", words, [parse_difference("a1: {low} | [high]")], ["no"]))
    data = yaml.safe_load(text)
    assert data["guide"]["objective"]["positive"] == words
    assert data["guide"]["measures"][0]["low"] == ["{low}"]


def test_the_shell_completes_commands():
    environment = {
        **os.environ,
        "_QDGS_COMPLETE": "complete_bash",
        "COMP_WORDS": "qdgs re",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from qdgs.cli import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(done.stdout.split()) == {"report", "resume", "render", "recognition"}
