import shutil

import numpy as np
import torch
from torch import nn

from qdgs.clip.encoder import ClipEncoder
from qdgs.parts import load_generator, load_judge
from qdgs.stages.identity import code, identity


class Holder:
    def __init__(self, **values):
        self.__dict__.update(values)


def test_models_of_equal_weights_are_the_same(tiny_config):
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    assert identity(one) != identity(other)
    other.load_state_dict(one.state_dict())
    assert identity(one) == identity(other)
    assert identity(load_generator("patches")) == identity(load_generator("patches"))


def test_settings_and_kinds_count(tiny_config):
    judge = load_judge("pixels")
    before = identity(judge)
    judge.smallest = 0.5
    assert len({before, identity(judge), identity(load_judge("other-pixels"))}) == 3


def test_weights_are_found_within_objects():
    weights = [np.arange(3), torch.arange(3.0), nn.Linear(2, 2), torch.ones(2, dtype=torch.bfloat16)]
    for value in weights:
        held = identity(Holder(inner=Holder(value=value)))
        assert held != identity(Holder(inner=Holder(value=None)))
        assert held == identity(Holder(inner=Holder(value=value)))


def test_objects_that_hold_each_other_end():
    one = Holder()
    one.other = Holder(back=one)
    assert identity(one) == identity(one)


def test_a_clip_is_told_by_weights_and_tokenizer_and_not_by_the_words_it_has_met(
    tiny_clip_folder, other_clip_folder, tmp_path
):
    def loaded(folder):
        return ClipEncoder.load(f"local-dir:{folder}", device="cpu")

    encoder = loaded(tiny_clip_folder)
    before = identity(encoder)
    encoder.encode_text(["an unforeseen word"])
    assert identity(encoder) == before == identity(loaded(tiny_clip_folder))
    assert identity(loaded(other_clip_folder)) != before
    shutil.copytree(tiny_clip_folder, tmp_path / "clip")
    file = tmp_path / "clip" / "open_clip_config.json"
    file.write_text(
        file.read_text().replace(
            '"text_cfg": {', '"text_cfg": {"tokenizer_kwargs": {"clean": "canonicalize"}, '
        )
    )
    other = loaded(tmp_path / "clip")
    other.name = encoder.name
    assert identity(other) != before


def test_code_is_that_of_the_module(tiny_config):
    assert code(load_judge("pixels")) == code(load_judge("other-pixels")) != ""
    assert code(3) == ""
