"""Settings that every test runs under: no network, shapes and types checked."""

import os

from jaxtyping import install_import_hook

# Before any library reads it: tests never reach out, they build tiny models in memory or use Orchard.
os.environ["HF_HUB_OFFLINE"] = "1"

# Two workers with two threads each would wait for one another on two cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# The shapes written in core's signatures are checked at every call. (Methods and gates return `Self`, which beartype
# refuses on functions decorated one by one, as the hook does.)
if "DSAS_UNCHECKED" not in os.environ:  # set where functions are compiled, which their wrappers can't be
    install_import_hook("dsas_diffusion.core", "beartype.beartype")
