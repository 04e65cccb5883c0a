"""What README.md and the pages of docs/ show exists."""

import ast
import re
from pathlib import Path

import pytest
import torch
import yaml
from typer.main import get_command

import qdgs
from qdgs.cli import app
from qdgs.config import GuideConfig, parse_config
from qdgs.judges.own import check_rows
from qdgs.overrides import override
from qdgs.stages.scoring import check_fit
from qdgs.starter import STARTER

ROOT = Path(__file__).parents[1]
SMALL = (
    "search={algorithm: cma_mae, emitters: 2, batch_size: 16, evaluations: 160, range_samples: 64, "
    "prior_starts: 64}",
    "dataset.images=8",
    "dataset.on_shortage=accept",
    "dataset.quality_floor=0",
    "audit.samples=64",
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def shown():
    """Every line of a shell block, and every code span."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return lines + re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    )


def commands():
    found = [re.match(r"(?:\S*/)?qdgs ([a-z][a-z-]*)(.*)", text) for text in shown()]
    return sorted({(match[1], match[2].partition("#")[0]) for match in found if match})


def names(tree):
    """Dotted names of qdgs that a program uses."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "qdgs"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        linked = page.parent / target if target else page
        assert linked.exists()
        headings = re.findall(r"^#+ (.*)$", linked.read_text(), flags=re.MULTILINE) if anchor else []
        assert not anchor or anchor in {
            re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings
        }


def test_there_is_something_to_check():
    assert blocks("python")
    assert {"run", "init", "check", "list", "resume"} <= {name for name, _ in commands()}


@pytest.mark.parametrize("block", blocks("python"))
def test_python_compiles_and_uses_public_names(block):
    tree = ast.parse(block)
    assert names(tree) <= set(qdgs.__all__)


def test_a_generator_of_ones_own_is_fifteen_lines_and_makes_a_whole_run(tmp_path, monkeypatch):
    (block,) = (block for block in blocks("python") if "GENERATORS" in block)
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    monkeypatch.setenv("QDGS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(qdgs.GENERATORS, "figures", None)  # forgotten afterwards
    config = qdgs.load_config(ROOT / "configs" / "shapes.yaml", SMALL)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "shapes.yaml").write_text(qdgs.dump_config(config))
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    run = qdgs.Run.open(tmp_path / "RUN")
    assert run.finished("export")
    assert run.summary["images"] >= 4
    assert run.summary["label_agreement"] > 0.5


def test_a_guide_and_a_judge_of_ones_own_are_taken(monkeypatch):
    (block,) = (block for block in blocks("python") if "JUDGES" in block)
    monkeypatch.setitem(qdgs.GUIDES, "warmth", None)  # forgotten afterwards
    monkeypatch.setitem(qdgs.JUDGES, "thermometer", None)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    guide = qdgs.load_guide(GuideConfig(name="warmth", measures=[{"name": "warmth"}]))
    check_fit(qdgs.load_generator("shapes-vae"), guide)
    objective, measures = guide.score(images)
    assert (objective.shape, measures.shape) == ((6,), (6, 1))
    assert objective.requires_grad
    assert measures.requires_grad
    judge = qdgs.load_judge("thermometer")
    check_rows(judge, images.detach(), "judges.auditor")
    read = judge.judge(images.detach())
    assert list(read["warmth"] == "warm") == [number > 0 for number in measures[:, 0].tolist()]


@pytest.mark.parametrize(("name", "rest"), commands())
def test_a_command_and_its_options_exist(name, rest):
    known = get_command(app).commands
    assert name in known
    options = {option for parameter in known[name].params for option in parameter.opts}
    assert set(re.findall(r"--[a-z]+", rest)) <= options


def test_names_of_qdgs_in_the_text_are_public():
    for name in {match for text in shown() for match in re.findall(r"\bqdgs\.([A-Za-z_]+)", text)}:
        assert name in qdgs.__all__


@pytest.mark.parametrize("block", blocks("yaml"))
def test_a_piece_of_configuration_has_keys_that_exist(block):
    data = yaml.safe_load(STARTER)
    for key, value in yaml.safe_load(block).items():
        for part, inner in value.items():
            override(data, f"{key}.{part}={yaml.safe_dump(inner, default_flow_style=True)}")
    data["dataset"]["label"] = next(iter(data["dataset"]["groups"]))
    parse_config(data)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bconfigs/\S+\.yaml\b", README))))
def test_configurations_that_are_named_exist(target):
    assert (ROOT / target).is_file()
