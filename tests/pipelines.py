"""Small diffusers pipelines of seeded random weights, saved as `save_pretrained` saves them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from qdgs.generators.diffusers_files import import_diffusers

diffusers = import_diffusers()

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def unet2d(**options: Any) -> Any:
    """A network over images of 16×16."""
    return diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        **options,
    )


def vae(**options: Any) -> Any:
    """An autoencoder of images of 16×16 and latents of 8×8."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        **options,
    )


def unet_condition(width: int = 16, **options: Any) -> Any:
    """A network over latents of 8×8, conditioned on embeddings."""
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=width,
        **options,
    )


def text_encoder(*, projection: bool = False) -> Any:
    """A text tower of 16 tokens of width 16."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=2 * len(LETTERS) + 3,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def tokenizer(folder: Path) -> Any:
    """A tokenizer that knows letters alone."""
    from transformers import CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS), "!"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(str(folder), model_max_length=16)


def ddim(folder: Path) -> Any:
    """An unconditional pipeline of DDIM."""
    return diffusers.DDIMPipeline(unet=unet2d(), scheduler=diffusers.DDIMScheduler())


def ddpm(folder: Path) -> Any:
    """An unconditional pipeline of DDPM."""
    return diffusers.DDPMPipeline(unet=unet2d(), scheduler=diffusers.DDPMScheduler())


def consistency(folder: Path) -> Any:
    """A consistency model of three classes."""
    return diffusers.ConsistencyModelPipeline(
        unet=unet2d(num_class_embeds=3), scheduler=diffusers.CMStochasticIterativeScheduler()
    )


def decoder(folder: Path) -> Any:
    """An autoencoder."""
    return vae()


def stable_diffusion(folder: Path, **options: Any) -> Any:
    """Of the kind of Stable Diffusion 1 and 2, with its safety checker left out."""
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(folder / "tokenizer"),
        unet=unet_condition(),
        scheduler=diffusers.PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            skip_prk_steps=True,
            **options,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def lcm(folder: Path) -> Any:
    """A latent consistency model, whose network takes the guidance as an input."""
    return diffusers.LatentConsistencyModelPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(folder / "tokenizer"),
        unet=unet_condition(time_cond_proj_dim=8),
        scheduler=diffusers.LCMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(folder: Path, scheduler: str = "EulerDiscreteScheduler", **options: Any) -> Any:
    """Of the kind of SDXL: two text towers, sizes as a condition."""
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        text_encoder_2=text_encoder(projection=True),
        tokenizer=tokenizer(folder / "tokenizer"),
        tokenizer_2=tokenizer(folder / "tokenizer_2"),
        unet=unet_condition(
            32,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + 16,
        ),
        scheduler=getattr(diffusers, scheduler)(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **options
        ),
    )


def turbo(folder: Path) -> Any:
    """Of the kind of SDXL-turbo: one step of Euler's, with noise."""
    return sdxl(folder, "EulerAncestralDiscreteScheduler", timestep_spacing="trailing")


KINDS: dict[str, Callable[[Path], Any]] = {
    "ddim": ddim,
    "ddpm": ddpm,
    "consistency": consistency,
    "decoder": decoder,
    "stable-diffusion": stable_diffusion,
    "lcm": lcm,
    "sdxl": sdxl,
    "turbo": turbo,
}
TEXT = ("stable-diffusion", "lcm", "sdxl", "turbo")


def save(kind: str, folder: Path) -> Path:
    """A pipeline of seeded random weights, in a folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = KINDS[kind](folder.parent / "parts")
        models = [pipeline] if kind == "decoder" else list(pipeline.components.values())
        for model in models:
            if isinstance(model, torch.nn.Module):
                _shake(model)
        pipeline.save_pretrained(folder)
    return folder


def _shake(model: torch.nn.Module) -> None:
    """Move weights that begin at zero or one, so that every part has a say."""
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.05 * torch.randn_like(weights))
