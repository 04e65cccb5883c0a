"""One self-contained page of a run: what was missing, what was made, and an archive to explore."""

import base64
from hashlib import sha256
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from qdgs.config import RunConfig, load_config
from qdgs.datasets.gaps import together
from qdgs.errors import InputError
from qdgs.fairness.certificate import certificate_sentences, labeller
from qdgs.files import write_text
from qdgs.generators.base import Generator
from qdgs.parts import judges_shared
from qdgs.report.curves import learning_curves
from qdgs.report.exhibits import Exhibits, Progress, exhibits
from qdgs.report.groups import group_shares
from qdgs.report.numbers import entries, warnings_of
from qdgs.report.pictures import drawings, shares_in_words
from qdgs.report.run_files import Renderer, RunFiles
from qdgs.report.story import absences, facts, group_stories
from qdgs.report.style import NARROW, WIDE, percent, save
from qdgs.report.top_up import top_up_bars
from qdgs.report.vector import as_svg

ROLES = {
    "teacher": "its labels taught the guide or placed the cut points",
    "gate": "it saw the quality of candidates, never a group, and kept the bad ones out",
    "auditor": "it graded the dataset and held no other role",
}
SCRIPTS = ("sprites.js", "archive.js", "explorer.js", "opinions.js", "labelling.js", "start.js")


def report(
    run: Path,
    generator: Generator | None = None,
    *,
    device: torch.device | str = "cpu",
    config: RunConfig | None = None,
    progress: Progress | None = None,
) -> Path:
    """Draw every picture that a run's files permit into figures/, and write report.html.

    The page holds its pictures and scripts and asks the network for nothing. A run that stopped halfway
    gives a page of what is there, which says what is not.

    Args:
        run: The run folder.
        generator: Renders random samples and elites; without it the pictures that need these are left
            out, or show images of the dataset.
        device: Where the generator works.
        config: What config.yaml says, where that is not of a run (a merged dataset).
        progress: Told of the figures that are drawn, then of the pictures that are packed.

    Returns:
        The path of the page.

    Raises:
        InputError: The folder holds no run.
        CorruptFileError: A file of it is damaged.
    """
    if not (run / "config.yaml").exists():
        raise InputError(f"{run}: expected a run folder with a config.yaml, got none; start with qdgs run")
    config = config or load_config(run / "config.yaml")
    files = RunFiles.read(run, config)
    render = None if generator is None else Renderer(generator, device)
    _draw(files, render, progress)
    page = run / "report.html"
    write_text(page, _html(files, exhibits(files, render, progress)))
    return page


def _draw(files: RunFiles, render: Renderer | None, progress: Progress | None) -> None:
    waiting = drawings(files, render)
    for done, draw in enumerate(waiting, start=1):
        picture = draw()
        save(picture.figure, files.folder / "figures" / picture.file)
        if progress is not None:
            progress("figures", done, len(waiting))


