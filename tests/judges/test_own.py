import numpy as np
import pytest
import torch

import qdgs
from qdgs.config import Named
from qdgs.errors import ConfigError
from qdgs.judges.own import check_rows

pytestmark = pytest.mark.usefixtures("brought")
IMAGES = torch.rand(5, 3, 20, 20, generator=torch.Generator().manual_seed(0))
ATTRIBUTES = {"warmth": ["cold", "warm"], "light": ["dim", "grey", "bright"]}


def load(**options):
    return qdgs.load_judge(Named(**options), role="gate")


def test_a_judge_of_ones_own_is_asked_as_it_is(brought):
    judge = load(name="python", target="brought:Thermometer", cut=0.1)
    assert judge.judge(IMAGES).equals(brought.Thermometer(cut=0.1).judge(IMAGES))


def test_a_script_tells_values_by_its_logits(brought, scripts):
    judge = load(name="torchscript", path=scripts["judge"], attributes=ATTRIBUTES)
    logits = brought.Sorter()(IMAGES).double()
    rows = judge.judge(IMAGES)
    warm, light = logits[:, :2], logits[:, 2:].softmax(dim=1).numpy()
    assert list(rows["warmth"]) == ["warm" if red > blue else "cold" for blue, red in warm.tolist()]
    np.testing.assert_allclose(rows["warmth_score"], warm[:, 1] - warm[:, 0])
    np.testing.assert_allclose(rows["light_score"], light @ [0, 1, 2])
    best = (warm.softmax(dim=1).amax(dim=1).numpy() + light.max(axis=1)) / 2
    np.testing.assert_allclose(rows["quality"], best)


def test_what_is_less_probable_than_the_confidence_is_missing(scripts):
    sure = load(name="torchscript", path=scripts["judge"], attributes=ATTRIBUTES, confidence=0.6)
    rows = sure.judge(IMAGES)
    assert rows["light"].isna().all()
    assert rows["light_score"].notna().all()


def test_a_script_gets_images_of_its_size(brought, tmp_path):
    class Flat(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.reshape(-1, 3 * 8 * 8)[:, :2]

    given = {"path": str(brought.scripted(Flat(), tmp_path / "flat.pt")), "attributes": {"a": ["b", "c"]}}
    assert len(load(name="torchscript", **given, image_size=8).judge(IMAGES)) == 5
    with pytest.raises(ConfigError, match=r"judges\.gate\.path: the script fails on \(5, 3, 20, 20\): "):
        load(name="torchscript", **given).judge(IMAGES)


def test_logits_of_other_attributes_are_told(scripts):
    judge = load(name="torchscript", path=scripts["judge"], attributes={"a": ["b", "c"]})
    with pytest.raises(ConfigError, match=r"expected logits \(5, 2\), got \(5, 5\)"):
        judge.judge(IMAGES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"target": "brought:Warmth"},
            "judges.gate.target (brought:Warmth): expected a judge, got a Warmth that ",
        ),
        ({"target": "brought:failing"}, "judges.gate.target: 'brought:failing' failed: KeyError"),
        ({"target": "nowhere:x"}, "judges.gate.target: 'nowhere' cannot be imported from"),
        (
            {"target": "brought:Thermometer", "ct": 1},
            "judges.gate.ct: unknown option of 'brought:Thermometer'",
        ),
    ],
)
def test_what_is_no_judge_is_one_sentence(options, said):
    with pytest.raises(ConfigError) as error:
        load(name="python", **options)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attributes": ["warm"]}, "judges.gate.attributes: expected a mapping of attributes to values, got"),
        ({"attributes": {}}, "judges.gate.attributes: expected a mapping"),
        (
            {"attributes": {"a": "bc"}},
            "judges.gate.attributes.a: expected at least two different values, got 'bc'",
        ),
        (
            {"attributes": {"a": ["b", "b"]}},
            "judges.gate.attributes.a: expected at least two different values",
        ),
        ({"attributes": {"a": ["b", 1]}}, "judges.gate.attributes.a: expected at least two different values"),
        ({"confidence": 1}, "judges.gate.confidence: expected a number from 0 to below 1, got 1"),
        ({"image_size": 0}, "judges.gate.image_size: expected an integer of at least 1, got 0"),
    ],
)
def test_options_that_do_not_hold_are_one_sentence(scripts, options, said):
    with pytest.raises(ConfigError) as error:
        load(**{"name": "torchscript", "path": scripts["judge"], "attributes": ATTRIBUTES, **options})
    assert str(error.value).startswith(said)


def test_rows_are_looked_at(brought, monkeypatch):
    place = "judges.gate"
    check_rows(brought.Thermometer(), IMAGES, place)
    with pytest.raises(ConfigError, match=r"got none named warmth_score, quality$"):
        check_rows(brought.Blind(), IMAGES, place)
    rows = brought.Thermometer().judge(IMAGES)
    for told, said in [
        (rows.head(2), "expected a DataFrame of 5 rows of judge"),
        ([], "got a list"),
        (rows.assign(accepted=1), "expected accepted to be a column of bool, got int64"),
        (rows.assign(warmth="hot"), r"expected values of warmth \(cold, warm\), got 'hot'"),
    ]:
        monkeypatch.setattr(brought.Thermometer, "judge", lambda self, images, told=told: told)
        with pytest.raises(ConfigError, match=said):
            check_rows(brought.Thermometer(), IMAGES, place)
