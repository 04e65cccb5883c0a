"""How generator and guide are run, as far as it changes their speed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qdgs.values import Integer, Model


class SpeedConfig(Model):
    """What changes the speed of scoring. The defaults change no bit of objective and measures.

    - `rows_at_once`: how many rows of a micro-batch pass through the models together. "auto" takes on a CPU
      the smallest size, of 16 or more, whose scores of a few latents are the same bit for bit, and where
      generator and guide are thread-safe lets such portions pass side by side, in threads; a number takes
      one portion after another.
    - `layout`: of images in memory. "auto" gives the generator channels-last weights on a CPU where its
      images stay the same bit for bit; "channels_last" gives them to the guide too, whose scores then differ
      in their last digits.
    - `precision`: "bfloat16" runs generator and guide in it, if the ranking of random samples survives; where
      the device has no instructions for it, that is slower.
    - `compile`: by torch.compile, in one of its modes; "reduce-overhead" records CUDA graphs.
    """

    rows_at_once: Literal["auto"] | Annotated[Integer, Field(ge=1)] = "auto"
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: Literal["no", "default", "reduce-overhead", "max-autotune"] = "no"
