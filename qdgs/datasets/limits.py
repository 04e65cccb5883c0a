"""What a set is not fit for: what holds of every one, and of those that known parts made."""

from collections.abc import Mapping
from typing import Any

EVERY_SET = """\
- Every image is generated. None is a photograph of a person, place or thing, whether one resembles any was
  not looked for, and the shares of this set say nothing of how often anything occurs in the world.
- Groups and labels come from what a vision-language model sees in an image, by prompts and cut points. They
  describe how images look to models, not who anyone is.
- The set is balanced over the groups in the table and over nothing else. Whatever was not named can still be
  unbalanced, and can differ from group to group: look before you train.
- What the generator cannot draw is not in the set. It inherits its generator's training data, licence and
  gaps.
- Meant for training and for studying bias. Do not use it as the only test set of anything, to identify
  people, or to infer from an image what a person is."""

_NETWORK = (
    "`{}` is a network trained on photographs: its values say how a picture looks to it, nobody's age or "
    "gender. Whether the people on these photographs agreed is not known."
)
OF_PARTS = {
    "dcgan-digiface": (
        "The faces come from a small GAN that others trained on DigiFace-1M, renders made from scans of "
        "consenting people, whose terms allow non-commercial research only. They are no photographs; a "
        "likeness to anyone would be chance, and was not looked for. This is no set to recognise, verify or "
        "estimate real people with."
    ),
    "face-light": (
        "`face-light` measures how light skin-coloured pixels are, which the light on a face changes as skin "
        "does: apparent lightness, not skin tone, unless fewer than one face in ten changes its class at one "
        "stop less or more of light."
    ),
    "faces-dlib": _NETWORK.format("faces-dlib"),
    "faces-xception": _NETWORK.format("faces-xception"),
}


def limits(metadata: Mapping[str, Any]) -> str:
    """The lines of a card, by the manifest's metadata: what its generator and judges bring with them."""
    generator = str((metadata.get("generator") or {}).get("name", ""))
    named = " ".join([generator, *map(str, (metadata.get("judges") or {}).values())])
    return "\n".join([EVERY_SET, *(f"- {text}" for name, text in OF_PARTS.items() if name in named)])
