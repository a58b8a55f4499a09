"""The text description generator: a sentence whose middle words are learnt for each animal.

"A photo of a [e1] [e2] [e3] [e4] tiger." The learnt words of an identity (CLIP-ReID, Li et al.
2023) are shifted by what a small network makes of the picture (CoCoOp, Zhou et al. 2022): each
picture of an animal gets a description of its own (IndivAID, arXiv 2410.22927).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from open_clip import SimpleTokenizer
from torch import Tensor, nn

from edge.errors import InputError

TOKENS, NOUN = "{tokens}", "{noun}"  # what a template must hold
_PLACEHOLDER = "X"  # a word of one token
_START_STD = 0.02
_META_SHARE = 16  # the small network's hidden width is the feature's, divided by it


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A tokenised sentence with room for learnt words."""

    ids_L: Tensor  # int64
    first: int  # position of the first learnt word
    end: int  # position of the end-of-text token


def prompt_of(
    tokenizer: SimpleTokenizer, template: str, noun: str, num_words: int, context: int
) -> Prompt:
    """Raises InputError where the template lacks a part, or the sentence is too long."""
    if TOKENS not in template or NOUN not in template:
        raise InputError(
            f"the template '{template}' must hold {TOKENS}, where the learnt words go, and "
            f'{NOUN}, for example "A photo of a {TOKENS} {NOUN}."'
        )
    if not noun.strip():
        raise InputError(
            "the description needs a noun for the animals: give --noun, for example --noun tiger"
        )
    words = " ".join([_PLACEHOLDER] * num_words)
    sentence = template.replace(NOUN, noun.strip()).replace(TOKENS, words)
    before = template.split(TOKENS, maxsplit=1)[0].replace(NOUN, noun.strip())
    length = len(tokenizer.encode(sentence)) + 2  # start and end
    if length > context:
        raise InputError(
            f"'{sentence}' takes {length} tokens, and the text tower has room for {context}: "
            "shorten the template or the noun"
        )
    return Prompt(
        ids_L=tokenizer([sentence], context_length=context)[0],
        first=1 + len(tokenizer.encode(before)),
        end=length - 1,
    )


class Generator(nn.Module):
    """Sentences as token embeddings [B, L, W] for pictures of known identities.

    C_y, one set of words an identity, starts at N(0, 0.02). With `conditioned` the meta-network
    of CoCoOp adds the same shift, made of the picture's projected feature, to each word.
    """

    before_1PW: Tensor
    after_1SW: Tensor

    def __init__(
        self,
        token_embedding: nn.Embedding,
        prompt: Prompt,
        num_words: int,
        num_identities: int,
        feature_width: int,
        conditioned: bool,
    ) -> None:
        super().__init__()
        width = token_embedding.embedding_dim
        with torch.no_grad():
            sentence_1LW = token_embedding(prompt.ids_L.to(token_embedding.weight.device))[None]
        self.register_buffer("before_1PW", sentence_1LW[:, : prompt.first].clone())
        self.register_buffer("after_1SW", sentence_1LW[:, prompt.first + num_words :].clone())
        self.words_IMW = nn.Parameter(torch.empty(num_identities, num_words, width))
        nn.init.normal_(self.words_IMW, std=_START_STD)
        hidden = max(feature_width // _META_SHARE, 1)
        self.meta = (
            nn.Sequential(
                nn.Linear(feature_width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width)
            )
            if conditioned
            else None
        )

    def forward(self, label_B: Tensor, projected_BD: Tensor) -> Tensor:
        """`projected_BD` are the frozen tower's, not normalised; unused where not conditioned."""
        words_BMW = self.words_IMW[label_B]
        if self.meta is not None:
            words_BMW = words_BMW + self.meta(projected_BD)[:, None, :]
        count = len(label_B)
        return torch.cat(
            [
                self.before_1PW.expand(count, -1, -1),
                words_BMW,
                self.after_1SW.expand(count, -1, -1),
            ],
            dim=1,
        )
