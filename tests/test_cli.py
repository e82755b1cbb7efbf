"""The `dsas` command, in process and as a real process."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from dsas_diffusion import __version__, cli
from dsas_diffusion.errors import InputError

MODULE = '''
from pathlib import Path

from dsas_diffusion.errors import InputError

def greet(name: str, out: Path, loud: bool = False, trace: bool = True, max_times: int = 1, seed: int | None = None):
    """Greet somebody.

    At some length.

    Args:
        name: Who is greeted.
        out: A folder.
        loud: Whether to shout.
        trace: Whether to leave one.
        max_times: How often at most.
        seed: Where chance starts.
    """
    if name == "nobody":
        raise InputError("name is 'nobody'; accepted is somebody.")
    if name == "impatient":
        raise KeyboardInterrupt
    print((name, out, loud, trace, max_times, seed))
    return 3 if name == "three" else None
'''


@pytest.fixture
def greet(tmp_path, monkeypatch):
    """Put one more command beside the package's own."""
    (tmp_path / "greetings.py").write_text(MODULE)
    monkeypatch.setattr("dsas_diffusion.__path__", [*sys.modules["dsas_diffusion"].__path__, str(tmp_path)])
    monkeypatch.setitem(cli.COMMANDS, "greet kindly", "greetings:greet")
    yield
    sys.modules.pop("dsas_diffusion.greetings", None)
    del sys.modules["dsas_diffusion"].greetings


@pytest.mark.usefixtures("greet")
class TestCommands:
    def test_functions_become_commands(self, capsys):
        line = ["greet", "kindly", "--name=Ada", "--out", "x", "--loud", "--no-trace", "--max-times", "2", "--seed=7"]
        assert cli.main(line) == 0
        assert capsys.readouterr().out == f"('Ada', {Path('x')!r}, True, False, 2, 7)\n"
        assert cli.main(["greet", "kindly", "--name", "a-b--c", "--out", "x"]) == 0
        assert capsys.readouterr().out == f"('a-b--c', {Path('x')!r}, False, True, 1, None)\n"

    def test_status_is_handed_on(self):
        assert cli.main(["greet", "kindly", "--name", "three", "--out", "x"]) == 3

    def test_help_comes_from_the_docstring(self, capsys):
        assert cli.main(["greet", "kindly", "--help"]) == 0
        out = capsys.readouterr().out
        for text in ("usage: dsas greet kindly", "Greet somebody.", "At some length.", "--loud", "How often at most."):
            assert text in out
        assert "Args:" not in out

    def test_options_from_yaml(self, capsys, tmp_path):
        (tmp_path / "o.yaml").write_text("name: Ada\nout: y\nloud: true\n")
        assert cli.main(["greet", "kindly", "--config", str(tmp_path / "o.yaml"), "--max_times=4"]) == 0
        assert capsys.readouterr().out == f"('Ada', {Path('y')!r}, True, True, 4, None)\n"

    def test_input_errors_are_one_paragraph_and_status_2(self, capsys):
        assert cli.main(["greet", "kindly", "--name", "nobody", "--out", "x"]) == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", "dsas: name is 'nobody'; accepted is somebody.\n")

    def test_ctrl_c_is_one_line_and_status_130(self, capsys):
        assert cli.main(["greet", "kindly", "--name", "impatient", "--out", "x"]) == 130
        assert capsys.readouterr().err == "dsas: interrupted.\n"

    @pytest.mark.parametrize(
        ("options", "message"),
        [([], "name"), (["--name=A", "--out=x", "--max_times=few"], "max_times"), (["--nmae=A"], "nmae")],
    )
    def test_wrong_options_are_status_2(self, capsys, options, message):
        assert cli.main(["greet", "kindly", *options]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert "Traceback" not in err


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"dsas {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demmo"], "no command `dsas demmo`. Did you mean `dsas demo`"),
        (["orchard", "trian"], "no command `dsas orchard trian`"),
    ],
)
def test_unknown_commands(capsys, words, message):
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


class TestThePackagesOwnCommands:
    def test_overview_is_quick_and_light(self):
        code = (
            "import sys; from dsas_diffusion.cli import main; status = main(['--help']);"
            "sys.exit(status or 'torch' in sys.modules)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (0, "")
        for command in cli.COMMANDS:
            assert f"dsas {command} " in run.stdout

    def test_groups_list_their_own(self, capsys):
        assert cli.main(["orchard"]) == 0
        out = capsys.readouterr().out
        assert "dsas orchard render" in out
        assert "dsas demo" not in out

    @pytest.mark.parametrize("command", list(cli.COMMANDS))
    def test_every_command_has_help_for_every_option(self, command, capsys):
        assert cli.main([*command.split(), "--help"]) == 0
        assert f"usage: dsas {command} " in capsys.readouterr().out
        module, _, name = cli.COMMANDS[command].partition(":")
        parser = cli._parser(command, getattr(import_module(f"dsas_diffusion.{module}"), name))
        assert [action.dest for action in parser._actions if not action.help] == []

    @pytest.mark.parametrize("command", list(cli.COMMANDS))
    def test_every_command_has_a_summary(self, command):
        assert cli._summary(cli.COMMANDS[command])


def test_settings_of_a_class_are_options_with_help_and_refusals_in_one_paragraph(capsys, tmp_path):
    asked = ["fit", "--prompts", "orchard/banana", "--out", str(tmp_path / "out")]
    assert cli.main(["fit", "--training.help"]) == 0
    assert "--training.iterations" in capsys.readouterr().out
    for option, value, told in (
        ("--training.iterations", "0", "iterations=0 at least 1"),
        ("--training.optimizer", "sdg", "--training.optimizer is 'sdg'"),
        ("--training.learning_rate", "x", "--training.learning_rate is 'x'"),
        ("--training.nosuch", "1", "--training.nosuch is '1'"),
    ):
        assert cli.main([*asked, option, value]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_switches_of_a_class_need_no_value(capsys, tmp_path):
    asked = ["fit", "--prompts", "orchard/banana", "--out", str(tmp_path / "out"), "--method", "lineas"]
    for switch in ("--training.gates", "--training.gates=true", "--training.gates true"):
        assert cli.main([*asked, *switch.split(" ")]) == 2
        assert "'patch' can't be trained with the maps" in capsys.readouterr().err
    assert cli.main([*asked, "--no-training.gates", "--estimation", "causal"]) == 2
    assert "trained at all sites together" in capsys.readouterr().err
