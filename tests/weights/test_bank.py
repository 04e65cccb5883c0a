import json
from hashlib import sha256

import pytest

from qdgs.config import load_config
from qdgs.parts import load_generator, load_guide, load_judge
from qdgs.stages import bank, judged_bank
from qdgs.stages.scoring import Scorer


def refuse(*_):
    raise AssertionError("the shipped bank is out of date: run experiments/weights/bank.py")


def test_the_shipped_bank_is_that_of_the_ready_made_task(tmp_path, monkeypatch, request):
    config = load_config(request.config.rootpath / "configs" / "shapes.yaml")
    generator = load_generator(config.generator)
    samples = bank.Bank(
        generator,
        samples=config.audit.samples,
        micro_batch=config.search.micro_batch,
        folder=tmp_path,
    )
    monkeypatch.setattr(bank, "generate_quickly", refuse)
    assert samples.embeddings().shape == (config.audit.samples, 50)
    for named in (config.judges.teacher, config.judges.auditor):
        assert len(samples.judged(load_judge(named))) == config.audit.samples
    scorer = Scorer(generator, load_guide(config.guide), seed=config.seed)
    assert len(samples.scored(scorer)) == config.audit.samples
    assert not list(tmp_path.iterdir())


def test_the_card_describes_the_files_that_lie_beside_it():
    card = json.loads((bank.SHIPPED / "card.json").read_text())
    files = {path.name: sha256(path.read_bytes()).hexdigest() for path in bank.SHIPPED.iterdir()}
    assert files.pop("card.json")
    assert card["sha256"] == files


def test_what_the_shipped_bank_lacks_is_made(tmp_path, monkeypatch):
    generator = load_generator("shapes-vae")
    monkeypatch.setattr(bank, "generate_quickly", refuse)
    with pytest.raises(AssertionError, match="out of date"):
        bank.Bank(generator, samples=64, micro_batch=64, folder=tmp_path).embeddings()


def test_at_most_a_tenth_of_what_the_gate_accepts_is_of_the_rare_groups(tmp_path, request):
    config = load_config(request.config.rootpath / "configs" / "shapes.yaml")
    samples = bank.Bank(
        load_generator(config.generator),
        samples=config.audit.samples,
        micro_batch=config.search.micro_batch,
        folder=tmp_path,
    )
    read = samples.judged(load_judge(config.judges.gate))
    whole = read[read["accepted"]]
    rare = (whole["color"] == "red") & (whole["shape"] == "square")
    rare |= (whole["color"] == "blue") & (whole["shape"] == "triangle")
    assert 0.4 <= len(whole) / len(read) <= 0.8
    assert rare.mean() <= 0.1


@pytest.mark.skipif(not (judged_bank.SHIPPED / "card.json").is_file(), reason="no bank of faces is shipped")
def test_the_shipped_bank_of_faces_is_that_of_the_judges_of_faces():
    pytest.importorskip("dlib")
    shipped = judged_bank.JudgedBank.open()
    generator = load_generator("dcgan-digiface")
    assert len(shipped) == 60_000
    for name, key in shipped.card["keys"].items():
        assert judged_bank.sample_key(generator, load_judge(name)) == key, (
            "run experiments/weights/faces_bank.py"
        )
        assert len(shipped.judged(name)) == len(shipped)
