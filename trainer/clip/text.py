"""CLIP's text tower, from token embeddings to a description feature."""

from __future__ import annotations

from open_clip.model import CLIP
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from edge.errors import InputError

_POOLS = ("argmax", "eos")  # both the end-of-text token


class TextTower(nn.Module):
    """Frozen; reads sentences that are made of embeddings instead of tokens."""

    def __init__(self, model: nn.Module) -> None:
        """Raises InputError where the model's text side is not CLIP's transformer."""
        super().__init__()
        text = model if isinstance(model, CLIP) else getattr(model, "text", None)
        if isinstance(text, TextTransformer) and text.cls_emb is not None:
            text = None  # CoCa's
        if not isinstance(text, CLIP | TextTransformer):
            raise InputError(
                "descriptions need CLIP's own text transformer, and this model has another; use "
                "for example open_clip:ViT-B-16-quickgelu"
            )
        pool = text.text_pool_type if isinstance(text, CLIP) else text.pool_type
        if pool not in _POOLS:
            raise InputError(f"a text tower that pools by '{pool}' is not known here")
        self.token_embedding = text.token_embedding
        self.transformer = text.transformer
        self.ln_final = text.ln_final
        self.positional_embedding = text.positional_embedding
        self.projection = text.text_projection
        self.register_buffer("attn_mask", text.attn_mask, persistent=False)
        self.context = int(self.positional_embedding.shape[0])
        self.requires_grad_(False)

    def forward(self, sentences_BLW: Tensor, end: int) -> Tensor:
        """Description features [B, D], not normalised; `end` is where the end-of-text token is."""
        tokens_BLW = sentences_BLW + self.positional_embedding
        tokens_BLW = self.transformer(tokens_BLW, attn_mask=self.attn_mask)
        last_BW = self.ln_final(tokens_BLW)[:, end]
        if self.projection is None:
            return last_BW
        if isinstance(self.projection, nn.Linear):
            projected: Tensor = self.projection(last_BW)
            return projected
        return last_BW @ self.projection
