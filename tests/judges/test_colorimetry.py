import cv2
import numpy as np
import pytest

from qdgs.judges import colorimetry


@pytest.fixture
def colors():
    return np.random.default_rng(0).random((50, 40, 3))


def test_lab_is_that_of_opencv(colors):
    expected = cv2.cvtColor(colors.astype(np.float32), cv2.COLOR_RGB2LAB)
    # it interpolates in tables
    np.testing.assert_allclose(colorimetry.lab(colorimetry.linear(colors)), expected, atol=0.5)


@pytest.mark.parametrize(
    ("srgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((119, 119, 119), (50.034, 0, 0)),
        ((255, 0, 0), (53.241, 80.092, 67.203)),
        ((0, 0, 255), (32.297, 79.188, -107.860)),
    ],
)
def test_known_colors_have_their_published_lab(srgb, lab):
    light = colorimetry.linear(np.array(srgb) / 255)
    np.testing.assert_allclose(colorimetry.lab(light), lab, atol=0.01)


def test_lightness_is_the_first_of_lab(colors):
    light = colorimetry.linear(colors)
    np.testing.assert_allclose(
        colorimetry.lightness(colorimetry.luminance(light)), colorimetry.lab(light)[..., 0], atol=1e-3
    )


@pytest.mark.parametrize(
    ("l_star", "b_star", "angle"),
    [(60, 10, 45), (50, 12, 0), (40, 10, -45), (50 + 10 * 3**0.5, 10, 60), (30, 0, -90)],
)
def test_the_typology_angle_is_its_formula(l_star, b_star, angle):
    assert colorimetry.typology_angle(l_star, b_star) == pytest.approx(angle)


def test_a_stop_doubles_the_light_and_white_stays_white(colors):
    light = colorimetry.linear(colors)
    dark = light / 4
    np.testing.assert_allclose(colorimetry.exposed(dark, 1), 2 * dark)
    np.testing.assert_allclose(colorimetry.exposed(colorimetry.exposed(dark, 1), -1), dark)
    assert colorimetry.exposed(np.ones(3), 1).max() == 1


def test_grey_at_one_stop_more_is_lighter_by_the_cube_root_of_two():
    middle = 0.18
    now, more = colorimetry.lightness(np.array([middle, 2 * middle]))
    assert more + 16 == pytest.approx((now + 16) * 2 ** (1 / 3))
