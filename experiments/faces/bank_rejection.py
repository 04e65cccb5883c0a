"""Rejection sampling over the shipped bank of judged faces, in place of judging as many anew."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qdgs.errors import InputError
from qdgs.generators.base import MICRO_BATCH
from qdgs.judges.base import Judge
from qdgs.judges.panel import JudgePanel
from qdgs.samplers.base import Problem
from qdgs.samplers.rejection import RejectionSampler
from qdgs.stages.bank import BANK_SEED
from qdgs.stages.judged_bank import JudgedBank, known_rows


class BankRejection(RejectionSampler):
    """Random samples kept until every group is full, in an order of the seed's through the bank's rows.

    Each row that it passes is paid for as a draw and its readings. Seeds share the rows: of the rarest group
    most are in every seed's set, so that seeds differ less than sets of fresh draws would.
    """

    def _drawn(self, n: int, rng: np.random.Generator) -> tuple[Tensor, pd.DataFrame]:
        problem, bank = self.problem, JudgedBank.open()
        read = bank_rows(problem, len(bank))
        order = rng.permutation(len(bank))[: problem.draws]
        shuffled = read.iloc[order].reset_index(drop=True)
        missing = np.array(list(problem.counts(n).values()))
        kept = self._kept(shuffled, missing)
        drawn = len(order) if missing.any() else int(kept.max()) + 1
        gated = problem.gate is not None and problem.gate is not problem.judge
        self._meter.count(generator_calls=drawn, forwards=drawn, judge_labels=drawn * (1 + gated))
        self._tell(missing, drawn)
        latents = bank.latents(problem.generator, order[kept])
        return latents.to(torch.float32), shuffled.iloc[kept].reset_index(drop=True)


def bank_rows(problem: Problem, rows: int) -> pd.DataFrame:
    """The judge's rows for the bank's samples, accepted being the gate's word where there is a gate.

    Raises:
        InputError: The bank is of another generator or of other judges.
    """
    read = _known(problem, problem.judge, rows)
    if problem.gate is None or problem.gate is problem.judge:
        return read
    return read.assign(accepted=_known(problem, problem.gate, rows)["accepted"].to_numpy(bool))


def _known(problem: Problem, judge: Judge, rows: int) -> pd.DataFrame:
    if isinstance(judge, JudgePanel):
        return judge.joined([_known(problem, one, rows) for one in judge.judges])
    known = known_rows(problem.generator, judge, rows, seed=BANK_SEED, micro_batch=MICRO_BATCH, device="cpu")
    if known is None:
        raise InputError(
            "bank-rejection: expected a shipped bank of this generator and these judges, got another; "
            "make it again with experiments/weights/faces_bank.py, or take the method rejection"
        )
    return known