def environment() -> Environment:
    """Where the templates of pages are made, everything escaped."""
    made = Environment(
        loader=PackageLoader("qdgs.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": lambda share: _unbroken(percent(share)),
        "unbroken": _unbroken,
        "group": lambda name: str(name).replace("/", " · "),
    }
    return made


def page_style() -> Markup:
    """The style of all pages."""
    return Markup(_asset("page.css"))


def _html(files: RunFiles, shown: Exhibits) -> str:
    script = Markup("\n".join(_asset(name) for name in SCRIPTS))
    context = {
        **_summary(files),
        **_groups(files, shown),
        **_opinions(shown),
        "name": files.folder.resolve().name,
        "config": files.config,
        "shown": shown,
        "judges": _judges(files),
        "curves": _curves(files),
        "script": script,
        "script_hash": f"sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}",
        "style": page_style(),
    }
    context["contents"] = _contents(context)
    return environment().get_template("page.html").render(context)


def _summary(files: RunFiles) -> dict[str, Any]:
    shared = bool(judges_shared(files.config.judges))
    left_out = files.audit.get("diversity", {}).get("left_out", {})
    return {
        "title": _title(files),
        "lede": _lede(files),
        "facts": facts(files.summary),
        "absent": absences(files),
        "warnings": warnings_of(files.summary, shared_judge=shared, left_out=left_out),
        "sections": entries(files.summary),
        "notes": files.audit.get("notes", []),
        "certificate": files.certificate,
        "labeller": labeller(files.certificate or {}),
        "certificate_sentences": certificate_sentences(files.certificate) if files.certificate else [],
    }


def _title(files: RunFiles) -> str:
    measures = list(files.config.dataset.groups)
    over = " and ".join([", ".join(measures[:-1]), measures[-1]] if measures[1:] else measures)
    if files.manifest is None:
        return f"A search over {over}"
    if files.top_up:
        return f"{len(files.manifest):,} images that your set lacked"
    balanced = "balanced" if files.config.dataset.target == "uniform" else "to order"
    runs = f", from {len(files.merged['sources'])} runs" if files.merged else ""
    return f"{len(files.manifest):,} images, {balanced} over {over}{runs}"


def _lede(files: RunFiles) -> str:
    if files.merged:
        sources = files.merged["sources"]
        names = " and ".join(dict.fromkeys(source["generator"] for source in sources))
        by = "as the auditor of the runs read each image" if files.shares is not None else "as they were made"
        return (
            f"Put together from the datasets of {len(sources)} runs of {names}, which took turns within each "
            f"group. Groups are counted {by}."
        )
    made = (
        f"Made with the generator {files.config.generator.name}, which stayed as it is. A guide, which "
        "compares pictures with words, led a search for good images of every group"
    )
    counted = files.shares is not None and not judges_shared(files.config.judges)
    told = "; an auditor, a judge that took no part in the search, counted what came out." if counted else "."
    return made + told


def _groups(files: RunFiles, shown: Exhibits) -> dict[str, Any]:
    stories = group_stories(files)
    words = "" if files.shares is None else shares_in_words(files.shares)
    bars = None
    if files.shares is not None:
        alt = f"Bars of each group's share. {words}"
        bars = {
            width: as_svg(group_shares(files.shares, width=inches), f"bars-{width}", alt)
            for width, inches in (("wide", WIDE), ("narrow", NARROW))
        }
    return {
        "stories": stories,
        "top_up": _top_up(files),
        "merged": files.merged,
        "missing": [story for story in stories if story.missing],
        "bars": bars,
        "random_alt": f". {words}" if words else "",
    }


def _top_up(files: RunFiles) -> dict[str, Any] | None:
    """The images of a user before and after, where the run fills their gaps."""
    if files.top_up is None or files.manifest is None:
        return None
    rows = together(files.top_up, files.manifest, files.config.dataset)
    told = "; ".join(
        f"{row['group']}: {row['there']:,} there, {row['made']:,} made, {percent(row['together'])} of all"
        for row in rows
    )
    bars = {
        width: as_svg(
            top_up_bars(rows, width=inches), f"top-up-{width}", f"Bars of each group's images. {told}"
        )
        for width, inches in (("wide", WIDE), ("narrow", NARROW))
    }
    counts = {key: sum(row[name] for row in rows) for key, name in (("readable", "there"), ("made", "made"))}
    return {**files.top_up, **counts, "rows": rows, "bars": bars}


def _opinions(shown: Exhibits) -> dict[str, Any]:
    """How many images or elites guide and judge do not agree on, where there are such."""
    wrong = {
        kind: int(counts.sum() - np.trace(counts))
        for kind, counts in shown.crossed.items()
        if kind in shown.data and shown.data[kind]["readGroup"] is not None
    }
    wrong = {kind: wrong[kind] for kind in ("images", "elites") if wrong.get(kind)}
    told = {"images": "the dataset's {:,} images", "elites": "the archive's {:,} images that lie in a group"}
    parts = [
        f"{count:,} of {told[kind].format(int(shown.crossed[kind].sum()))}" for kind, count in wrong.items()
    ]
    read = f"The judge reads {' and '.join(parts)} otherwise than they were made, or not at all."
    return {
        "wrong": wrong,
        "first_crossed": next(iter(wrong), None),
        "wrong_sentence": read,
        "unread": any(shown.crossed[kind][:, -1].any() for kind in wrong),
    }


def _curves(files: RunFiles) -> dict[str, Markup] | None:
    if files.metrics is None or files.metrics.empty:
        return None
    last = files.metrics.iloc[-1]
    alt = (
        f"Four curves against evaluations; at the end QD score {last['qd_score']:,.0f}, coverage "
        f"{percent(last['coverage'])}, mean objective {last['objective_mean']:.3g}, "
        f"{percent(last['clipped_fraction'])} outside the measure ranges."
    )
    return {
        "wide": as_svg(learning_curves(files.metrics), "curves-wide", alt),
        "narrow": as_svg(learning_curves(files.metrics, columns=1), "curves-narrow", alt),
    }


def _contents(context: dict[str, Any]) -> list[tuple[str, str]]:
    data = context["shown"].data
    first = next(iter(context["wrong"].values()), 0)
    sections = (
        ("top-up", "Your images", context["top_up"]),
        ("groups", "Groups", context["stories"] or context["shown"].random),
        ("explorer", "Explorer", data.get("elites")),
        ("opinions", f"Wrong images ({first:,})", context["wrong"]),
        ("certificate", "Certificate", context["certificate"] or data.get("labelling")),
        ("numbers", "Numbers", context["sections"] or context["curves"]),
        ("making", "Who did what", True),
    )
    return [(anchor, text) for anchor, text, there in sections if there]


def _judges(files: RunFiles) -> list[tuple[str, str, str]]:
    """Role, name and duty of each judge."""
    judges = files.config.judges
    duties = ROLES if files.shares is not None else {**ROLES, "auditor": "it has not graded anything yet"}
    named = ((role, getattr(judges, role), duty) for role, duty in duties.items())
    shared = judges_shared(judges)
    return [
        (role, judge.who, duty.removesuffix(" and held no other role") if shared else duty)
        for role, judge, duty in named
        if judge is not None
    ]


def _unbroken(value: str) -> str:
    """A value whose unit stays on its line."""
    return value.replace(" ", "\N{NO-BREAK SPACE}")


def _asset(name: str) -> str:
    return resources("qdgs.report").joinpath("assets", name).read_text(encoding="utf-8").strip()
