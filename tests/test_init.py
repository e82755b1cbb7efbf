"""The package's face: quick, silent, lazy."""

import os
import subprocess
import sys

import pytest

import dsas_diffusion


def test_import_is_quick_silent_and_light():
    code = "import sys, dsas_diffusion; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    before = os.times()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = os.times()
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    # Processor time, not the clock's: other tests share the processor.
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 0.5


def test_light_public_names_resolve_to_their_homes():
    from dsas_diffusion import InputError, PromptSet, load_prompts, prompts

    assert load_prompts is prompts.load_prompts
    assert PromptSet is prompts.PromptSet
    assert issubclass(InputError, ValueError)


def test_dir_lists_the_public_names():
    assert set(dsas_diffusion.__all__) <= set(dir(dsas_diffusion))


def test_fit_stays_a_function_once_its_module_is_imported():
    pytest.importorskip("dsas_diffusion.fitting.fit")
    from dsas_diffusion.fitting.fit import fit

    assert dsas_diffusion.fit is fit
    assert callable(dsas_diffusion.fit)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = dsas_diffusion.nonsense
