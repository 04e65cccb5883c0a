"""Frozen layers of an image tower with a quicker way back on a CPU; forward passes stay bit for bit.

Two backward passes of torch are slow there, and neither has to be: the gradient of a patch embedding with
respect to the image goes through a general convolution (ten times the time of the matrix product that it
is), and that of an attention's packed projection through one small matrix product a token (five times).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def quicken(tower: nn.Module) -> int:
    """Give frozen layers of an image tower the quicker way back, in place.

    Names and values of the weights, and forward passes without gradients, stay what they are.

    Args:
        tower: Frozen, in evaluation mode; on other devices than a CPU nothing is changed.

    Returns:
        How many layers were changed.
    """
    changed = 0
    for module in tower.modules():
        if type(module) is nn.Conv2d and _is_patch_embedding(module):
            module.__class__ = PatchEmbedding
            changed += 1
        elif type(module) is nn.MultiheadAttention and _is_plain(module):
            module.__class__ = SelfAttention
            changed += 1
    return changed


class PatchEmbedding(nn.Conv2d):
    """A convolution whose patches do not overlap: its gradient is a matrix product."""

    def forward(self, images: Tensor) -> Tensor:
        """Features `(batch_size, width, rows, columns)` of images `(batch_size, 3, height, width)`."""
        if not (torch.is_grad_enabled() and images.requires_grad and images.device.type == "cpu"):
            return super().forward(images)
        features: Tensor = _Patches.apply(images, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return features


class SelfAttention(nn.MultiheadAttention):
    """Multi-head attention of tokens to one another, its three projections one matrix product both ways.

    References:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Any:
        """As torch has it; every case but self-attention with gradients on a CPU is left to torch."""
        if not (_asks_for_self_attention(query, key, value, args, options) and _wants_gradients(query)):
            return super().forward(query, key, value, *args, **options)
        return self._attend(query), None

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        rows = tokens.reshape(batch * length, width)  # a product of two matrices, not of a stack of them
        packed = F.linear(rows, self.in_proj_weight, self.in_proj_bias)
        heads = packed.view(batch, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        queries, keys, values = heads.unbind(0)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        mixed = mixed.transpose(1, 2).reshape(batch * length, width)
        projected = F.linear(mixed, self.out_proj.weight, self.out_proj.bias)
        return projected.view(batch, length, width)


class _Patches(torch.autograd.Function):
    """Images → features of patches that do not overlap."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape = images.shape
        return F.conv2d(images, weight, bias, stride=weight.shape[-2:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        width, channels, height, breadth = weight.shape
        batch, _, rows, columns = gradient.shape
        patches = gradient.permute(0, 2, 3, 1).reshape(-1, width) @ weight.reshape(width, -1)
        patches = patches.view(batch, rows, columns, channels, height, breadth).permute(0, 3, 1, 4, 2, 5)
        images = gradient.new_zeros(ctx.shape)
        images[..., : rows * height, : columns * breadth] = patches.reshape(
            batch, channels, rows * height, columns * breadth
        )
        return images, None, None


def _is_patch_embedding(module: nn.Conv2d) -> bool:
    plain = module.groups == 1 and tuple(module.dilation) == (1, 1) and tuple(module.padding) == (0, 0)
    return plain and module.stride == module.kernel_size and module.kernel_size != (1, 1) and _frozen(module)


def _is_plain(module: nn.MultiheadAttention) -> bool:
    one_size = module.in_proj_weight is not None and module.bias_k is None and not module.add_zero_attn
    return one_size and module.batch_first and not module.training and _frozen(module)


def _frozen(module: nn.Module) -> bool:
    return not any(parameter.requires_grad for parameter in module.parameters())


def _asks_for_self_attention(
    query: Tensor, key: Tensor, value: Tensor, args: tuple[Any, ...], options: dict[str, Any]
) -> bool:
    masked = args or any(options.get(name) is not None for name in ("key_padding_mask", "attn_mask"))
    same = query is key and key is value and query.dim() == 3
    return same and not masked and not options.get("need_weights", True) and not options.get("is_causal")


def _wants_gradients(query: Tensor) -> bool:
    return torch.is_grad_enabled() and query.requires_grad and query.device.type == "cpu"
