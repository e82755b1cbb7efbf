"""Public names are described: arguments, with shapes where they are tensors, errors, and the paper if there is one."""

import ast
import dataclasses
import inspect
import pkgutil
import re
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

import dsas_diffusion
from dsas_diffusion import orchard, prompts
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.methods.base import METHODS

ROOT = Path(__file__).parents[1]
ERRORS = {"InputError", "UnknownNameError", "DivergedError"}
#: Arguments that are handed on as they came.
PASSED_ON = {"self", "args", "kwargs"}


def public() -> dict[str, object]:
    """Every name that a public module lists in `__all__`, and what it stands for."""
    modules = [dsas_diffusion]
    for info in pkgutil.walk_packages(dsas_diffusion.__path__, "dsas_diffusion."):
        source = info.module_finder.find_spec(info.name).loader.get_source(info.name)
        if "__all__ = " in source:
            modules.append(import_module(info.name))
    found = {f"{module.__name__}.{name}": getattr(module, name) for module in modules for name in module.__all__}
    return {name: what for name, what in found.items() if inspect.isclass(what) or inspect.isfunction(what)}


def measures() -> dict[str, object]:
    """What the page of the evaluation's API lists."""
    page = (ROOT / "docs" / "api" / "evaluation.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    found = {name: getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2], None) for name in names}
    return {name: what for name, what in found.items() if what is not None}  # what is not there is told by a test


def family() -> dict[str, type]:
    return {f"{registry} {name}": kind for registry, kinds in (("method", METHODS), ("gate", GATES))
            for name, kind in kinds.items()}  # fmt: skip


DESCRIBED = {**public(), **measures(), **family()}


def tree_of(what: object) -> ast.ClassDef | ast.FunctionDef:
    return ast.parse(textwrap.dedent(inspect.getsource(what))).body[0]


def functions(what: object) -> list[tuple[ast.FunctionDef, str]]:
    """The function itself or a class's public methods, each with its docstring; a class's own stands for `__init__`."""
    tree = tree_of(what)
    if isinstance(tree, ast.FunctionDef):
        return [(tree, ast.get_docstring(tree) or "")]
    made = {"__init__", "__post_init__"}
    own = [each for each in tree.body if isinstance(each, ast.FunctionDef)]
    return [(each, inspect.getdoc(what) if each.name in made else ast.get_docstring(each) or "") for each in own
            if each.name in made or not each.name.startswith("_")]  # fmt: skip


def sums_of(what: object) -> set[str]:
    """The fields of a measure that hold what it has seen, and are no settings."""
    if not dataclasses.is_dataclass(what) or not what.__module__.startswith("dsas_diffusion.evaluation."):
        return set()
    missing = dataclasses.MISSING
    return {
        each.name for each in dataclasses.fields(what) if (each.default, each.default_factory) != (missing, missing)
    }


def raised(function: ast.FunctionDef) -> bool:
    """Whether the function itself raises one of our errors."""
    return any(
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in ERRORS
        for node in ast.walk(function)
    )


@pytest.mark.parametrize("name", DESCRIBED)
def test_it_is_described(name):
    said = inspect.getdoc(DESCRIBED[name]) or ""
    assert re.match(r"\S.*[.:,;]", said), name


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_argument_is_described(name):
    what = DESCRIBED[name]
    said = inspect.getdoc(what) or ""
    if inspect.isclass(what) and "__init__" not in vars(what):
        return  # as its base's, or without any
    for argument in inspect.signature(what).parameters:
        if argument not in PASSED_ON | sums_of(what):
            assert re.search(rf"^    \*{{0,2}}{argument}: \S", said, re.MULTILINE), (
                f"{name} does not describe {argument}"
            )


@pytest.mark.parametrize("name", DESCRIBED)
def test_errors_are_told(name):
    told = re.compile(r"Raises:|[Ss]ee `\w+` for .*errors")
    silent = [each.name for each, said in functions(DESCRIBED[name]) if raised(each) and not told.search(said)]
    assert not silent, f"{name} raises an error and does not say so, in {silent}"


@pytest.mark.parametrize("name", public())
def test_tensors_have_shapes(name):
    """In the signature, by jaxtyping, or in the docstring: `(n, height, width)`."""
    for function, said in functions(DESCRIBED[name]):
        arguments = [*function.args.args, *function.args.kwonlyargs]
        for argument in arguments:
            kind = ast.unparse(argument.annotation) if argument.annotation else ""
            if re.fullmatch(r"(torch\.)?Tensor", kind):
                told = re.search(
                    rf"^    (?:    )?{argument.arg}: (.*(?:\n +.*)*?)(?=\n    \S|\n\n|\Z)", said, re.MULTILINE
                )
                assert told, f"{name}.{function.name}: {argument.arg}"
                assert re.search(r"\([\w\s,·.]+\)", told[1]), f"{name}.{function.name}: {argument.arg} has no shape"


def test_every_public_name_has_a_place_in_the_api():
    """On any of its pages; classes of methods and gates too."""
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    listed = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    for name in dsas_diffusion.__all__:
        assert name == "__version__" or {f"dsas_diffusion.{name}", f"dsas_diffusion.prompts.{name}"} & listed, name
    for module in (orchard, prompts):
        assert {f"{module.__name__}.{name}" for name in module.__all__} <= listed
    missing = {f"{kind.__module__}.{kind.__name__}" for kind in family().values()} - listed
    assert not missing, f"docs/api/methods.md or gates.md lacks ::: {missing}"
    for name in listed:
        module, _, last = name.rpartition(".")
        assert hasattr(import_module(module), last), name


@pytest.mark.parametrize("name", family())
def test_methods_and_gates_have_a_source(name):
    """The paper with its equation or section; what is not of a paper says so."""
    said = inspect.getdoc(family()[name])
    assert re.search(r"(References|Source):\s+\S", said) or re.search(r"\b[Oo]urs\b", said), (
        f"{name}: name the paper under References:, or write Ours"
    )
    if "References:" in said or "Source:" in said:
        assert re.search(r"arXiv \d{4}\.\d{5}", said), name
