from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from qdgs.datasets.drawing import (
    BLUE,
    RED,
    SIDE,
    ZOOM_AREA,
    biased_shapes,
    clean_figures,
    coverage,
    deform,
    draw,
    mix_colors,
    splatters,
)


def figures(n, seed=0, size=128):
    rng = np.random.default_rng(seed)
    return clean_figures(np.arange(n) % 2, mix_colors(rng.random(n)), rng, image_size=size)


def test_triangles_and_squares_of_one_side_have_the_same_area():
    drawn = figures(40)
    area = coverage(drawn, 128).sum((1, 2, 3)) / 128**2
    torch.testing.assert_close(area, drawn.side**2, rtol=2e-3, atol=0)


def test_coverage_equals_a_polygon_filled_by_opencv():
    for figure in range(8):
        drawn = figures(8)[figure : figure + 1]
        sides = 4 if drawn.morph.item() else 3
        radius = drawn.side.item() * (0.5**0.5 if sides == 4 else 2 * 27**-0.25)
        start = np.pi / 4 if sides == 4 else -np.pi / 2
        angles = start + 2 * np.pi * np.arange(sides) / sides + drawn.rotation.item()
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + drawn.center.numpy() + 0.5
        filled = np.zeros((1024, 1024), np.uint8)
        cv2.fillPoly(filled, [np.round(corners * 1024).astype(np.int32)], 1)
        expected = filled.reshape(128, 8, 128, 8).mean((1, 3))
        assert np.abs(coverage(drawn, 128)[0, 0].numpy() - expected).mean() < 2e-3


def test_sides_differ_by_the_zoom_of_the_crop():
    side = figures(4000).side.numpy() / SIDE
    assert side.min() == pytest.approx(ZOOM_AREA[0] ** 0.5, abs=0.01)
    assert side.max() == pytest.approx(ZOOM_AREA[1] ** 0.5, abs=0.01)


def test_a_figure_keeps_clear_of_the_border():
    drawn = coverage(figures(300), 64)
    border = torch.cat([drawn[..., [0, -1], :].flatten(1), drawn[..., :, [0, -1]].flatten(1)], dim=1)
    assert border.max() == 0


@pytest.mark.parametrize("bias", [0.5, 0.8, 0.98, 1.0])
def test_biased_shapes_have_the_bias_they_are_asked_for(bias):
    images, shape, color = biased_shapes(200, bias, np.random.default_rng(1), image_size=16)
    assert images.shape == (200, 3, 16, 16)
    assert (shape == 1).mean() == 0.5
    for value in (0, 1):
        assert (color[shape == value] == value).mean() == pytest.approx(bias, abs=0.01)


def test_biased_shapes_show_their_colors():
    images, _, color = biased_shapes(20, 0.5, np.random.default_rng(2))
    middle = images[:, :, 64, 64].numpy()
    np.testing.assert_allclose(middle, np.array([RED, BLUE])[color], atol=1e-6)


def test_the_same_seed_draws_the_same_pictures():
    first, *_ = biased_shapes(10, 0.9, np.random.default_rng(3), image_size=32)
    again, *_ = biased_shapes(10, 0.9, np.random.default_rng(3), image_size=32)
    assert torch.equal(first, again)


def test_colors_are_mixed_on_a_straight_line():
    np.testing.assert_allclose(mix_colors(np.array([0.0, 1.0])), [RED, BLUE])
    np.testing.assert_allclose(mix_colors(np.array([0.5]))[0], (np.array(RED) + np.array(BLUE)) / 2)


def test_every_deformed_figure_differs_from_its_clean_one():
    clean = figures(100)
    spoiled = deform(clean, np.random.default_rng(4))
    difference = (draw(clean, 64) - draw(spoiled, 64)).abs().amax((1, 2, 3))
    assert (difference > 0.05).all()


def test_a_fade_and_a_cut_take_away_ink():
    clean = figures(20)
    whole = coverage(clean, 64).sum()
    zero, one = torch.zeros(20), torch.ones(20)
    assert coverage(replace(clean, fade=one), 64).sum() < 0.6 * whole
    assert coverage(replace(clean, cut=zero), 64).sum() < 0.6 * whole


def test_splatters_are_pictures():
    images = splatters(10, np.random.default_rng(5), image_size=32)
    assert images.shape == (10, 3, 32, 32)
    assert images.min() >= 0
    assert images.max() <= 1
