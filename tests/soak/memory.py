"""Steered pictures for hours: attached, detached, recorded, loaded as adapters; memory must not grow.

python tests/soak/memory.py --minutes 120
"""

import argparse
import gc
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import GENERATION, draw, tiny_concept, tiny_pipeline

import dsas_diffusion as dsas

#: Growth of a picture that counts as none, in bytes: an hour holds some 100,000 of these pictures.
ENOUGH = 200


def resident() -> int:
    """Bytes of the process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """Draw, look at memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--pause", type=float, default=0, help="seconds between rounds, beside other work")
    options = parser.parse_args()
    pipe, concept = tiny_pipeline(), tiny_concept()
    steerer = dsas.fit(pipe, concept, tau=0.5, generation=GENERATION, progress=False)
    drawn, seen, began = 0, [], time.monotonic()
    handle = steerer.attach(pipe)
    while time.monotonic() - began < 60 * options.minutes:
        for strength in (1.0, 0.0, 2.0):  # as a server does: one attachment, another λ for each request
            handle.set_strength(strength)
            draw(pipe, ["zzz zuzu z", "eee oror b"], seed=drawn, **GENERATION)
            drawn += 2
        handle.detach()
        with steerer.attached(pipe, record_gates=True) as run:
            draw(pipe, ["zzz zuzu z"], seed=drawn, **GENERATION)
            run.gate_maps()
        dsas.load_steering(pipe, steerer, adapter_name="one")
        dsas.set_steering(pipe, {"one": 0.5})
        draw(pipe, ["zzz zuzu z"], seed=drawn, **GENERATION)
        dsas.unload_steering(pipe)
        handle = steerer.attach(pipe)
        drawn += 2
        time.sleep(options.pause)
        if drawn % 64 == 0:
            gc.collect()
            seen.append((drawn, resident()))
    handle.detach()
    pictures, sizes = np.array(seen[len(seen) // 4 :], dtype=np.float64).T  # the first quarter fills caches
    growth = float(np.polyfit(pictures, sizes, 1)[0])
    print(
        f"{drawn} pictures in {(time.monotonic() - began) / 60:.1f} min: {sizes[0] / 2**20:.1f} MiB after a quarter, "
        f"{sizes[-1] / 2**20:.1f} MiB in the end, {growth:+.1f} bytes a picture."
    )
    if options.minutes >= 10 and growth > ENOUGH:  # in less, the allocator's own steps are all that shows
        sys.exit(f"Memory grows by more than {ENOUGH} bytes a picture.")


if __name__ == "__main__":
    main()
