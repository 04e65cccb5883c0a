import numpy as np
import pandas as pd
import pytest

from qdgs.report.groups import group_shares


def test_the_bars_are_as_long_as_the_shares(shares: pd.DataFrame) -> None:
    dataset, random = group_shares(shares).axes[0].containers
    assert [bar.get_width() for bar in dataset] == pytest.approx(shares["share"].tolist())
    assert [bar.get_width() for bar in random] == pytest.approx(shares["random_share"].tolist())


def test_the_target_line_stands_at_the_target_of_each_group(shares: pd.DataFrame) -> None:
    shares = shares.assign(target=[0.4, 0.3, 0.2, 0.1])
    axes = group_shares(shares).axes[0]
    lines = next(artist for artist in axes.collections if artist.get_label() == "target")
    assert [segment[0, 0] for segment in lines.get_segments()] == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_intervals_reach_from_low_to_high(shares: pd.DataFrame) -> None:
    axes = group_shares(shares).axes[0]
    dataset = axes.collections[0].get_segments()
    np.testing.assert_allclose([segment[:, 0] for segment in dataset], shares[["share_low", "share_high"]])


def test_every_bar_carries_its_share_in_words(shares: pd.DataFrame) -> None:
    written = [text.get_text() for text in group_shares(shares).axes[0].texts]
    assert {"25 %", "30 %", "20 %", "50 %", "0.4 %", "1.6 %", "48 %"} <= set(written)


def test_groups_run_from_top_to_bottom_in_their_order(shares: pd.DataFrame) -> None:
    axes = group_shares(shares).axes[0]
    places = [bar.get_y() for bar in axes.containers[0]]
    assert places == sorted(places, reverse=True)
    assert axes.get_yticklabels()[0].get_text() == "red · triangle"


def test_shares_without_random_samples_and_intervals_can_be_drawn(shares: pd.DataFrame) -> None:
    axes = group_shares(shares[["group", "target", "share"]]).axes[0]
    assert len(axes.containers) == 1


def test_a_set_of_which_nothing_could_be_read_is_drawn_without_bars(shares: pd.DataFrame) -> None:
    axes = group_shares(shares.assign(share=np.nan, share_low=np.nan, share_high=np.nan)).axes[0]
    assert "none readable" in [text.get_text() for text in axes.texts]
