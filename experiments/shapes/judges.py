"""How right the two judges are: on drawn figures, and on 400 samples labelled from contact sheets.

    python experiments/shapes/judges.py --sheets build/sheets   # the pictures that were labelled
    python experiments/shapes/judges.py --out experiments/shapes/results

`labels.csv` holds what an AI model, not a person, saw: shape (triangle, square, none) and colour (red,
blue, between) of the first 400 samples of stream BANK. The auditor's confusion on them is kept beside its
weights, for the judge-error correction of an audit.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

import qdgs
from qdgs.datasets.drawing import SHAPES, clean_figures, draw, mix_colors

LABELS = Path(__file__).parent / "labels.csv"
CONFUSION = Path(qdgs.__file__).parent / "weights" / "shape-cnn" / "confusion.csv"
SAMPLES, DRAWINGS = 400, 2000
JUDGES = ("shape-geometry", "shape-cnn")


def samples() -> torch.Tensor:
    """The labelled samples `(400, 3, 128, 128)`."""
    generator = qdgs.load_generator("shapes-vae")
    latents = generator.sample_latents(SAMPLES, qdgs.stream(0, qdgs.Stream.BANK))
    return torch.cat(list(qdgs.generate(generator, latents)))


def write_sheets(folder: Path) -> None:
    """Four sheets of a hundred samples, ten a row."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (samples() * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for sheet in range(4):
        rows = pixels[100 * sheet : 100 * sheet + 100].reshape(10, 10, 128, 128, 3)
        framed = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=120)
        Image.fromarray(framed.transpose(0, 2, 1, 3, 4).reshape(1300, 1300, 3)).save(folder / f"{sheet}.png")


def on_drawings(name: str) -> dict[str, float]:
    """Shares read right on clean drawings of random size, turn and place."""
    rng = qdgs.stream(0, qdgs.Stream.DRAWING, 1)
    shape, blue = rng.integers(0, 2, DRAWINGS), rng.integers(0, 2, DRAWINGS)
    figures = clean_figures(shape, mix_colors(blue), rng)
    parts = (draw(figures[start : start + 200]) for start in range(0, DRAWINGS, 200))
    read = qdgs.judge_batches(qdgs.load_judge(name), parts)
    return {
        "accepted": float(read["accepted"].mean()),
        "shape": float((read["shape"] == np.array(SHAPES)[shape]).mean()),
        "color": float((read["color"] == np.array(["red", "blue"])[blue]).mean()),
    }


def on_samples(name: str, images: torch.Tensor, seen: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Agreement with the eye by group, and counts of what was read by what was seen."""
    read = qdgs.judge_batches(qdgs.load_judge(name), images.split(100))
    whole = (seen["shape"] != "none").to_numpy()
    seen = seen.assign(
        accepted=read["accepted"].to_numpy() == whole,
        shape_right=(read["shape"] == seen["shape"]).to_numpy() & read["accepted"].to_numpy(),
        color_right=(read["color"] == seen["color"]).to_numpy(),
    )
    group = seen["color"] + "/" + seen["shape"]
    rows = seen.groupby(group.where(whole, "no whole figure"))
    table = rows[["accepted", "shape_right", "color_right"]].mean().assign(count=rows.size())
    known = whole & seen["color"].isin(["red", "blue"]).to_numpy() & read["accepted"].to_numpy()
    both = pd.DataFrame(
        {
            "color": seen["color"],
            "color_read": read["color"],
            "shape": seen["shape"],
            "shape_read": read["shape"],
        }
    )
    counts = both[known].groupby(list(both)).size().rename("count").reset_index()
    return table.reset_index(names="seen").assign(judge=name), counts


def main() -> None:
    """Sheets to label, or the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.sheets:
        write_sheets(args.sheets)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        drawings = pd.DataFrame([{"judge": name, **on_drawings(name)} for name in JUDGES])
        drawings.to_csv(args.out / "judges_on_drawings.csv", index=False)
        seen, images = pd.read_csv(LABELS, keep_default_na=False), samples()
        found = [on_samples(name, images, seen) for name in JUDGES]
        tables = pd.concat([table for table, _ in found])
        tables.to_csv(args.out / "judges_on_samples.csv", index=False)
        found[JUDGES.index("shape-cnn")][1].to_csv(CONFUSION, index=False)
        print(drawings.to_string(index=False), tables.to_string(index=False), sep="\n\n")


if __name__ == "__main__":
    main()
