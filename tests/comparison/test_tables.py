from types import SimpleNamespace

import pandas as pd
import pytest
from scipy.stats import binomtest

from qdgs.compare_config import EndpointConfig, MethodConfig
from qdgs.compare_metrics import best_of, better, over_seeds
from qdgs.comparison import endpoints
from qdgs.comparison.tables import crossover_sentences, left_out_sentences, markdown, result_frame

METHODS = ("qdgs", "random", "rejection", "a", "b", "shift", "fairtl")


def endpoint_sentences(frame, named, generator="vae", methods=METHODS):
    methods = [MethodConfig(name=name) if isinstance(name, str) else name for name in methods]
    run = SimpleNamespace(generator=SimpleNamespace(name=generator))
    return endpoints.endpoint_sentences(
        frame, SimpleNamespace(methods=methods, endpoints=named, run=run, images=100)
    )


def row(value, low=None, high=None, n=10):
    return {
        "value": value,
        "low": value if low is None else low,
        "high": value if high is None else high,
        "n": n,
    }


def cell(method, seed, generator="vae", random=None, **metrics):
    return {
        "method": method, "seed": seed, "generator": generator, "random": random,
        "rows": {name: row(value) for name, value in metrics.items()},
    }  # fmt: skip


def test_random_samples_of_one_own_generator_stand_once():
    random = {"kl": row(0.5)}
    frame = result_frame(
        [
            cell("random", 0, kl=0.3),
            cell("fairtl", 0, "gan", random, kl=0.1),
            cell("fairtl++", 0, "gan", random, kl=0.2),
        ]
    )
    assert frame[["method", "generator", "value"]].values.tolist() == [
        ["random", "vae", 0.3], ["fairtl", "gan", 0.1], ["random", "gan", 0.5], ["fairtl++", "gan", 0.2],
    ]  # fmt: skip


def test_one_seed_keeps_its_interval_and_several_get_students():
    one = result_frame([{**cell("a", 0), "rows": {"kl": row(2.0, 1.0, 4.0)}}])
    assert over_seeds(one, "a", "vae", "kl").high == 4
    several = result_frame([cell("a", seed, kl=value) for seed, value in enumerate((1.0, 2.0, 3.0))])
    estimate = over_seeds(several, "a", "vae", "kl")
    assert estimate.value == pytest.approx(2)
    # t(2) at 97.5 % is 4.303, the standard error 1/√3
    assert estimate.high == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3)
    assert over_seeds(several, "b", "vae", "kl") is None


def test_what_is_right_in_every_seed_has_wilsons_interval_of_all_tries_together():
    rows = {"worst_group_accuracy": row(1.0, n=100), "kl": row(0.0, n=100)}
    frame = result_frame([{**cell("a", seed), "rows": rows} for seed in range(3)])
    told = over_seeds(frame, "a", "vae", "worst_group_accuracy")
    assert (told.value, told.high) == (1, 1)
    assert told.low == pytest.approx(binomtest(300, 300).proportion_ci(method="wilson").low)
    of_groups = rows | {"accuracy of red": row(1.0, n=60), "accuracy of blue": row(1.0, n=40)}
    grouped = result_frame([{**cell("a", seed), "rows": of_groups} for seed in range(3)])
    told = over_seeds(grouped, "a", "vae", "worst_group_accuracy")
    assert told.low == pytest.approx(binomtest(120, 120).proportion_ci(method="wilson").low)
    nothing = over_seeds(frame, "a", "vae", "kl")
    assert nothing.low == nothing.high == 0  # no share of tries


def test_intervals_end_where_a_number_can():
    values = {"worst_group_accuracy": (1.0, 0.6), "kl": (0.0, 0.1), "bias_amplification": (0.0, 0.1)}
    frame = result_frame(
        [cell("a", seed, **{name: of[seed] for name, of in values.items()}) for seed in range(2)]
    )
    told = {name: over_seeds(frame, "a", "vae", name) for name in values}
    assert (told["worst_group_accuracy"].low, told["worst_group_accuracy"].high) == (0, 1)
    assert told["kl"].low == 0
    assert told["kl"].high > 0.5
    assert told["bias_amplification"].low < 0


def test_the_doubt_in_a_judges_errors_does_not_shrink_with_seeds():
    rows = [{"corrected_fairness_discrepancy": row(value, value - 0.01, 0.3)} for value in (0.1, 0.1, 0.1)]
    frame = result_frame([{**cell("a", seed), "rows": of} for seed, of in enumerate(rows)])
    told = over_seeds(frame, "a", "vae", "corrected_fairness_discrepancy")
    assert (told.low, told.high) == pytest.approx((0.09, 0.3))


