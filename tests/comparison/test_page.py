import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
import yaml

from qdgs.cli import run_command
from qdgs.compare_metrics import COSTS, SHOWN
from qdgs.comparison.meanings import TABLES
from qdgs.comparison.page import report_comparison
from qdgs.report.comparison import methods_figure


class Tables(HTMLParser):
    """Rows of cells of every table, and the alternative texts of pictures."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.pictures, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("img", "svg"):
            self.pictures.append(dict(attributes).get("alt") or dict(attributes).get("aria-label"))

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


@pytest.fixture
def folder(compared, tmp_path):
    shutil.copytree(compared.path, tmp_path / "out")
    return tmp_path / "out"


def test_every_number_has_its_meaning():
    told = {metric for metrics in TABLES.values() for metric in metrics}
    assert told == {*SHOWN, *COSTS}


def test_a_comparison_ends_in_a_page_with_its_numbers_and_images(compared):
    text = (compared.path / "report.html").read_text()
    page = Tables(text)
    frame = pd.read_csv(compared.path / "comparison.csv")
    shown = frame[(frame["method"] == "qdgs") & (frame["metric"] == "fairness_discrepancy")].iloc[0]
    row = next(row for row in page.rows if row[:1] == ["qdgs"])  # of the first table
    assert row[2].startswith(f"{shown['value']:.3f}")
    assert f"{shown['low']:.3f} to {shown['high']:.3f}" in row[2]
    assert {"random", "latent-mixtures", "paired-latents", "autophagy", "qdgs", "drawn"} <= {
        row[0] for row in page.rows if row
    }
    images = [alt for alt in page.pictures if alt.startswith("The first 16 images of ")]
    assert len(images) == 5
    assert len(page.pictures) == 5 + 2 * 2
    assert "Named in the configuration before anything was run" in page.text
    assert "tiny sizes" in page.text
    without_pictures = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?://|<script", without_pictures)


def test_qdgs_report_writes_the_page_of_a_comparison_again(folder, capfd):
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert run_command(["report", str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == before


def test_a_comparison_that_stopped_halfway_says_what_is_not_there(folder):
    (folder / "cells" / "0" / "qdgs.json").unlink()
    (folder / "cells" / "0" / "random.json").write_text("{")
    (folder / "cells" / "0" / "autophagy.png").unlink()
    page = Tables(report_comparison(folder).read_text())
    assert page.text.count("Its images are not kept") == 1
    assert "missing: 0/random, 0/qdgs" in page.text
    assert not [row for row in page.rows if row[:1] == ["qdgs"]]
    shutil.rmtree(folder / "cells")
    assert "0 of 10 cells" in Tables(report_comparison(folder).read_text()).text


def test_words_of_a_user_are_never_markup(folder):
    data = yaml.safe_load((folder / "config.yaml").read_text())
    data["methods"][0]["as"] = "<script src=x> & 😀"
    (folder / "config.yaml").write_text(yaml.safe_dump(data))
    text = report_comparison(folder).read_text()
    assert "<script>" not in text
    assert "0/<script src=x> & 😀" in Tables(text).text


def test_a_folder_that_is_no_comparison_is_one_sentence(tmp_path, capfd):
    (tmp_path / "config.yaml").write_text("kind: compare\nseed: 0\n")
    assert run_command(["report", str(tmp_path)]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_method_with_several_generators_stands_in_the_figure_with_each(compared, quick):
    frame = pd.read_csv(compared.path / "comparison.csv")
    own = frame[(frame["method"] == "random") & (frame["metric"] == "seconds")].assign(generator="gan")
    figure = methods_figure(pd.concat([frame, own]), quick())
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "random · shapes-vae" in names
