"""Files whole or not at all, on a real disk with real failures."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dsas_diffusion.errors import InputError
from dsas_diffusion.files import atomic_folder, atomic_write, read_json, read_text, writing


def leftovers(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.endswith(".tmp")]


def test_write_replaces_and_makes_parents(tmp_path):
    path = tmp_path / "a" / "b.txt"
    assert atomic_write(path, "one") == path
    atomic_write(str(path), "zwei ü\r\n".encode())
    assert path.read_bytes() == "zwei ü\r\n".encode()
    assert leftovers(path.parent) == []


def test_written_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    atomic_write(tmp_path / "ours", "")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_write_follows_a_link_and_keeps_it(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    atomic_write(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_full_disk_is_explained():
    with pytest.raises(InputError, match=r"/dev/full.*disk is full.*Free some space"):
        atomic_write("/dev/full", "x")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.parametrize("write", [lambda path: atomic_write(path, "x"), lambda path: enter(atomic_folder(path))])
def test_path_below_a_file_is_explained(tmp_path, write):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"Can't write .*file.*Choose"):
        write(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_unwritable_place_is_explained():
    with pytest.raises(InputError, match=r"Can't write /proc/.*Choose"):
        enter(atomic_folder("/proc/dsas"))


def test_read_only_folder_is_explained():
    # Root may write anywhere, so the write gives up root's rights first; pytest's own folders are closed to others.
    code = (
        "import os, sys\n"
        "from dsas_diffusion.errors import InputError\n"
        "from dsas_diffusion.files import atomic_write\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: atomic_write(sys.argv[1], 'x')\n"
        "except InputError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        run = subprocess.run([sys.executable, "-c", code, f"{folder}/x.txt"], capture_output=True, text=True)
        assert run.stderr == ""
        assert "x.txt: Permission denied" in run.stdout
        assert list(Path(folder).iterdir()) == []


def enter(context):
    with context as folder:
        (folder / "inside").write_text("x")


def test_folder_appears_whole(tmp_path):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a.txt").read_text() == "a"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failed_folder_leaves_what_was_there(tmp_path, error):
    enter(atomic_folder(tmp_path / "out"))

    def fail(folder):
        (folder / "half").write_text("")
        raise error

    with pytest.raises(error), atomic_folder(tmp_path / "out", overwrite=True) as folder:
        fail(folder)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["inside"]
    assert leftovers(tmp_path) == []


def test_folder_in_the_way_is_refused_before_the_work(tmp_path):
    enter(atomic_folder(tmp_path / "out"))
    with pytest.raises(InputError, match="exists and is not empty"), atomic_folder(tmp_path / "out"):
        pytest.fail("the body ran")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"), atomic_folder(tmp_path / "file", overwrite=True):
        pytest.fail("the body ran")


def test_folder_filled_meanwhile_is_not_replaced(tmp_path):
    def fill_both(folder):
        (folder / "ours").write_text("")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_text("")

    with pytest.raises(InputError, match="out"), atomic_folder(tmp_path / "out") as folder:
        fill_both(folder)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["theirs"]


def test_empty_folder_is_taken_and_overwriting_replaces_all(tmp_path):
    (tmp_path / "out").mkdir()
    enter(atomic_folder(tmp_path / "out"))
    with atomic_folder(tmp_path / "out", overwrite=["inside"]) as folder:
        (folder / "other").write_text("")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["other"]


def test_overwriting_spares_what_others_wrote(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"'thesis\.txt'"):
        enter(atomic_folder(tmp_path / "out", overwrite=["inside", "*.png"]))
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_working_folder_is_never_replaced(tmp_path, monkeypatch):
    (tmp_path / "project" / "src").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    for path in (".", "..", tmp_path):
        with pytest.raises(InputError, match="working folder"):
            enter(atomic_folder(path, overwrite=True))


def test_errors_of_the_body_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "out") as folder:
        (folder / "missing.txt").read_text()
    with pytest.raises(ZeroDivisionError), writing("x"):
        _ = 1 / 0


def test_read_json_explains(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(InputError, match=r"a\.json is not valid JSON.*line 2, column 7"):
        read_json(path)
    path.write_text('\ufeff{"a": "ü"}', encoding="utf-8")
    assert read_json(path) == {"a": "ü"}


@pytest.mark.parametrize(
    ("name", "message"), [("absent", "No such file"), ("folder", "Is a directory"), ("latin", "not UTF-8")]
)
def test_read_text_explains(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin").write_bytes("ü".encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_text(tmp_path / name)
