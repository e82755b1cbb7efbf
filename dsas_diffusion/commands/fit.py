"""`dsas fit`: learn a steerer for any pipeline or language model from any prompt set."""

from ..continuing import TOKENS, Writer, continued_card, sampling
from ..drawing import pictured_card
from ..errors import InputError
from ..files import atomic_folder
from ..fitting.fit import fit as learn
from ..fitting.learning import MapFrom, Weighting
from ..fitting.settings import Estimation
from ..fitting.training_loop import Training
from ..hooks.calls import Tokens
from ..hooks.storage import FILES
from ..models import Precision
from ..prompts import load_prompts
from .inspect import described
from .options import drawing_settings, load_model, writes


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
        tokens: Which tokens of a language model's texts are learned from: all of the prompt's (prompt, the default),
            its last one (last), those that the model continues it with (continuation), or both.
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
    drawing = drawing_settings(num_inference_steps, guidance_scale)
    writing = {"tokens": tokens, "chat": chat or None, "max_new_tokens": max_new_tokens}
    language = writes(model, drawing, writing)
    if language and tokens in (None, "prompt") and max_new_tokens is not None:
        raise InputError(
            "max_new_tokens says how far prompts are continued, but tokens=prompt learns from the prompts alone. Add "
            "--tokens continuation or both, or leave it out."
        )
    continuing = {"max_new_tokens": TOKENS, **sampling(max_new_tokens)}
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
