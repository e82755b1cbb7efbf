"""Pictures in memory judged beside their unsteered twins: one row of figures a picture."""

from collections.abc import Sequence

from PIL import Image

from ..errors import InputError
from ..prompts import Prompt
from .judge import Judge
from .paired import Paired

__all__ = ["Judge", "judge_pictures"]


def judge_pictures(
    judge: Judge, images: Sequence[Image.Image], twins: Sequence[Image.Image], prompts: Sequence[Prompt]
) -> list[dict[str, float]]:
    """Judge steered pictures beside their unsteered twins.

    A picture's figures don't depend on the others of the call, but for rounding; judged again in the same call they are
    the same to the last bit.

    Args:
        judge: Who judges, and the concept. A detector judges in batches of its own size; all pictures' features are
            held at once, so hand in some hundreds at a time.
        images: n steered pictures.
        twins: Their n unsteered twins, each of its picture's size.
        prompts: What they were drawn from. Labels that the detector doesn't know are left out.

    Returns:
        For each picture the figures that `Paired` lists, NaN where one doesn't apply; the same names for every picture
        of one judge. Empty for no picture.

    Raises:
        InputError: If the numbers or a pair's sizes differ.
    """
    if not len(images) == len(twins) == len(prompts):
        raise InputError(
            f"There are {len(images)} images, {len(twins)} twins and {len(prompts)} prompts. Give one twin and one "
            "prompt for each picture, in the same order."
        )
    if not images:
        return []
    for number, (image, twin) in enumerate(zip(images, twins, strict=True)):
        if image.size != twin.size:
            raise InputError(
                f"images[{number}] is {image.size[0]}×{image.size[1]} and its twin {twin.size[0]}×{twin.size[1]}. "
                "Twins are drawn at the same size; generate one of the two again."
            )
    paired = Paired()
    texts = None if judge.clip is None else judge.clip.text_features([prompt.text for prompt in prompts])
    paired.update(judge, judge.see(images), judge.see(twins), prompts, texts)
    return [dict(zip(paired.each, row, strict=True)) for row in zip(*paired.each.values(), strict=True)]