def test_a_variant_of_a_method_is_not_its_best_rival():
    cells = [cell("qdgs", 0, kl=0.2), cell("qdgs-gradient", 0, kl=0.1), cell("rejection", 0, kl=0.3)]
    names = ("qdgs", "qdgs-gradient", "rejection")
    (told,) = endpoint_sentences(
        result_frame(cells), [EndpointConfig(metric="kl", method="qdgs")], methods=names
    )
    assert "better than rejection by +0.100" in told
    against = EndpointConfig(metric="kl", method="qdgs", against="qdgs-gradient")
    assert "qdgs-gradient by -0.100" in endpoint_sentences(result_frame(cells), [against], methods=names)[0]


def test_random_samples_of_an_own_generator_and_numbers_relative_to_it_are_never_the_best():
    gan = {"kl": row(0.01), "near_duplicates": row(0.0)}
    cells = [cell("qdgs", 0, kl=0.2, near_duplicates=0.2)]
    cells += [cell("fairtl", 0, "gan", gan, kl=0.1, near_duplicates=0.1)]
    frame = result_frame(cells)
    keys = [("qdgs", "vae"), ("fairtl", "gan"), ("random", "gan")]
    assert best_of(frame, keys, "kl", "vae") == {("fairtl", "gan")}
    assert best_of(frame, keys, "near_duplicates", "vae") == {("qdgs", "vae")}


def verdicts(ours, theirs, **endpoint):
    cells = []
    for seed, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        cells += [
            cell("qdgs", seed, worst_group_accuracy=mine),
            cell("random", seed, worst_group_accuracy=other),
        ]
    given = {"metric": "worst_group_accuracy", "method": "qdgs", **endpoint}
    return endpoint_sentences(result_frame(cells), [EndpointConfig(**given)])[0]


def test_an_endpoint_holds_where_the_whole_interval_is_within_the_margin():
    assert verdicts([0.99, 0.99, 0.98], [0.9, 0.9, 0.9], margin=0.01).endswith(": holds")


def test_an_endpoint_that_the_interval_does_not_settle_is_told_so():
    text = verdicts([0.99, 0.8, 0.95], [0.9, 0.9, 0.9], margin=0.01)
    assert "the interval does not settle it" in text


def test_an_endpoint_that_qdgs_loses_is_told_so():
    text = verdicts([0.80, 0.80, 0.80], [0.9, 0.9, 0.9], margin=0.01)
    assert "qdgs is better than random by -0.100" in text
    assert text.endswith("does not hold")


def test_ungated_leaves_out_whom_the_gate_chooses_for_and_less_is_better_for_errors():
    cells = [
        cell("qdgs", 0, max_share_error=0.02), cell("rejection", 0, max_share_error=0.0),
        cell("random", 0, max_share_error=0.8), cell("biased", 0, "none", max_share_error=0.0),
    ]  # fmt: skip
    endpoint = EndpointConfig(metric="max_share_error", method="qdgs", against="ungated")
    (text,) = endpoint_sentences(result_frame(cells), [endpoint])
    assert "random by +0.780" in text
    assert text.endswith("wanted at least 0: holds on this one seed, which settles nothing")
    assert "rejection" not in text
    best = EndpointConfig(metric="max_share_error", method="qdgs")
    assert "qdgs is better than rejection by -0.020" in endpoint_sentences(result_frame(cells), [best])[0]


def test_an_endpoint_may_bound_a_methods_own_value():
    def told(*values):
        cells = [cell("shift", seed, fairness_discrepancy_ratio=value) for seed, value in enumerate(values)]
        endpoint = EndpointConfig(metric="fairness_discrepancy_ratio", method="shift", at_most=0.25)
        return endpoint_sentences(result_frame(cells), [endpoint])

    assert told(0.3) == [
        "fairness_discrepancy_ratio: shift has 0.300, wanted at most 0.25: does not hold on this one seed, "
        "which settles nothing"
    ]
    assert told(0.1, 0.12, 0.11)[0].endswith("0.25: holds")
    assert told(0.1, 0.3)[0].endswith("holds in the mean, the interval does not settle it")


def test_of_bias_amplification_what_is_nearer_to_0_is_better():
    cells = [cell("a", 0, bias_amplification=-0.3), cell("b", 0, bias_amplification=0.1)]
    endpoint = EndpointConfig(metric="bias_amplification", method="b", against="a")
    assert "b is better than a by +0.200" in endpoint_sentences(result_frame(cells), [endpoint])[0]


def test_the_best_of_a_column_is_bold_also_where_it_is_not_qdgs(quick):
    vae = "shapes-vae"
    frame = result_frame(
        [cell("qdgs", 0, vae, kl=0.2, seconds=5.0), cell("random", 0, vae, kl=0.1, seconds=9.0)]
    )
    text = markdown(frame, quick(), {"0/x": "broke"}, ["a note"])
    assert "| random | shapes-vae | **0.100** |" in text
    assert "| qdgs | shapes-vae | 0.200 |" in text
    assert "| qdgs | shapes-vae | 5 |" in text
    assert "- 0/x: broke" in text
    assert "- a note" in text


