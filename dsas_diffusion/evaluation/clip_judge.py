"""One open_clip model as a judge: features, scores and choices, in batches, of texts of any length."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from PIL import Image
from torch.nn import functional as F

from ..errors import InputError
from .clip import clip_score, zero_shot
from .clip_models import load_open_clip
from .images import as_pil

LAYERS = 5  # of an image tower for `feature_maps`
_CLAUSE_END = re.compile(r"(?<=[,.;:!?])\s+")


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Cut a text into pieces that fit: at ends of clauses if possible, else between words, else inside a word.

    Args:
        text: The text.
        fits: Whether a piece is short enough.

    Returns:
        The pieces in order, each as long as it can be; `[text]` if it fits whole.
    """
    if len(text) < 2 or fits(text):
        return [text]
    levels = ((_CLAUSE_END.split(text.strip()), " "), (text.split(), " "), (list(text), ""))
    units, joint = next((units, joint) for units, joint in levels if len(units) > 1)
    pieces = [""]
    for unit in units:
        longer = pieces[-1] + joint + unit if pieces[-1] else unit
        if fits(longer):
            pieces[-1] = longer
        else:
            pieces += split_text(unit, fits)
    return [piece for piece in pieces if piece]


class ClipJudge:
    """Features, scores and choices of one open_clip model, in batches.

    Args:
        model: The model as open_clip gives it; put into evaluation mode.
        preprocess: PIL image → (3, height, width) tensor, the model's own.
        tokenizer: List of texts → (n, context length) ids, the model's own; `tokenizer.context_length` is its limit.
        device: Where to compute; by default where the model is.
        batch_size: Pictures or texts at a time. Figures don't depend on it.
        name: How reports call the model.

    Raises:
        InputError: If `batch_size` is below 1.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        preprocess: Callable[[Image.Image], torch.Tensor],
        tokenizer: Any,
        device: str | torch.device | None = None,
        batch_size: int = 32,
        name: str = "open_clip model",
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it is a number of pictures, 1 or more.")
        self.device = torch.device(device) if device is not None else next(model.parameters()).device
        self.model: Any = model.to(self.device).eval()
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.name = name
        self._blank: torch.Tensor | None = None

    @classmethod
    def load(
        cls, name: str, pretrained: str | None = None, device: str | torch.device = "cpu", batch_size: int = 32
    ) -> Self:
        """Load a model through open_clip.

        Args:
            name: What to load; see `load_open_clip`.
            pretrained: Its weights, where the name doesn't say; see `load_open_clip`.
            device: Where to compute.
            batch_size: Pictures or texts at a time.

        Returns:
            The judge.

        Raises:
            InputError: If there is no such model, or it can't be loaded.
        """
        model, preprocess, tokenizer = load_open_clip(name, pretrained, device)
        return cls(model, preprocess, tokenizer, device=device, batch_size=batch_size, name=name)

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied with before a softmax."""
        return float(self.model.logit_scale.detach().float().exp())

    @torch.no_grad()
    def image_features(self, images: Sequence[Image.Image] | torch.Tensor) -> torch.Tensor:
        """Embed pictures.

        Args:
            images: n PIL images, or (n, 3, height, width) floats in [0, 1], which are rounded to 8 bits.

        Returns:
            (n, d) float32 of length 1, on the CPU.

        Raises:
            InputError: If a tensor has another shape, or values outside [0, 1].
        """
        pictures = as_pil(images)
        dtype = next(self.model.parameters()).dtype
        rows = []
        for start in range(0, len(pictures), self.batch_size):
            batch = torch.stack([self.preprocess(image) for image in pictures[start : start + self.batch_size]])
            rows.append(self._unit(self.model.encode_image(batch.to(self.device, dtype))))
        return torch.cat(rows)

    @torch.no_grad()
    def feature_maps(self, images: Sequence[Image.Image] | torch.Tensor) -> list[torch.Tensor]:
        """Give the image tower's own maps, for `perceptual_distance`: five layers, spread evenly, the last among them.

        The pictures go through the model's preprocessing, which may resize and crop. A ResNet has just five: its stem
        and its four stages.

        Args:
            images: n PIL images, or (n, 3, height, width) floats in [0, 1], which are rounded to 8 bits; at least one.

        Returns:
            (n, channels, height, width) float32 on the CPU for each layer; fewer layers where the tower has fewer.

        Raises:
            InputError: If a tensor has another shape, or values outside [0, 1], or the tower gives no maps.
        """
        pictures = as_pil(images)
        dtype = next(self.model.parameters()).dtype
        batches = []
        try:
            tower = self.model.visual.forward_intermediates
        except AttributeError as error:
            raise InputError(
                f"The image tower of {self.name} gives no feature maps, so there is no perceptual distance on it. Use "
                "another CLIP, or leave the backbone out (--backbone none)."
            ) from error
        for start in range(0, len(pictures), self.batch_size):
            batch = torch.stack([self.preprocess(image) for image in pictures[start : start + self.batch_size]])
            found = tower(batch.to(self.device, dtype), intermediates_only=True)
            layers = found["image_intermediates"]
            chosen = sorted({round((number + 1) * len(layers) / LAYERS) - 1 for number in range(LAYERS)} - {-1})
            batches.append([layers[number].float().cpu() for number in chosen])
        return [torch.cat(layer) for layer in zip(*batches, strict=True)]

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts.

        A text that fits the model's context goes through as it is. A longer one, whose end open_clip would cut off, is
        split at ends of clauses (`split_text`); its feature is the mean of its pieces' normalised features, weighted
        by their numbers of characters, and normalised again.

        Args:
            texts: n texts.

        Returns:
            (n, d) float32 of length 1, on the CPU.
        """
        pieces = [split_text(text, self._fits) for text in texts]
        flat = [piece for parts in pieces for piece in parts]
        rows = []
        for start in range(0, len(flat), self.batch_size):
            tokens = self.tokenizer(flat[start : start + self.batch_size])
            rows.append(self._unit(self.model.encode_text(tokens.to(self.device))))
        features = torch.cat(rows).split([len(parts) for parts in pieces])
        return torch.stack(
            [
                part[0]
                if len(parts) == 1
                else F.normalize(part.T @ torch.tensor([float(len(p)) for p in parts]), dim=0)
                for part, parts in zip(features, pieces, strict=True)
            ]
        )

    def scores(self, images: Sequence[Image.Image] | torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        """CLIP score of each picture to its text; see `clip_score`.

        Args:
            images: n pictures, as in `image_features`.
            texts: n texts, or one for all.

        Returns:
            (n,) float32 in [0, 100].

        Raises:
            InputError: If the numbers of pictures and texts differ.
        """
        if len(texts) not in (1, len(images)):
            raise InputError(
                f"There are {len(images)} images and {len(texts)} texts; give one text for each image, or one for all."
            )
        return clip_score(self.image_features(images), self.text_features(texts))

    def zero_shot(self, images: Sequence[Image.Image] | torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        """Probability of each text among all of them, picture by picture; see `zero_shot`.

        Args:
            images: n pictures, as in `image_features`.
            texts: k texts to choose from, two or more.

        Returns:
            (n, k) float32; each row sums to 1.

        Raises:
            InputError: If there are fewer than two texts.
        """
        if len(texts) < 2:
            raise InputError(
                f"A zero-shot choice among {list(texts)} is none. Give the concept and at least one alternative."
            )
        return zero_shot(self.image_features(images), self.text_features(texts), self.logit_scale)

    def _unit(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(features.float(), dim=-1).cpu()

    def _fits(self, text: str) -> bool:
        # Tokenizers don't tell that they cut. Given twice the room, a text that fits has the same ids and then padding.
        limit = self.tokenizer.context_length
        if self._blank is None:
            self._blank = self.tokenizer([""], context_length=2 * limit)[0, limit:]
        roomy = self.tokenizer([text], context_length=2 * limit)[0]
        return bool((roomy[limit:] == self._blank).all()) and bool((roomy[:limit] == self.tokenizer([text])[0]).all())
