"""`PretextFusion`: one classifier on several frozen encoders, which attention weighs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from metatc2.errors import InputError
from metatc2.ops.numbers import real, whole
from metatc2.transfer.fusion.attention.base import Attention, AttentionSizes, Params
from metatc2.transfer.fusion.attention.registry import ATTENTIONS
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet
from metatc2.transfer.fusion.network import FitOptions, Network, batch_statistics, fit

#: The largest width of aligned features where none is asked for.
WIDTH = 256
_MULTIPLE = 8


class PretextFusion:
    """Attention over frozen encoders, a reading of the second stage of Yao et al. 2022 (arXiv 2204.05248).

        h_k = LN(W_k z_k + b_k)      α = attention(h)      z = V Σ_k α_k h_k      ŷ = C BN(z)
        L   = cross-entropy + λ_e KL(mean α ‖ uniform) + ρ/2 |θ − θ_0|²

    The paper gives no formulas; `attention` says which weights. At the start every W_k of encoders of one width is the same
    orthogonal matrix, V is the identity and all weights are equal, so the order of the encoders does not matter and one that
    is given twice has two shares of the same. Features are centered, so b_k is what tells an encoder from another whatever the
    image. Batch normalization without scale and shift before the classifier is that of Efficient Probing (arXiv 2506.10178).
    λ_e and ρ are chosen inside the labels given, see `metatc2.transfer.fusion.network.fit`.

    Args:
        attention: a name of `ATTENTIONS`.
        width: of aligned features; by default that of the widest encoder, at most 256.
        temperature: τ, that scores are divided by.
        heads: of the attention ``multihead``.
        queries: of the attention ``queries``.
        normalize: whether z is normalized, by mean and variance of the labeled images, before the classifier.
        options: see `FitOptions`.

    Raises:
        InputError: if the attention is unknown, or a number is out of range.

    >>> labels = torch.arange(60) % 3
    >>> told, noise = torch.eye(3)[labels], torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    >>> fitted = PretextFusion("static").fit(LabeledSet([told, noise], labels))
    >>> float((fitted.logits([told, noise]).argmax(1) == labels).double().mean())
    1.0
    >>> bool(fitted.weights([told, noise])[0].argmax() == 0)
    True
    """

    def __init__(
        self,
        attention: str = "sample",
        *,
        width: int | None = None,
        temperature: float = 1.0,
        heads: int = 4,
        queries: int = 4,
        normalize: bool = True,
        options: FitOptions | None = None,
    ) -> None:
        self.attention = ATTENTIONS[attention]
        self.width = None if width is None else whole(width, "fusion: width", 1)
        self.temperature = real(temperature, "fusion: temperature", above=0)
        self.heads, self.queries = whole(heads, "fusion: heads", 1), whole(queries, "fusion: queries", 1)
        self.normalize = normalize
        self.options = options or FitOptions()

    def fit(self, labeled: LabeledSet, generator: torch.Generator | None = None) -> Fitted:
        """Learn from labels.

        Args:
            labeled: features and labels.
            generator: of the start and of the batches; by default one of the seed of `labeled`.

        Raises:
            InputError: if the width is no multiple of the heads or queries that were asked for.
        """
        generator = generator or torch.Generator().manual_seed(labeled.seed)
        return fit(self.network(labeled), labeled, self.options, generator)

    def network(self, labeled: LabeledSet) -> FusionNetwork:
        """The network that is trained, of sizes as the encoders want them."""
        widths = [block.shape[1] for block in labeled.blocks]
        width = self.width
        if width is None:
            width = -(-min(WIDTH, max(widths)) // _MULTIPLE) * _MULTIPLE
        sizes = AttentionSizes(
            encoders=len(widths), width=width, temperature=self.temperature, heads=self.heads, queries=self.queries
        )
        return FusionNetwork(widths, labeled.classes, self.attention(sizes), normalize=self.normalize)


class FusionNetwork(Network):
    """Alignment, attention and classifier.

    Args:
        widths: of the features of each encoder.
        classes: how many.
        attention: over as many encoders.
        normalize: see `PretextFusion`.

    Raises:
        InputError: if the attention is over another number of encoders.
    """

    def __init__(self, widths: Sequence[int], classes: int, attention: Attention, *, normalize: bool = True) -> None:
        if len(widths) != attention.sizes.encoders:
            raise InputError(
                f"fusion: attention over {attention.sizes.encoders} encoders cannot weigh {len(widths)}; build it anew"
            )
        self.widths, self.classes, self.attention = tuple(widths), classes, attention
        self.normalize = normalize

    def initial(self, generator: torch.Generator) -> Params:
        """See `Network.initial`."""
        width = self.attention.sizes.width
        start = {d: _orthogonal(d, width, generator) for d in sorted(set(self.widths))}
        return {
            **{f"align {k}": start[d] for k, d in enumerate(self.widths)},
            **{f"align bias {k}": torch.zeros(width) for k in range(len(self.widths))},
            **self.attention.initial(generator),
            "classifier": torch.zeros(width, self.classes),
            "bias": torch.zeros(self.classes),
        }

    def constants(self, generator: torch.Generator) -> Params:
        """See `Network.constants`."""
        return self.attention.constants(generator)

    def forward(
        self, p: Params, blocks: Sequence[Tensor], counted: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """See `Network.forward`."""
        z, weights = self.fused(p, blocks)
        if self.normalize:
            mean, deviation = (p["mean"], p["deviation"]) if counted is None else batch_statistics(z, counted)
            z = (z - mean) / deviation
        logits: Tensor = z @ p["classifier"] + p["bias"][:, None]
        return logits, weights

    def fused(self, p: Params, blocks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """z ``(B, n, width)`` and weights ``(B, n, K)``."""
        width = self.attention.sizes.width
        aligned = [block @ p[f"align {k}"] + p[f"align bias {k}"][:, None] for k, block in enumerate(blocks)]
        h = [layer_norm(one, (width,)) for one in aligned]
        return self.attention.combine(p, torch.stack(h, 2))

    def finished(self, p: Params, blocks: Sequence[Tensor], counted: Tensor) -> Params:
        """See `Network.finished`."""
        if not self.normalize:
            return p
        mean, deviation = batch_statistics(self.fused(p, blocks)[0], counted)
        return {**p, "mean": mean, "deviation": deviation}


def _orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Rows or columns, whichever are fewer, orthogonal; the rows of a product with it have the expected length of its input's
    times √columns, that of a normalized layer."""
    q, r = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns), generator=generator))
    q = q * r.diagonal().sign()
    matrix: Tensor = (q if rows >= columns else q.T) * columns**0.5
    return matrix
