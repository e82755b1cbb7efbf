"""`dsas evaluate images`: a folder of pictures beside their prompts, their unsteered twins, or both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..evaluation.images import image_size, list_images, pair_folders, pair_images
from ..evaluation.pairs import evaluate_pairs, figures_table
from ..evaluation.report import to_json
from ..evaluation.row_files import check_row_file, write_rows
from ..files import atomic_write
from ..judges import clip_judge, detector_judge
from ..models import device_of


def evaluate(
    images: str,
    prompts: str | None = None,
    twins: str | None = None,
    concept: str | None = None,
    alternatives: list[str] | None = None,
    labels: list[str] | None = None,
    references: str | None = None,
    clip: str = "orchard",
    detector: Literal["orchard", "none"] = "orchard",
    backbone: Literal["clip", "none"] = "clip",
    json: str | None = None,
    rows: str | None = None,
    batch_size: int = 32,
    device: str | None = None,
) -> None:
    """Measure a folder of pictures against their prompts, their unsteered twins, or both.

    The pictures may come from any tool. Orchard's judges know nothing but Orchard's drawn scenes. For other pictures
    name a CLIP model with --clip and switch the detector off with --detector none.

    Args:
        images: The folder with the pictures.
        prompts: A .jsonl or .csv file with one row a picture: prompt, and optionally labels (what it should show) and
            file (the picture's name; without it the rows follow the pictures in the order of their names). Without
            this file nothing is measured that needs to know what a picture was to show.
        twins: A folder with the same prompts and seeds drawn without steering, under the same file names.
        concept: The concept as a text for CLIP, such as "a photo of a banana".
        alternatives: Texts that CLIP chooses from beside the concept, as a list: '["a photo of an apple", "an empty
            table"]'.
        labels: Objects of the detector that stand for the concept, as a list; by default the one that the concept's
            text names. Where there is none, removal is by CLIP's choice.
        references: A folder of other pictures, such as scenes that should appear instead of the concept; KID and FID
            to them as a set are measured.
        clip: The CLIP model: orchard, none, a folder, hf-hub:owner/name, or an open_clip name with its weights such as
            ViT-B-32:laion2b_s34b_b79k. Its features are those of KID and FID, too.
        detector: What says which objects a picture shows.
        backbone: What gives feature maps for the perceptual distance to the twin: the CLIP's image tower, or none.
        json: A file to write the figures to.
        rows: A .csv or .jsonl file to write each picture's own figures to; needs twins.
        batch_size: Pictures at a time.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.

    Raises:
        InputError: If something handed in can't be used.
    """
    where = device_of(device)
    if clip == detector == "none" and twins is None:
        raise InputError(
            "With clip and detector none and without twins there is nothing to measure. Name one of the three."
        )
    if prompts is None and twins is None and references is None and concept is None:
        raise InputError(
            "With neither prompts, twins, references nor a concept there is nothing to compare the pictures with. "
            "Give --prompts FILE, --twins FOLDER (the same ones drawn another way), --references FOLDER, or --concept."
        )
    if rows is not None:
        check_row_file(rows)
        if twins is None:
            raise InputError(f"rows is {rows!r}, but each picture's figures are of pairs. Give --twins FOLDER too.")
    pairs = pair_images(images, prompts, twins) if prompts is not None else pair_folders(images, twins)
    others = [] if references is None else list_images(references)
    if "orchard" in (clip, detector):
        _refuse_other_worlds([path for pair in pairs for path in (pair.path, pair.twin) if path is not None] + others)
    judge = clip_judge(clip, where, batch_size)
    figures = evaluate_pairs(
        pairs,
        clip=judge,
        detector=detector_judge(detector, where),
        concept=concept,
        alternatives=alternatives or (),
        batch_size=batch_size,
        labels=labels,
        backbone=judge.feature_maps if judge is not None and backbone == "clip" and twins is not None else None,
        references=others,
    )
    print(figures_table(figures))
    print(f"\nCLIP: {clip}, detector: {detector}.")
    if figures["unknown_labels"]:
        print(f"Left out, since the detector doesn't know them: {', '.join(figures['unknown_labels'])}.")
    if concept is not None and figures["concept_object"] is None and (judge is None or not alternatives):
        print(
            "Nothing says which pictures show the concept: no object of the detector's stands for it (--labels), and "
            "CLIP has nothing to choose from (--clip, --alternatives)."
        )
    if json is not None:
        asked = {"images": images, "prompts": prompts, "twins": twins, "concept": concept, "labels": labels}
        asked["references"] = references
        judges = {"alternatives": alternatives or [], "clip": clip, "detector": detector, "backbone": backbone}
        atomic_write(json, to_json({"settings": asked | judges, **figures}))
    if rows is not None:
        each = figures["paired"]["each"]
        written = [dict(zip(each, values, strict=True)) for values in zip(*each.values(), strict=True)]
        write_rows(rows, [{"file": pair.path.name, **row} for pair, row in zip(pairs, written, strict=True)])


def _refuse_other_worlds(paths: Sequence[Path]) -> None:
    # Figures of these judges on photographs would look like figures and mean nothing.
    for path in paths:
        if image_size(path) != (64, 64):
            raise InputError(
                f"{path} is no picture of Orchard's: those are 64×64. Orchard's judges know nothing else. Name "
                "another CLIP model (--clip ViT-B-32:laion2b_s34b_b79k) and switch the detector off (--detector none)."
            )
