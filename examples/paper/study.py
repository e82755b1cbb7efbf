"""Compare control sets, and test gates on another set than their own.

python examples/paper/study.py                    RTP and ToxiGen on Qwen2.5-1.5B and Gemma-2-2B: a GPU and the hub
python examples/paper/study.py --model orchard    two styles of rudeness on the small model that comes with the package

Stopped anywhere and started again, it goes on where it was.
"""

import argparse
import sys
from pathlib import Path

from dsas_diffusion.errors import InputError
from dsas_diffusion.recipes.studies import run_studies

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", nargs="+", default=["qwen2.5-1.5b", "gemma-2-2b"], help="names in protocol.yaml")
parser.add_argument("--out", default="outputs/studies", help="folder for everything that is measured")
parser.add_argument("--page", default=None, help="where to write the page, too, such as docs/studies.md")
parser.add_argument("--recipes", default=str(Path(__file__).parent), help="folder of recipes and studies.yaml")
parser.add_argument("--device", default=None, help="such as cpu or cuda; by default the GPU if there is one")
options = parser.parse_args()
try:
    print(run_studies(options.recipes, options.model, options.out, options.page, options.device))
except InputError as error:
    sys.exit(f"study.py: {error}")