def test_errors_and_costs_are_better_where_they_are_less_and_what_has_no_better_is_no_endpoint():
    signs = {"corrected_max_share_error": -1, "generator_calls": -1, "unreadable_share": -1, "kl": -1}
    signs |= {"accuracy of red/square": 1, "worst_group_accuracy": 1, "bias_amplification": 0}
    assert {name: better(name) for name in signs} == signs
    assert better("share of red/square") is better("worst_group_acuracy") is None


def test_random_samples_of_another_generator_are_nobodys_rival():
    gan = {"kl": row(0.1)}
    cells = [cell("qdgs", 0, kl=0.2), cell("fairtl", 0, "gan", gan, kl=0.3)]
    told = endpoint_sentences(result_frame(cells), [EndpointConfig(metric="kl", method="qdgs")])
    assert told == ["kl: qdgs is better than fairtl by +0.100, wanted at least 0: holds on this one seed, "
                    "which settles nothing"]  # fmt: skip
    against = EndpointConfig(metric="kl", method="qdgs", against="random")
    assert "nothing to compare qdgs with" in endpoint_sentences(result_frame(cells), [against])[0]


def test_methods_without_a_seed_in_common_are_told_so():
    cells = [cell("qdgs", 0, kl=0.2), cell("rejection", 1, kl=0.3)]
    (told,) = endpoint_sentences(result_frame(cells), [EndpointConfig(metric="kl", method="qdgs")])
    assert told == "kl: qdgs and rejection have no seed in common"


def test_a_gated_method_by_another_name_is_gated():
    named = MethodConfig.model_validate({"name": "rejection", "as": "drawn-on"})
    cells = [cell("qdgs", 0, kl=0.2), cell("drawn-on", 0, kl=0.3), cell("random", 0, kl=0.5)]
    endpoint = EndpointConfig(metric="kl", method="qdgs", against="ungated")
    told = endpoint_sentences(result_frame(cells), [endpoint], methods=("qdgs", "random", named))
    assert len(told) == 1
    assert "better than random" in told[0]


def test_an_arm_without_images_that_is_ahead_is_told_and_the_ceiling_is_not():
    cells = [
        cell(name, 0, generator, worst_group_accuracy=value)
        for name, generator, value in [
            ("qdgs", "vae", 0.9), ("random", "vae", 0.5), ("greyscale", "none", 0.95), ("drawn", "none", 1.0),
        ]
    ]  # fmt: skip
    told = endpoint_sentences(
        result_frame(cells), [EndpointConfig(metric="worst_group_accuracy", method="qdgs")]
    )
    assert told[1:] == ["worst_group_accuracy: without generated images better than qdgs: greyscale (0.950)"]


def test_of_signed_numbers_the_best_is_the_nearest_to_0_in_every_seed():
    cells = [cell("a", seed, bias_amplification=value) for seed, value in enumerate((0.1, -0.1))]
    cells += [cell("b", seed, bias_amplification=0.05) for seed in range(2)]
    frame = result_frame(cells)
    assert best_of(frame, [("a", "vae"), ("b", "vae")], "bias_amplification", "vae") == {("b", "vae")}


def test_who_does_not_balance_is_not_cheapest():
    def costs(each, once):
        return {"generator_calls": 100 * each + once, "generator_calls_once": once, "images": 100.0}

    frame = result_frame(
        [
            cell("random", 0, max_share_error=0.9, **costs(1, 0.0)),
            cell("rejection", 0, max_share_error=0.1, **costs(20, 0.0)),
            cell("qdgs", 0, max_share_error=0.05, **costs(1, 1900.0)),
            cell("shift", 0, max_share_error=1.8, **costs(0, 10.0)),
        ]
    )
    (told,) = crossover_sentences(frame, SimpleNamespace(images=100))
    assert told.endswith("at most 0.5, with a search as long as it was: rejection from 1, qdgs from 100")


def test_numbers_that_are_none_and_groups_too_small_for_diversity_are_told():
    whole = {"fairness_discrepancy": 0.1, "kl": 0.2, "fairness_discrepancy_ratio": 1.0}
    cells = [
        cell("random", 0, **whole, group_diversity_ratio=1.0),
        cell("random", 1, **whole, group_diversity_ratio=1.0),
        cell("shift", 0, **whole, group_diversity_ratio=0.5),
        cell("shift", 1, fairness_discrepancy=0.9, fairness_discrepancy_ratio=3.0, group_diversity_ratio=0.5),
        cell("drawn", 0, worst_group_accuracy=1.0),
    ]
    cells[2]["rows"]["share of blue/square"] = row(0.01, n=9)
    cells[2]["rows"]["share of red/square"] = row(0.1, n=10)
    assert left_out_sentences(result_frame(cells)) == [
        "shift of vae: KL to target is no number in 1 of 2 seeds, and left out there",
        "shift of vae: diversity leaves out blue/square, of which in a seed the set or random samples have "
        "fewer than 10 images",
    ]


def test_no_cells_give_an_empty_table():
    assert result_frame([]).empty
    assert isinstance(result_frame([]), pd.DataFrame)
