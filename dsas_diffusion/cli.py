"""The `dsas` command: typed functions become commands, their docstrings become help."""

import ast
import difflib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .errors import InputError

# Words on the command line → module and function. A function's signature and docstring are the command's options and
# help; it returns nothing, or an exit status. Only the function that is asked for is imported.
COMMANDS = {
    "demo": "demo.demo:demo",
    "fit": "commands.fit:fit",
    "calibrate": "commands.calibrate:calibrate",
    "generate": "commands.generate:generate",
    "evaluate images": "commands.evaluate_images:evaluate",
    "evaluate text": "commands.evaluate_text:evaluate",
    "sweep": "sweeps.sweep:sweep",
    "report": "sweeps.report:report",
    "inspect": "commands.inspect:inspect",
    "heat": "commands.heat:heat",
    "orchard render": "orchard.commands:render",
    "orchard questions": "orchard.commands:questions",
    "orchard check": "orchard.commands:check",
    "orchard train detector": "orchard.training.detector:train",
    "orchard train clip": "orchard.training.clip:train",
    "orchard train unet": "orchard.training.unet:train",
    "orchard train dit": "orchard.training.dit:train",
    "orchard train language": "orchard.training.language:train",
}

_KINDS = {"float": "a finite number", "int": "a whole number", "str": "text", "bool": "true or false"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: The words after `dsas`; by default those of this process.

    Returns:
        The exit status: 0 after success, 2 after input that can't be used, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words == ["--version"]:
            print(f"dsas {__version__}")
            return 0
        command = _match(words)
        if command in COMMANDS:
            return _run(command, words[len(command.split()) :])
        return _explain(command, words[len(command.split()) :])
    except InputError as error:
        print(f"dsas: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dsas: interrupted.", file=sys.stderr)
        return 130


def _match(words: list[str]) -> str:
    """Find the longest leading run of words that is a command or a group of commands ("orchard train")."""
    known = {" ".join(command.split()[:n]) for command in COMMANDS for n in range(len(command.split()) + 1)}
    return next(" ".join(words[:n]) for n in range(len(words), -1, -1) if " ".join(words[:n]) in known)


def _run(command: str, options: list[str]) -> int:
    module, _, name = COMMANDS[command].partition(":")
    function = getattr(import_module(f".{module}", __package__), name)
    parser = _parser(command, function)
    try:
        values = parser.parse_args(_switches([_with_underscores(option) for option in options]))
    except SystemExit as leaving:  # after --help, or after a message on stderr
        return int(leaving.code or 0)
    try:
        values = parser.instantiate(values)
    except ValueError as error:
        raise _reason(error) from error
    values.pop("config", None)
    status = function(**values.as_dict())
    return status if isinstance(status, int) else 0


def _reason(error: BaseException) -> BaseException:
    """Give the refusal of a settings class behind what jsonargparse made of it."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, InputError):
        found = found.__cause__ or found.__context__
    return found or error


def _parser(command: str, function: Callable[..., Any]) -> Any:
    from jsonargparse import ArgumentParser  # imported here: `dsas --help` does without

    class Parser(ArgumentParser):
        """Gives options of type bool as switches: `--quick` and `--no_quick`."""

        def add_argument(self, *args: Any, **kwargs: Any) -> Any:
            from jsonargparse import ActionYesNo  # here, since this method is run outside of its module, too

            if kwargs.get("type") is bool:
                del kwargs["type"]
                kwargs["action"] = ActionYesNo
            return super().add_argument(*args, **kwargs)

        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            raise InputError(_in_one_paragraph(message, command)) from ex

    described = inspect.getdoc(function) or ""
    parser = Parser(prog=f"dsas {command}", description=described.partition("\nArgs:")[0].strip())
    parser.add_argument("--config", action="config", help="A YAML file with these options.")
    parser.add_function_arguments(function, as_group=False, as_positional=False)
    return parser


def _in_one_paragraph(message: str, command: str) -> str:
    """Say in one paragraph what jsonargparse says in many lines."""
    see = f"`dsas {command} --help` describes the options."
    key, value = re.search(r'Parser key "(\w+)"', message), re.search(r"(?:Given|Got) value: (.*)", message)
    choice = re.search(r"Expected an? typing\.Literal\[(.*?)\]", message)
    if choice and key and value:
        accepted = ", ".join(re.findall(r"'([^']*)'", choice[1]))
        return f"--{key[1]} is {value[1]!r}, but must be one of: {accepted}. {see}"
    kinds = re.findall(r"Expected an? <class '(\w+)'>", message)
    if not key or not value:
        return f"{' '.join(message.split()).rstrip('.')}. {see}"
    accepted = " or ".join(_KINDS.get(kind, kind) for kind in dict.fromkeys(kinds) if kind != "NoneType")
    nested = re.fullmatch(r"NestedArg\(key='(\w+)', val='(.*)'\)", value[1])
    if nested:
        return (
            f"--{key[1]}.{nested[1]} is {nested[2]!r}, which it can't be. `dsas {command} --{key[1]}.help` tells more."
        )
    wanted = f"; accepted is {accepted}" if accepted else ""
    return f"--{key[1]} is {value[1]!r}, which it can't be{wanted}. {see}"


def _with_underscores(option: str) -> str:
    # `--batch-size` is what people type, `batch_size` is what the function calls it.
    if not option.startswith("--"):
        return option
    name, equals, value = option.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def _switches(options: list[str]) -> list[str]:
    """Give switches inside a class of settings the value that jsonargparse wants: `--training.gates`."""
    followed = [*options, "--"][1:]
    found = []
    for option, after in zip(options, followed, strict=True):
        alone = option.startswith("--") and "." in option and "=" not in option and after.startswith("--")
        if alone and not option.endswith(".help"):
            option = f"--{option[5:]}=false" if option.startswith("--no_") else f"{option}=true"
        found.append(option)
    return found


def _explain(group: str, rest: list[str]) -> int:
    """List the commands of a group; a word that is none of them is an error."""
    inside = {command: target for command, target in COMMANDS.items() if command.startswith(group)}
    if rest and rest[0] not in ("--help", "-h"):
        said = " ".join([*group.split(), rest[0]])
        close = difflib.get_close_matches(said, COMMANDS, n=1)
        hint = f" Did you mean `dsas {close[0]}`?" if close else ""
        raise InputError(
            f"there is no command `dsas {said}`.{hint} Commands are {', '.join(inside)}; see `dsas --help`."
        )
    width = max(len(command) for command in inside)
    print(f"usage: dsas {group} ".rstrip() + " COMMAND [--OPTION VALUE ...]\n")
    for command, target in inside.items():
        print(f"  dsas {command:<{width}}  {_summary(target)}")
    print("\n`dsas COMMAND --help` describes the options, `dsas --version` tells the version.")
    return 0


def _summary(target: str) -> str:
    """Read a function's first docstring line from its source, since importing it may take seconds."""
    module, _, name = target.partition(":")
    source = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    nodes = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name)
    docstring = next((ast.get_docstring(node) for node in nodes), None)
    return (docstring or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
