"""`dsas calibrate`: the strength that removes enough, or changes little enough, saved with the steerer."""

from typing import Any

from ..calibration import calibrate as find_strength
from ..continuing import TOKENS, Writer, continued_card
from ..drawing import pictured_card
from ..evaluation.report import format_table
from ..files import atomic_folder
from ..hooks.steerer import Steerer
from ..hooks.storage import FILES
from ..judges import concept_judge
from ..models import Precision, device_of
from ..prompts import load_prompts
from ..texts.by_name import classifier_for, concept_teller
from .options import load_model, templated, writes


def calibrate(
    steerer: str,
    prompts: str,
    out: str,
    model: str = "orchard",
    removal: float | None = None,
    budget: float | None = None,
    judge: str = "auto",
    label: str | None = None,
    highest: float = 8.0,
    batch_size: int = 16,
    picture: bool = True,
    precision: Precision = "float32",
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Find the strength that removes enough, or changes little enough, on tuning prompts, and save the steerer with it.

    Args:
        steerer: The steerer's folder or hub id.
        prompts: A prompt set with tuning prompts: a bundled name such as orchard/banana or orchard/rudeness, a folder,
            or a file.
        out: Folder for the calibrated steerer.
        model: The model that the steerer was fitted on: a pipeline (orchard, a folder in Diffusers' format, a hub id)
            or a language model (orchard/language, a folder in Transformers' format, a hub id).
        removal: Share of the pictures or continuations that show the concept unsteered and shall not when steered, such
            as 0.9.
        budget: How much control prompts may change at most, instead of removal: pictures by a mean difference from 0
            to 1, such as 0.01; of continuations the share that is not word for word the same, such as 0.05.
        judge: What says whether a picture shows the concept: detector (Orchard's), or a CLIP as for dsas evaluate
            images (orchard, a folder, hf-hub:owner/name, ViT-B-32:TAG), which chooses between the set's texts; or
            whether a continuation does, as the classifier of dsas evaluate text (orchard, a folder, a hub id). auto is
            the detector, and for texts what is auto there.
        label: The label that counts, of a classifier of texts; by default toxic.
        highest: The largest strength to try.
        batch_size: Prompts at a time.
        picture: Draw a few prompts without and with steering for the steerer's model card.
        precision: The type of the model's weights.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.
        overwrite: Replace a steerer that is there already.

    Raises:
        InputError: If something handed in can't be used, or no strength removes enough.
    """
    language = writes(model, {}, {"label": label})
    loaded, concept, where = Steerer.from_pretrained(steerer), load_prompts(prompts), device_of(device)
    shows: Any = None
    if removal is not None and language:
        shows = concept_teller(classifier_for(judge, model), label or "toxic", where, batch_size)
    elif removal is not None:
        shows = concept_judge("detector" if judge == "auto" else judge, concept, where)
    pipe, tokenizer = load_model(model, language, device, precision)
    with atomic_folder(out, overwrite=FILES if overwrite else False) as folder:
        found = find_strength(
            pipe,
            loaded,
            concept,
            tokenizer=tokenizer,
            removal=removal,
            shows=shows,
            budget=budget,
            highest=highest,
            batch_size=batch_size,
        )
        if picture and language:
            generation = {"max_new_tokens": TOKENS, **loaded.manifest["generation"]}
            writer = Writer(pipe, tokenizer, generation, batch_size=batch_size, chat=templated(loaded, "auto"))
            loaded.card = continued_card(writer, loaded, concept)
        elif picture:
            loaded.card = pictured_card(pipe, loaded, concept, batch_size=batch_size)
        loaded.save_pretrained(folder, overwrite=True)
    rows: list[list[object]] = [list(pair) for pair in loaded.manifest["calibration"]["curve"]]
    print(format_table(rows, {"strength": "g", "removed" if removal is not None else "change": ".3g"}))
    print(f"\nStrength {found:g}, saved in {out}.")
