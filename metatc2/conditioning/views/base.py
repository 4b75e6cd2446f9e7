"""What heads have in common that are told how each view was made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from metatc2.augment.descriptor import DESCRIPTOR, DESCRIPTOR_SIZE
from metatc2.conditioning.views.descriptor_network import DescriptorNetwork
from metatc2.conditioning.views.registry import HeadSizes
from metatc2.errors import InputError
from metatc2.models.heads import Projector
from metatc2.ops.numbers import whole


class ConditionedHead(nn.Module, ABC):
    """A projector or predictor that is given a code of each view's descriptor: ``head(z, head.encode(descriptors))``.

    Then the encoder need not be invariant to what the descriptor tells: the head can undo it (CASSLE, Przewięźlikowski et
    al., Knowledge-Based Systems 305, 112572; arXiv 2306.06082, section 3). Learners know such a head by its class attribute
    ``conditioned = True``. They encode the descriptors of an episode once, and the momentum branch has a γ of its own.

    Args:
        sizes: of the head, and of γ.
        code: C, width of the code.

    Raises:
        InputError: if a number of layers or the width is below 1, or there is no such part. In use: if the descriptors are of
            another shape, or too few to be shuffled.
    """

    conditioned: ClassVar[bool] = True
    #: Name by which it is registered.
    name: ClassVar[str] = ""

    def __init__(self, sizes: HeadSizes, code: int) -> None:
        super().__init__()
        self.shuffle = sizes.shuffle
        unknown = [name for name in sizes.parts if name not in DESCRIPTOR]
        if unknown or not sizes.parts:
            got = ", ".join(sizes.parts) or "none"
            raise InputError(
                f"{type(self).__name__}: parts must be of {', '.join(DESCRIPTOR)}, at least one, got {got}"
            )
        self.columns = [i for name in sizes.parts for i in range(DESCRIPTOR[name].start, DESCRIPTOR[name].stop)]
        self.network = DescriptorNetwork(
            len(self.columns),
            whole(code, f"{type(self).__name__}: code", 1),
            hidden=sizes.code_hidden,
            depth=sizes.code_depth,
            standardize=sizes.standardize,
        )

    @abstractmethod
    def forward(self, z: Tensor, code: Tensor) -> Tensor:
        """``(tasks, samples, views, dim)`` and ``(tasks, samples, views, C)`` to ``(tasks, samples, views, out)``."""

    def encode(self, descriptors: Tensor) -> Tensor:
        """γ of descriptors ``(tasks, samples, views, P)``: ``(tasks, samples, views, C)``.

        With `shuffle` the first view of every image has the descriptor of the image before it, the second that of the one
        before that: the control, which says nothing about the view at hand and has the same distribution. They are of two
        images, for views with descriptors of one image could be told to belong together.
        """
        if descriptors.ndim != 4 or descriptors.shape[-1] != DESCRIPTOR_SIZE:
            raise InputError(
                f"{type(self).__name__} needs descriptors of shape (tasks, samples, views, {DESCRIPTOR_SIZE}), found "
                f"{tuple(descriptors.shape)}; give those of metatc2.augment.Views"
            )
        given = descriptors.flatten(0, 1)
        if self.shuffle and len(given) <= given.shape[1]:
            raise InputError(
                f"{type(self).__name__}: descriptors of other images need more images than views, found {len(given)} images of "
                f"{given.shape[1]} views; enlarge the batch"
            )
        if self.shuffle:
            given = torch.stack([given[:, view].roll(view + 1, 0) for view in range(given.shape[1])], 1)
        code: Tensor = self.network(given.flatten(0, 1)[:, self.columns].float())
        by_view: Tensor = code.unflatten(0, descriptors.shape[:3])
        return by_view


class EmbeddedHead(ConditionedHead):
    """A `Projector` whose input is made of the representation and the code.

    Args:
        sizes, code: see `ConditionedHead`.
        inputs: width of the projector's input.
    """

    def __init__(self, sizes: HeadSizes, code: int, inputs: int) -> None:
        super().__init__(sizes, code)
        self.head = Projector(inputs, sizes.hidden, sizes.out, sizes.layers, norm_out=sizes.norm_out)

    @abstractmethod
    def join(self, z: Tensor, code: Tensor) -> Tensor:
        """The projector's input."""

    def forward(self, z: Tensor, code: Tensor) -> Tensor:
        """See `ConditionedHead.forward`."""
        projections: Tensor = self.head(self.join(z, code.to(z.dtype)))
        return projections


def conditioned(head: nn.Module | None) -> bool:
    """Whether a head is called with a code of the descriptors."""
    return bool(getattr(head, "conditioned", False))
