"""What steering costs a language model while it generates: four layers, 512 wide, eight texts at a time.

python -m benchmarks.language_overhead
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.overhead import random_sites
from benchmarks.steering_on import attached
from dsas_diffusion.evaluation.report import format_table
from dsas_diffusion.evaluation.timing import in_turn, ratio
from dsas_diffusion.hooks.hosts import LanguageHost

COLUMNS = {"sites": "", "variant": "", "ms/token": ".3f", "ratio": ".4f", "95 % from": ".4f", "to": ".4f"}


def model(layers: int, width: int) -> Any:
    """A Llama with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=8,
        num_key_value_heads=8, vocab_size=32_000, max_position_embeddings=1024,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def measure(
    language: Any, variants: dict[str, Callable[[], AbstractContextManager[Any]]], texts: int, tokens: int, rounds: int
) -> dict[str, np.ndarray]:
    """Time every variant in turn, each round in another order; seconds a token."""
    prompt = torch.randint(3, 32_000, (texts, 32), generator=torch.Generator().manual_seed(0))
    given: dict[str, Any] = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
    given |= {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens, "pad_token_id": 0}
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for name, counts in in_turn(list(variants), rounds):
        with variants[name](), torch.no_grad():
            began = time.perf_counter()
            language.generate(**given)
            if counts:
                taken[name].append((time.perf_counter() - began) / tokens)
    return {name: np.array(each) for name, each in taken.items()}


def main() -> None:
    """Print one row for each preset of sites and variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", nargs="+", default=["attention", "blocks"])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--texts", type=int, default=8, help="texts at a time")
    parser.add_argument("--tokens", type=int, default=64, help="tokens that each is continued by")
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    language, rows = model(options.layers, options.width), []
    for preset in options.sites:
        gated, open_ = (random_sites(language, preset, gate) for gate in ("logistic", "always"))
        variants: dict[str, Callable[[], AbstractContextManager[Any]]] = {
            "unsteered": nullcontext,
            "vanilla": partial(attached, LanguageHost(language), open_),
            "DSAS": partial(attached, LanguageHost(language), gated),
        }
        found = measure(language, variants, options.texts, options.tokens, options.rounds)
        for name, taken in found.items():
            rows.append([preset, name, 1000 * statistics.median(taken), *ratio(taken, found["unsteered"])])
    print(f"{options.layers} layers, {options.width} wide, {options.texts} texts, {torch.get_num_threads()} threads")
    print(format_table(rows, COLUMNS))


if __name__ == "__main__":
    main()
