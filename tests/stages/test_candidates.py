import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.datasets.manifest import latents_of
from qdgs.generators.stored import as_stored
from qdgs.parts import load_generator, load_judge
from qdgs.stages.candidates import Candidates, rescorer
from qdgs.stages.flatten import open_bank
from qdgs.stages.scoring import load_scorer
from qdgs.stages.search import Settled


@pytest.fixture
def reservoir(finished):
    return pd.read_parquet(finished.path / "search/reservoir.parquet")


def test_a_latent_that_does_not_move_keeps_what_the_search_gave_it(finished, reservoir):
    scorer, settled = load_scorer(finished, device="cpu"), Settled.of(finished)
    rescore = rescorer(scorer, settled.calibration.scale, micro_batch=64, device="cpu")
    told = rescore(reservoir)
    assert settled.calibration.scale is not None
    for column in ("objective", "color", "edges"):
        np.testing.assert_allclose(told[column], reservoir[column], rtol=1e-4, atol=1e-4)
    raw = rescorer(scorer, None, micro_batch=64, device="cpu")(reservoir)
    assert not np.allclose(raw["objective"], told["objective"])


def test_candidates_are_judged_and_embedded_as_they_would_be_stored(finished, reservoir):
    generator, gate = load_generator("patches"), load_judge("pixels")
    gate.smallest = 0.3
    embedding = open_bank(finished, load_scorer(finished, device="cpu"), device="cpu").embedding()
    candidates = Candidates(generator, embedding, gate, micro_batch=16, device="cpu")
    rows = reservoir.iloc[:20]
    with torch.no_grad():
        images = as_stored(generator(latents_of(rows)))
    torch.testing.assert_close(candidates.images(rows), images)
    accepted = gate.judge(images)["accepted"].to_numpy(bool)
    assert 0 < accepted.sum() < 20
    assert (candidates.are_whole(rows) == accepted).all()
    assert (candidates.accept(rows) == accepted).all()
    expected = embedding.transform(images)
    np.testing.assert_allclose(candidates.embed(rows[accepted]), expected[accepted], atol=1e-5)
