"""Runs what a page of the documentation shows, in its order, in the folder that it is started in.

python tests/run_page.py docs/start.md

Python shares one namespace, commands run in the same process. Where there is no GPU, "cuda" stands for the processor,
in float32, since half precision takes many times as long there.
"""

import sys
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from doc_pages import blocks_of

from dsas_diffusion.cli import main


def run(page: str) -> None:
    """Run a page.

    Args:
        page: Its path in the repository.
    """
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks_of(page):
        if block.excuse or not block.runs:
            continue
        print(f"{page}, line {block.line}", flush=True)
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        if block.language == "python":
            text = "\n" * (block.line - 1) + block.text  # so that a traceback tells the page's own line
            exec(compile(text, page, "exec"), names)
        for words in block.commands:
            if main(words):
                sys.exit(f"{page}, line {block.line}: dsas {' '.join(words)} failed.")


def _without_gpu() -> None:
    moved = DiffusionPipeline.to

    def to(self: DiffusionPipeline, *args: object, **kwargs: object) -> DiffusionPipeline:
        return moved(self, "cpu", torch.float32) if args == ("cuda",) else moved(self, *args, **kwargs)

    DiffusionPipeline.to = to


if __name__ == "__main__":
    if not torch.cuda.is_available():
        _without_gpu()
    run(sys.argv[1])
