"""A diffusion pipeline of random weights, which costs what a trained one does."""

from __future__ import annotations

from pathlib import Path

import torch

CHANNELS = (320, 640, 1280, 1280)
"""Of Stable Diffusion's U-Net (its versions 1), level by level."""

SIZE = 64
"""Pixels; Stable Diffusion's latents are as wide."""

STEPS = 4


def random_pipeline(folder: Path, *, channels: tuple[int, ...] = CHANNELS, size: int = SIZE) -> Path:
    """The folder of a pipeline of diffusers: DDIM over a U-Net with attention at all but the last level."""
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    attending = len(channels) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=size,
            block_out_channels=channels,
            down_block_types=("AttnDownBlock2D",) * attending + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("AttnUpBlock2D",) * attending,
        )
    DDIMPipeline(unet, DDIMScheduler()).save_pretrained(folder)
    return folder
