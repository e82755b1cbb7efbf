"""Orchard's judge: a small CNN that says which objects a picture shows, and where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ..errors import InputError
from .weight_files import read_config, read_tensors, weights_folder
from .world import IMAGE_SIZE, OBJECTS

WEIGHTS_FILE: Final = "model.safetensors"
CONFIG_FILE: Final = "config.json"
#: Cells along each side of the detector's map.
GRID: Final = 16


class Detections(NamedTuple):
    """What a detector found in n images.

    Attributes:
        probabilities: By object, (n,): how surely the image shows it.
        heat_maps: By object, (n, 64, 64): how surely each pixel belongs to it.
    """

    probabilities: dict[str, torch.Tensor]
    heat_maps: dict[str, torch.Tensor]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around which the input is carried."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.first_norm(self.first(x)))
        return F.relu(x + self.second_norm(self.second(inner)))


class DetectorNetwork(nn.Module):
    """Maps of object logits at a quarter of the image's size, with context from an eighth.

    Presence is read off the map alone, so what is said to be there is also somewhere:
    presence = scale · log Σ exp(map) + offset, per object.

    Args:
        width: Channels at a quarter of the image's size; twice as many at an eighth.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.width = width
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            ResidualBlock(width),
        )
        self.context = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            ResidualBlock(2 * width),
            nn.Conv2d(2 * width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.refine = ResidualBlock(width)
        self.to_map = nn.Conv2d(width, len(OBJECTS), 1)
        self.presence_scale = nn.Parameter(torch.ones(len(OBJECTS)))
        self.presence_offset = nn.Parameter(torch.full((len(OBJECTS),), -3.0))
        nn.init.constant_(self.to_map.get_parameter("bias"), -3.0)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Judge images.

        Args:
            images: (n, 3, 64, 64) in [-1, 1].

        Returns:
            Logits of presence (n, 10), and the map of logits (n, 10, 16, 16), both in the order of ``OBJECTS``.
        """
        near = self.stem(images)
        far = F.interpolate(self.context(near), scale_factor=2, mode="bilinear", align_corners=False)
        cells = self.to_map(self.refine(F.relu(near + far)))
        presence = self.presence_scale * cells.flatten(2).logsumexp(-1) + self.presence_offset
        return presence, cells


class Detector:
    """Says which of Orchard's objects a picture shows, and where.

    Args:
        network: The trained network; used in evaluation mode, where it stands.
        batch_size: Images judged at a time.
    """

    names: tuple[str, ...] = OBJECTS

    def __init__(self, network: DetectorNetwork, batch_size: int = 64) -> None:
        self.network = network.eval().requires_grad_(False)
        self.batch_size = batch_size

    def __call__(self, images: Sequence[Image.Image] | torch.Tensor) -> Detections:
        """Judge images.

        Args:
            images: PIL images of any size, or a floating-point tensor (n, 3, height, width) in [0, 1]. What is
                not 64×64 is resized.

        Returns:
            Probabilities (n,) and heat maps (n, 64, 64) by object, in float32 on the CPU.

        Raises:
            InputError: If the images are neither.
        """
        weight = self.network.to_map.weight
        presences, maps = [], []
        with torch.no_grad():
            for start in range(0, len(images), self.batch_size):
                batch = to_unit_tensor(images[start : start + self.batch_size])
                presence, cells = self.network(batch.to(weight.device, weight.dtype) * 2 - 1)
                grown = F.interpolate(
                    cells.float(), size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False
                )
                presences.append(presence.float().sigmoid().cpu())
                maps.append(grown.sigmoid().cpu())
        probabilities = torch.cat([torch.zeros(0, len(OBJECTS)), *presences]).unbind(1)
        heat_maps = torch.cat([torch.zeros(0, len(OBJECTS), IMAGE_SIZE, IMAGE_SIZE), *maps]).unbind(1)
        return Detections(dict(zip(OBJECTS, probabilities, strict=True)), dict(zip(OBJECTS, heat_maps, strict=True)))


def to_unit_tensor(images: Sequence[Image.Image] | torch.Tensor) -> torch.Tensor:
    """Turn images into one tensor (n, 3, 64, 64) in [0, 1].

    Args:
        images: PIL images, or a floating-point tensor (n, 3, height, width) in [0, 1].

    Raises:
        InputError: If they are neither.
    """
    if isinstance(images, torch.Tensor):
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise InputError(
                f"images is a tensor of shape {tuple(images.shape)} and type {images.dtype}; accepted is a "
                "floating-point tensor (n, 3, height, width) with values in [0, 1], or a list of PIL images."
            )
        low, high = (float(images.min()), float(images.max())) if images.numel() else (0.0, 0.0)
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise InputError(
                f"images holds values from {low:.3g} to {high:.3g}; accepted are values in [0, 1]. "
                "Divide bytes by 255, and map [-1, 1] with x / 2 + 0.5."
            )
        if images.shape[2:] == (IMAGE_SIZE, IMAGE_SIZE):
            return images
        size = (IMAGE_SIZE, IMAGE_SIZE)
        return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    strange = next((image for image in images if not isinstance(image, Image.Image)), None)
    if strange is not None:
        raise InputError(f"images holds a {type(strange).__name__}; accepted are PIL images, or one tensor.")
    rows = []
    for image in images:
        picture = image.convert("RGB")
        if picture.size != (IMAGE_SIZE, IMAGE_SIZE):
            picture = picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
        rows.append(np.asarray(picture, dtype=np.uint8))
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255


def load_detector(folder: str | Path | None = None, device: str | torch.device = "cpu") -> Detector:
    """Load the committed detector.

    Args:
        folder: Another folder that holds a detector; ``None`` for the committed one.
        device: Where it computes.

    Returns:
        A callable from images to :class:`Detections`.

    Raises:
        InputError: If the weights are missing, cut off, or of another shape.
    """
    return Detector(load_network(folder).to(device))


def load_network(folder: str | Path | None = None) -> DetectorNetwork:
    """Load the detector's network in float32, for example to train it on. See :func:`load_detector`."""
    path = weights_folder("detector", folder, (CONFIG_FILE, WEIGHTS_FILE))
    config = read_config(path / CONFIG_FILE)
    if config.get("objects") != list(OBJECTS) or not isinstance(config.get("width"), int):
        raise InputError(
            f"{path / CONFIG_FILE} describes a detector of objects {config.get('objects')} and width "
            f"{config.get('width')}; accepted are the objects {list(OBJECTS)} and an integer width. Train it again "
            "with `dsas orchard train detector`."
        )
    network = DetectorNetwork(config["width"])
    tensors = read_tensors(path / WEIGHTS_FILE, network.state_dict())
    network.load_state_dict(tensors)
    return network
