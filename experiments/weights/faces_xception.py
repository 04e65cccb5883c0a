"""Convert the two networks of the auditor `faces-xception` from the weights that face-api ships.

npm pack @vladmandic/face-api@1.7.15 && tar xzf vladmandic-face-api-1.7.15.tgz
python experiments/weights/faces_xception.py --package package --out qdgs/weights/faces-xception
"""

import argparse
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from qdgs.judges.face_networks import FaceDetector, FaceNetwork
from qdgs.weights import write_weights

MODELS = {
    "detector": ("tiny_face_detector_model", FaceDetector),
    "network": ("age_gender_model", FaceNetwork),
}


def read_tensors(model: Path) -> list[Tensor]:
    """Tensors of a TensorFlow.js model in their order, unquantised: channels and batch first."""
    (group,) = json.loads(model.with_name(f"{model.name}-weights_manifest.json").read_text())
    content = model.with_suffix(".bin").read_bytes()
    tensors, start = [], 0
    for entry in group["weights"]:
        count, scale = math.prod(entry["shape"]), entry.get("quantization")
        kind = np.dtype(np.uint8 if scale else "<f4")
        values = np.frombuffer(content, kind, count, start).astype(np.float32)
        start += count * kind.itemsize
        values = values * scale["scale"] + scale["min"] if scale else values
        tensors.append(_torch_layout(entry["name"], torch.tensor(values.reshape(entry["shape"]))))
    return tensors


def _torch_layout(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("depthwise_filter"):
        return tensor.permute(2, 3, 0, 1)
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)
    return tensor.T if tensor.ndim == 2 else tensor


def state_of(model: nn.Module, tensors: list[Tensor]) -> dict[str, Tensor]:
    """The state dict of a model whose parameters are registered in the order of the tensors."""
    state = dict(zip(model.state_dict(), tensors, strict=True))
    model.load_state_dict(state)
    return state


def main() -> None:
    """Convert and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True, help="the unpacked package of face-api")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tensors, origins = {}, {}
    for part, (name, make) in MODELS.items():
        model = arguments.package / "model" / name
        origins[f"{name}.bin"] = hashlib.sha256(model.with_suffix(".bin").read_bytes()).hexdigest()
        state = state_of(make(), read_tensors(model))
        # they were quantised to 8 bits: 16 lose nothing that is left
        tensors |= {f"{part}.{key}": tensor.half() for key, tensor in state.items()}
    write_weights(
        arguments.out,
        tensors,
        command="python experiments/weights/faces_xception.py --package package "
        "--out qdgs/weights/faces-xception",
        licence="MIT, see LICENSE",
        source="converted from the npm package @vladmandic/face-api 1.7.15, whose models are those of "
        "face-api.js by V. Mühler; trained by them on public collections of face photographs",
        origins=origins,
    )


if __name__ == "__main__":
    main()
