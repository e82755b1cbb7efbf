"""Steerer folders damaged in thousands of ways: each loads or is refused in one paragraph, and nothing stays attached.

python tests/soak/mutated_folders.py --count 2000
"""

import argparse
import copy
import json
import random
import resource
import shutil
import struct
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import GENERATION, draw, tiny_concept, tiny_pipeline

import dsas_diffusion as dsas
from dsas_diffusion.hooks.registration import hooks_of

#: What a value becomes: huge, negative, of another type, or nothing.
STRANGE = [
    10**18,
    -(10**18),
    2**31,
    -1,
    0,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "x" * 10_000,
    "../../etc",
    None,
    True,
]
STRANGE += [[], {}, [[[]]], {"name": "os.system"}, "__import__('os').system('touch executed')"]
#: More than this must not be asked for by any folder: a huge size would.
MEMORY = 6 * 2**30


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, each in inside for found in [(*path, key), *places(each, (*path, key))]]


def changed(manifest: Any, choice: random.Random) -> tuple[str, Any]:
    """A manifest with one entry dropped, doubled or made strange."""
    damaged = copy.deepcopy(manifest)
    *way, last = choice.choice(places(damaged))
    holder = damaged
    for key in way:
        holder = holder[key]
    kind = choice.choice(["dropped", "strange", "doubled"])
    if kind == "dropped":
        del holder[last]
    elif kind == "strange":
        holder[last] = choice.choice(STRANGE)
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]))
    else:
        holder[f"{last} "] = copy.deepcopy(holder[last])
    return f"an entry {kind}", damaged


def flipped(content: bytes, choice: random.Random) -> bytes:
    """Some bytes changed."""
    damaged = bytearray(content)
    for _ in range(choice.choice([1, 1, 2, 8, 64])):
        damaged[choice.randrange(len(damaged))] ^= 1 << choice.randrange(8)
    return bytes(damaged)


def reheaded(content: bytes, choice: random.Random) -> bytes:
    """A safetensors file with another shape, type or place of one tensor in its header."""
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    name = choice.choice([name for name in header if name != "__metadata__"])
    about, kind = header[name], choice.choice(["shape", "dtype", "data_offsets", "name", "gone"])
    if kind == "shape":
        about["shape"] = choice.choice([[10**12], [-1], [], [1, *about["shape"]], [2**62, 4], [0]])
    elif kind == "dtype":
        about["dtype"] = choice.choice(["F64", "I8", "BF16", "Q4", "BOOL"])
    elif kind == "data_offsets":
        about["data_offsets"] = choice.choice([[0, 10**15], [-8, 8], [8, 0], [1, 5]])
    else:
        header.pop(name)
        if kind == "name":
            header[f"{name}x"] = about
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def damage(folder: Path, choice: random.Random) -> str:
    """Damage one of a folder's files; says how."""
    manifest, tensors = folder / "steerer.json", folder / "steerer.safetensors"
    way = choice.choice(["entry", "entry", "entry", "bytes", "cut", "header", "header", "swapped"])
    if way == "entry":
        how, damaged = changed(json.loads(manifest.read_text()), choice)
        manifest.write_text(json.dumps(damaged))
        return how
    path = tensors if way == "header" else choice.choice([manifest, tensors])
    content = path.read_bytes()
    if way == "swapped":
        path.write_bytes(
            choice.choice([b"", b"\0" * 64, b"{}", tensors.read_bytes() if path == manifest else b"[1, 2]"])
        )
    else:
        cut = content[: choice.randrange(len(content))]
        path.write_bytes({"bytes": flipped, "header": reheaded}.get(way, lambda *_: cut)(content, choice))
    return f"{path.name}: {way}"


def untouched(pipe: Any) -> bool:
    """Whether no module carries a hook of ours."""
    return not any("dsas" in name for module in pipe.unet.modules() for name in hooks_of(module))


def main() -> None:
    """Damage, load, attach, look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    choice, pipe = random.Random(options.seed), tiny_pipeline()
    steerers = [
        dsas.fit(pipe, tiny_concept(), method=method, gate=gate, tau=0.5, generation=GENERATION, progress=False)
        for method, gate in (("caa", "patch"), ("linear_act", "logistic"), ("rank_one", "mlp"), ("mera", "cast"))
    ]
    limit = MEMORY + int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = draw(pipe, ["zzz zuzu z"], **GENERATION)
    ends, slowest, began = Counter(), 0.0, time.monotonic()
    with TemporaryDirectory() as place:
        whole = []
        for number, steerer in enumerate(steerers):
            whole.append(steerer.save_pretrained(Path(place) / f"{number}"))
        for number in range(options.count):
            folder = Path(place) / "damaged"
            shutil.copytree(choice.choice(whole), folder)
            how, start = damage(folder, choice), time.monotonic()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    loaded = dsas.Steerer.from_pretrained(folder)
                    with loaded.attached(pipe, 0.0):
                        draw(pipe, ["zzz zuzu z"], **GENERATION)
                end = "works"
            except dsas.InputError as error:
                end = "refused"
                if "\n" in str(error) or len(str(error)) > 2000:
                    sys.exit(f"number {number}, {how}: no paragraph but {str(error)[:500]!r}")
            except Exception as error:
                shutil.copytree(folder, "damaged-folder", dirs_exist_ok=True)
                raise RuntimeError(f"number {number}, {how}: see ./damaged-folder") from error
            ends[end] += 1
            slowest = max(slowest, time.monotonic() - start)
            if not untouched(pipe) or Path("executed").exists():
                sys.exit(f"number {number}, {how}: something stayed behind.")
            shutil.rmtree(folder)
    if not torch.equal(draw(pipe, ["zzz zuzu z"], **GENERATION), before):
        sys.exit("The pipeline draws something else than before.")
    print(
        f"{options.count} damaged folders, seed {options.seed}: {ends['refused']} refused in one paragraph, "
        f"{ends['works']} harmless; the slowest took {slowest:.2f} s, all {time.monotonic() - began:.0f} s."
    )


if __name__ == "__main__":
    main()
