from pathlib import Path

import pytest

from qdgs.errors import ConfigError
from qdgs.recognition_config import dump_recognition, load_recognition, parse_recognition

CONFIGS = Path(__file__).parents[1] / "configs"
FOLDER = {"kind": "recognition", "data": {"folder": "faces"}}


def test_defaults_are_the_published_settings():
    config = parse_recognition(FOLDER)
    schedule = config.training
    assert (config.backbone.name, config.backbone.width, config.backbone.embedding) == ("ir101", 64, 512)
    assert (config.head.name, config.head.margin, config.head.h, config.head.scale) == (
        "adaface",
        0.4,
        0.333,
        64,
    )
    assert (schedule.epochs, schedule.batch_size, schedule.learning_rate) == (26, 64, 0.01)
    assert schedule.milestones == [12, 20, 24]
    augmentation = config.augmentation
    assert {augmentation.low_resolution, augmentation.crop, augmentation.photometric} == {0.2}
    assert config.image_size == 112


@pytest.mark.parametrize("name", ["recognition-quick.yaml", "recognition-paper.yaml"])
def test_a_configuration_is_read_as_it_was_written(tmp_path, name):
    config = load_recognition(CONFIGS / name, ["training.epochs=2", "training.milestones=[1]"])
    (tmp_path / "config.yaml").write_text(dump_recognition(config))
    assert load_recognition(tmp_path / "config.yaml") == config
    assert config.training.epochs == 2


def test_the_configuration_of_the_paper_is_what_the_defaults_are():
    paper = load_recognition(
        CONFIGS / "recognition-paper.yaml", ["training.precision=float32", "training.workers=0"]
    )
    assert paper == parse_recognition({**FOLDER, "data": {"folder": "data/synthetic-identities"}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "run"}, "kind: expected 'recognition', got 'run'"),
        ({"data": {}}, "data: expected either folder or samples, got neither"),
        ({"data": {"folder": "a", "samples": {}}}, "data."),
        ({"head": {"name": "arcfce"}}, "head.name: unknown 'arcfce'; did you mean 'arcface'?"),
        ({"image_size": 100}, "image_size: expected "),
        ({"training": {"milestones": [5, 2]}}, "training.milestones: expected ascending epochs, got [5, 2]"),
        ({"augmentation": {"crop": 1.5}}, "augmentation.crop: expected a number of at most 1, got 1.5"),
        ({"backbone": {"name": "ir18", "depth": 3}}, "backbone.depth: unknown key"),
    ],
)
def test_a_mistake_names_its_place(change, message):
    with pytest.raises(ConfigError) as caught:
        parse_recognition({**FOLDER, **change})
    assert str(caught.value).startswith(message)
