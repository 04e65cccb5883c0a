"""The mixture fitted many times to data of their own: how biased is each way of fitting it?

All refits of an arm are trained side by side, as one stack of hypernetworks: their batches, noise and Adam's
steps are each their own.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from autophagy_tasks import MEANS, PUBLISHED, VARIANCES, WEIGHTS, mixture
from qdgs.training.generative import GaussianMixture1D
from qdgs.training.hypernetwork import Fitting, SetHypernetwork, penalised_loss
from qdgs.training.initial import seeded
from qdgs.training.loop import scheduled_rate

STEPS, RATE = 4000, 5e-3
PARAMETERS = {
    f"{name}_{index}": values[index]
    for name, values in (("weight", WEIGHTS), ("mean", MEANS), ("variance", VARIANCES))
    for index in range(2)
}


class Penalised(nn.Module):
    """The penalised loss as a module, so that a stack of hypernetworks can be mapped over."""

    def __init__(self, hypernetwork: SetHypernetwork, model: GaussianMixture1D, penalty: float) -> None:
        super().__init__()
        self.hypernetwork, self.penalty = hypernetwork, penalty
        self.model = [model]  # not a submodule: its weights are the hypernetwork's

    def forward(self, data: Tensor, noise: Tensor) -> Tensor:
        """Loss of a batch."""
        return penalised_loss(self.hypernetwork, self.model[0], data, noise, self.penalty)


def bias_of_refits(
    refits: int, points: int, penalties: Sequence[float] | None, steps: int | None
) -> pd.DataFrame:
    """Estimates of every refit: one row an arm and refit, one column a parameter."""
    data = torch.stack([mixture(seed, points).data for seed in range(refits)])
    rows = [{"arm": "likelihood", "penalty": 0.0, "refit": i, **by_em(row)} for i, row in enumerate(data)]
    arms = [("hypernetwork", 0.0)]
    arms += [(arm, value) for value in penalties or [PUBLISHED["mixture"]] for arm in ("penalty", "varied")]
    for arm, penalty in arms:
        smallest = 1 if arm == "varied" else None
        fitting = Fitting(steps or STEPS, min(1024, points), RATE, penalty, smallest)
        found = by_hypernetworks(data, fitting)
        print(f"{arm}, λ {penalty:g}: {refits} refits", flush=True)
        rows += [{"arm": arm, "penalty": penalty, "refit": i, **row} for i, row in enumerate(found)]
    return pd.DataFrame(rows)


def by_em(data: Tensor) -> dict[str, float]:
    """Maximum likelihood by scikit-learn's EM, from five starts."""
    fit = GaussianMixture(2, n_init=5, tol=1e-6, max_iter=5000, reg_covar=1e-9, random_state=0)
    fit.fit(data.double().numpy()[:, None])
    order = fit.means_[:, 0].argsort()
    values = (fit.weights_[order], fit.means_[order, 0], fit.covariances_[order, 0, 0])
    return dict(zip(PARAMETERS, np.concatenate(values).tolist(), strict=True))


def by_hypernetworks(data: Tensor, fitting: Fitting) -> list[dict[str, float]]:
    """One hypernetwork a row of data `(refits, points)`, all trained at once; what each makes of its row."""
    losses, parameters = _stack(len(data), fitting.penalty)
    optimizer = torch.optim.Adam(parameters.values(), lr=fitting.learning_rate)
    loss_of = vmap(lambda values, *batch: functional_call(losses, values, batch))
    random = torch.Generator().manual_seed(1)
    for step in range(fitting.steps):
        rate = scheduled_rate(fitting.learning_rate, "cosine", step, fitting.steps)
        optimizer.param_groups[0]["lr"] = rate
        size = fitting.size(data.shape[1], random)
        rows = torch.randint(data.shape[1], (len(data), size), generator=random)
        noise = torch.randn(len(data), size, 2, generator=random)
        loss = loss_of(parameters, data.gather(1, rows), noise).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [_told(losses, parameters, index, row) for index, row in enumerate(data)]


def summary_of_refits(refits: pd.DataFrame) -> pd.DataFrame:
    """Bias with its 95 % interval, and root mean square error, of each arm and parameter."""
    rows: list[dict[str, Any]] = []
    groups = refits.groupby(["arm", "penalty"], sort=False)
    for ((arm, penalty), found), (name, true) in itertools.product(groups, PARAMETERS.items()):
        errors = found[name] - true
        half = 1.96 * errors.std() / np.sqrt(len(errors))
        rows.append(
            {
                "arm": arm,
                "penalty": penalty,
                "parameter": name,
                "true": true,
                "bias": errors.mean(),
                "low": errors.mean() - half,
                "high": errors.mean() + half,
                "rmse": float(np.sqrt((errors**2).mean())),
                "refits": len(errors),
            }
        )
    return pd.DataFrame(rows)


def _stack(refits: int, penalty: float) -> tuple[nn.Module, dict[str, Tensor]]:
    random = torch.Generator().manual_seed(0)
    model = seeded(GaussianMixture1D, random)
    each = [
        Penalised(seeded(lambda: SetHypernetwork(model, 1, hidden=(8, 8, 8)), random), model, penalty)
        for _ in range(refits)
    ]
    parameters, _ = stack_module_state(each)  # type: ignore[arg-type]
    return each[0], {name: value.detach().requires_grad_() for name, value in parameters.items()}


def _told(losses: nn.Module, parameters: dict[str, Tensor], index: int, data: Tensor) -> dict[str, float]:
    with torch.no_grad():
        losses.load_state_dict({name: value[index] for name, value in parameters.items()})
    assert isinstance(losses, Penalised)
    model = losses.model[0]
    with torch.no_grad():
        for name, value in losses.hypernetwork.weights_of(data).items():
            getattr(model, name).copy_(value)
    return dict(zip(PARAMETERS, torch.cat(model.parameters_by_mean()).tolist(), strict=True))
