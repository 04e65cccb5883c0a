from dataclasses import replace

import numpy as np
import pytest
import torch

from qdgs.datasets.drawing import MIDDLE_AREA, clean_figures, deform, draw, mix_colors, splatters
from qdgs.judges.shape_cnn import ShapeCNN
from qdgs.judges.shape_geometry import ShapeGeometry, measure_outline

N = 400


@pytest.fixture(scope="module", params=[ShapeGeometry, ShapeCNN])
def judge(request):
    return request.param()


@pytest.fixture(scope="module")
def clean():
    rng = np.random.default_rng(7)
    shape, blue = rng.integers(0, 2, N), rng.integers(0, 2, N)
    figures = clean_figures(shape, mix_colors(blue), rng)
    return figures, draw(figures), shape, blue


def test_clean_figures_are_read_right(judge, clean):
    _, images, shape, blue = clean
    read = judge.judge(images)
    right = (read["shape"] == np.array(["triangle", "square"])[shape]) & (
        read["color"] == np.array(["red", "blue"])[blue]
    )
    assert (right & read["accepted"]).mean() >= 0.995


def test_scores_grow_from_the_first_value_to_the_last(judge, clean):
    _, images, shape, blue = clean
    read = judge.judge(images)
    assert read["shape_score"][shape == 0].max() < read["shape_score"][shape == 1].min()
    assert read["color_score"][blue == 0].max() < read["color_score"][blue == 1].min()


def test_the_size_score_is_the_area_of_the_figure(judge, clean):
    figures, images, _, _ = clean
    read = judge.judge(images)
    area = figures.side.numpy() ** 2
    np.testing.assert_allclose(read["size_score"], area, rtol=0.08)
    clear = np.abs(np.log(area / MIDDLE_AREA)) > 0.1
    assert (read["size"] == np.where(area > MIDDLE_AREA, "large", "small"))[clear].all()


def test_the_color_score_is_the_place_between_red_and_blue(judge):
    rng = np.random.default_rng(8)
    place = rng.random(100)
    read = judge.judge(draw(clean_figures(rng.integers(0, 2, 100), mix_colors(place), rng)))
    assert np.corrcoef(read["color_score"], place)[0, 1] > 0.98


def test_what_is_no_figure_is_not_accepted(judge):
    rng = np.random.default_rng(9)
    figures = clean_figures(rng.integers(0, 2, 200), mix_colors(rng.random(200)), rng)
    assert judge.judge(draw(deform(figures, rng)))["accepted"].mean() < 0.12
    assert judge.judge(splatters(100, rng))["accepted"].mean() < 0.03
    assert not judge.judge(torch.ones(4, 3, 128, 128))["accepted"].any()


def test_an_image_is_judged_alone(judge, clean):
    images = clean[1][:24]
    together = judge.judge(images)
    apart = judge.judge(images[8:9])
    assert together["shape"][8] == apart["shape"][0]
    assert together["shape_score"][8] == pytest.approx(apart["shape_score"][0], abs=1e-3)


def test_turning_a_figure_by_a_quarter_changes_nothing_of_its_outline(clean):
    for image in clean[1][:10]:
        upright = measure_outline(image.permute(1, 2, 0).numpy())[0]
        turned = measure_outline(np.ascontiguousarray(image.rot90(1, (1, 2)).permute(1, 2, 0).numpy()))[0]
        assert upright.rectangle == pytest.approx(turned.rectangle, abs=0.03)
        assert upright.area == pytest.approx(turned.area, abs=1e-3)


@pytest.mark.parametrize("fault", ["two pieces", "holes", "at the border", "faint"])
def test_geometry_refuses(clean, fault):
    figures, images = clean[0][:20], clean[1][:20].clone()
    if fault == "two pieces":
        images[:, :, 4:24, 4:24] = 0.2
    elif fault == "holes":
        images[:, :, 60:68, 60:68] = 1.0
    elif fault == "at the border":
        images = draw(replace(figures, center=torch.full((20, 2), 0.4)))
    else:
        images = 1 - 0.4 * (1 - images)
    assert not ShapeGeometry().judge(images)["accepted"].any()


def test_geometry_of_other_colors_tells_no_color(clean):
    figures = replace(clean[0][:10], color=torch.tensor([[0.1, 0.6, 0.2]]).expand(10, 3))
    read = ShapeGeometry().judge(draw(figures))
    assert read["color"].isna().all()
    assert read["accepted"].all()
