"""`dsas fit`, `calibrate` and `generate`: any pipeline or language model, any prompt set, any steerer."""

from pathlib import Path
from typing import Any

from .calibration import calibrate as find_strength
from .command_options import Switch, asked_prompts, load_model, templated, writes
from .continuing import CONTINUATIONS, TOKENS, Writer, continue_into, continued_card, sampling, shown
from .drawing import GRID, draw_into, pictured_card
from .errors import InputError
from .evaluation.report import format_table
from .files import atomic_folder
from .fit_settings import Estimation
from .fitting import fit as learn
from .hooks.calls import Tokens
from .hooks.steerer import Steerer
from .hooks.storage import FILES
from .inspecting import described
from .judges import concept_judge
from .learning import MapFrom, Weighting
from .models import Precision, device_of
from .prompts import load_prompts
from .text_judges import classifier_for, concept_teller
from .training_loop import Training


def fit(
    prompts: str,
    out: str,
    model: str = "orchard",
    method: str = "caa",
    gate: str = "auto",
    sites: list[str] | str | None = None,
    read: str | None = "auto",
    towards: str | None = None,
    map_from: MapFrom = "auto",
    weighting: Weighting = "accuracy",
    estimation: Estimation = "at_once",
    training: Training | None = None,
    tau: float = 0.75,
    top_k: int | None = None,
    strength: float = 1.0,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    tokens: Tokens | None = None,
    chat: bool = False,
    max_new_tokens: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    picture: bool = True,
    precision: Precision = "float32",
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Learn to suppress one concept in a pipeline's pictures or a language model's texts, and save the steerer.

    Args:
        prompts: A prompt set: a bundled name such as orchard/banana or orchard/rudeness, a folder, or a file.
        out: Folder for the steerer.
        model: The pipeline: orchard, a folder in Diffusers' format, or a hub id; or a language model: orchard/language,
            a folder in Transformers' format, or a hub id.
        method: How to steer, by name.
        gate: When and where to steer, by name; auto is patch in pictures and logistic in texts.
        sites: A preset or pattern of the sites to steer, or several as a list; by default auto. Single attention heads
            are attention-heads, the pipeline's text encoders text-encoder.
        read: The site that gates read; auto chooses for gates that see places, null is each its own.
        towards: Another prompt set whose source and target the map learns from, such as orchard/blur.
        map_from: What the map learns from: averages over pictures (pooled), the concept's region (inside), or the half
            of it that a classifier is surest of (core); auto is core where the region is known.
        weighting: How accuracy becomes the site weight.
        estimation: at_once learns every site from the same pictures; causal draws them anew for each site, steered by
            those before it.
        training: How maps are trained end to end; methods that need it, such as lineas, have defaults.
        tau: Accuracy below which a site is left alone.
        top_k: How many sites to steer at most, the most accurate ones; by default every one that reaches tau.
        strength: The strength that the steerer has where none is given.
        num_inference_steps: Denoising steps; by default the pipeline's own.
        guidance_scale: Guidance scale; by default the pipeline's own.
        tokens: Which tokens of a language model's texts are learned from: those of the prompts (prompt, the default),
            their last one alone (last), of what
            continues them, or both.
        chat: Put a language model's prompts into the tokenizer's chat template.
        max_new_tokens: How many tokens continue a prompt, where these are learned from; by default 50.
        seed: First seed.
        batch_size: Prompts at a time.
        picture: Draw a few prompts without and with steering for the steerer's model card; a language model continues
            them.
        precision: The type of the model's weights.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.
        overwrite: Replace a steerer that is there already.

    Raises:
        InputError: If something handed in can't be used.
    """
    concept = load_prompts(prompts)
    drawing = _generation(num_inference_steps, guidance_scale)
    writing = {"tokens": tokens, "chat": chat or None, "max_new_tokens": max_new_tokens}
    language = writes(model, drawing, writing)
    if language and tokens in (None, "prompt") and max_new_tokens is not None:
        raise InputError(
            "max_new_tokens says how far prompts are continued, but tokens=prompt learns from the prompts alone. Add "
            "--tokens continuation or both, or leave it out."
        )
    continuing = _continuing(max_new_tokens)
    pipe, tokenizer = load_model(model, language, device, precision)
    generation = continuing if language and tokens not in (None, "prompt") else drawing
    with atomic_folder(out, overwrite=FILES if overwrite else False) as folder:  # a taken place is refused at once
        steerer = learn(
            pipe,
            concept,
            tokenizer=tokenizer,
            tokens=tokens or "prompt",
            chat=chat,
            method=method,
            gate=gate,
            sites=sites or "auto",
            read=read,
            towards=towards,
            map_from=map_from,
            weighting=weighting,
            estimation=estimation,
            training=training,
            tau=tau,
            top_k=top_k,
            strength=strength,
            seed=seed,
            batch_size=batch_size,
            generation=generation,
        )
        if picture and language:
            writer = Writer(pipe, tokenizer, continuing, batch_size=batch_size, chat=chat)
            steerer.card = continued_card(writer, steerer, concept)
        elif picture:
            steerer.card = pictured_card(pipe, steerer, concept, batch_size=batch_size)
        steerer.save_pretrained(folder, overwrite=True)
    print(described(steerer))
    print(f"\nSaved to {out}. Try it: dsas generate --model {model} --steerer {out} --prompt TEXT --out FOLDER")


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


def generate(
    steerer: str,
    out: str,
    model: str = "orchard",
    prompt: list[str] | str | None = None,
    prompts: str | None = None,
    strength: float | None = None,
    start: float = 0.0,
    end: float = 1.0,
    seed: int = 0,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    tokens: Tokens | None = None,
    chat: Switch = "auto",
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    samples: int | None = None,
    twins: bool = True,
    gates: bool = False,
    batch_size: int = 16,
    precision: Precision = "float32",
    device: str | None = None,
) -> None:
    """Draw or continue prompts with a steerer attached, beside what the model makes of them without it.

    Args:
        steerer: The steerer's folder or hub id.
        out: Folder for the pictures, prompts.jsonl and grid.png, or for continuations.jsonl; earlier ones there are
            replaced.
        model: The model that the steerer was fitted on: a pipeline (orchard, a folder in Diffusers' format, a hub id)
            or a language model (orchard/language, a folder in Transformers' format, a hub id).
        prompt: A text, or several as a list.
        prompts: A .jsonl or .csv file of prompts, instead.
        strength: The strength; by default the steerer's own.
        start: Share of the steps after which steering begins.
        end: Share of the steps after which it ends.
        seed: Seed of the first picture, or of the first batch of texts; the others follow.
        num_inference_steps: Denoising steps; by default those of the fit.
        guidance_scale: Guidance scale; by default that of the fit.
        tokens: Which tokens of a language model's texts to steer: those of the prompt, its last one alone (last),
            those that continue it, or prompt and continuation (both, the default).
        chat: Whether to put a language model's prompts into the tokenizer's chat template; auto does as the fit did.
        max_new_tokens: How many tokens continue a prompt at most; by default those of the fit, or 50.
        temperature: Sample from a language model at this temperature; 0 takes the most likely token each time. By
            default as the model's own settings say, which is mostly that.
        top_p: Sample from the most likely tokens that have this share of the chances.
        samples: How many continuations of each prompt.
        twins: Draw or continue each prompt without steering too.
        gates: Write down, too, where the gates were open: gates.png, or in continuations.jsonl each token's score.
        batch_size: Prompts at a time.
        precision: The type of the model's weights.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.

    Raises:
        InputError: If something handed in can't be used.
    """
    asked = asked_prompts(prompt, prompts)
    drawing = _generation(num_inference_steps, guidance_scale)
    window = {"start": start or None, "end": None if end == 1 else end}
    writing = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "samples": samples}
    language = writes(
        model, {**drawing, **window}, {**writing, "tokens": tokens, "chat": None if chat == "auto" else chat}
    )
    continuing = sampling(max_new_tokens, temperature, top_p, samples)
    loaded = Steerer.from_pretrained(steerer)
    pipe, tokenizer = load_model(model, language, device, precision)
    if language:
        generation = {"max_new_tokens": TOKENS, **loaded.manifest["generation"], **continuing}
        writer = Writer(pipe, tokenizer, generation, seed, batch_size, templated(loaded, chat))
        attached = {"strength": strength, "tokens": tokens or "both"}
        rows = continue_into(out, writer, loaded, asked, twins, gates, **attached)
        print(f"{shown(rows)}\n\nWrote {len(rows)} continuations to {Path(out) / CONTINUATIONS}.")
        return
    generation = {**loaded.manifest["generation"], **drawing}
    attached = {"strength": strength, "start": start, "end": end}
    draw_into(out, pipe, loaded, asked, seed, generation, batch_size, twins, gates, **attached)
    print(f"Drew {len(asked)} pictures: look at {Path(out) / GRID}.")


def _continuing(max_new_tokens: int | None) -> dict[str, Any]:
    return {"max_new_tokens": TOKENS, **sampling(max_new_tokens)}


def _generation(steps: int | None, guidance_scale: float | None) -> dict[str, Any]:
    given = {"num_inference_steps": steps, "guidance_scale": guidance_scale}
    return {key: value for key, value in given.items() if value is not None}
