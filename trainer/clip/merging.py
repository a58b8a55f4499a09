"""One text an identity, from the descriptions of all its pictures.

mean: their mean, as IndivAID's released program has it. attention: the paper's abstract speaks of
an attention module, and no source says how it is built; this one, ours, lets each picture weigh an
identity's descriptions by how well they fit it. attention-static: each identity's mean picture
does the weighing, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.encoder import unit

MergeKind = Literal["attention", "attention-static", "mean"]


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The descriptions of all training pictures, made once after stage 1."""

    text_ND: Tensor  # not normalised
    label_N: Tensor  # int64, 0 .. num_identities - 1
    num_identities: int


class Attention(nn.Module):
    """Logits of pictures against identities, each identity's text made for the picture.

    alpha_ij = softmax over the descriptions j of identity k of (W_q n(v_i)) . (W_k n(t_j)) / tau,
    T_k(v_i) = sum over j of alpha_ij t_j, logit_ik = v_i . T_k(v_i). W_q and W_k start as the
    identity. An infinite tau gives the mean.
    """

    def __init__(self, width: int, temperature: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.query.weight)
        nn.init.eye_(self.key.weight)
        self._temperature = temperature

    def forward(self, projected_BD: Tensor, bank: Bank) -> Tensor:
        score_BN = self.query(unit(projected_BD)) @ self.key(unit(bank.text_ND)).T
        weight_BN = segment_softmax(score_BN / self._temperature, bank)
        return segment_sum(weight_BN * (projected_BD @ bank.text_ND.T), bank)


def mean_texts(bank: Bank) -> Tensor:
    """[I, D]: the mean description of each identity, not normalised."""
    count_I = torch.bincount(bank.label_N, minlength=bank.num_identities)
    return segment_sum(bank.text_ND.T, bank).T / count_I[:, None]


def static_texts(bank: Bank, projected_ND: Tensor, temperature: float) -> Tensor:
    """[I, D]: descriptions weighed by how well they fit the identity's mean picture."""
    pictures = Bank(text_ND=projected_ND, label_N=bank.label_N, num_identities=bank.num_identities)
    query_ID = unit(mean_texts(pictures))
    score_N = (query_ID[bank.label_N] * unit(bank.text_ND)).sum(dim=1)
    weight_1N = segment_softmax(score_N[None] / temperature, bank)
    return segment_sum((weight_1N * bank.text_ND.T), bank).T


def segment_softmax(score_BN: Tensor, bank: Bank) -> Tensor:
    """Softmax along each row, within the descriptions of each identity."""
    count, index_BN = len(score_BN), bank.label_N.expand_as(score_BN)
    top_BI = score_BN.new_full((count, bank.num_identities), -torch.inf)
    top_BI = top_BI.scatter_reduce(1, index_BN, score_BN.detach(), "amax")
    power_BN = (score_BN - top_BI.gather(1, index_BN)).exp()
    return power_BN / segment_sum(power_BN, bank).gather(1, index_BN)


def segment_sum(value_BN: Tensor, bank: Bank) -> Tensor:
    """[B, I]: sums along each row over the descriptions of each identity."""
    sums_BI = value_BN.new_zeros((len(value_BN), bank.num_identities))
    return sums_BI.index_add(1, bank.label_N, value_BN)
