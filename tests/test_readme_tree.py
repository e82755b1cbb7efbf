"""The trees of README and docs: right as they stand, and able to notice when they are not."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("readme_tree", Path(__file__).parents[1] / "tools" / "readme_tree.py")
assert spec is not None
assert spec.loader is not None
readme_tree = importlib.util.module_from_spec(spec)
spec.loader.exec_module(readme_tree)


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").write_text('"""The package."""')
    (tmp_path / "package" / "one.py").write_text('"""One thing.\n\nMore.\n"""')
    (tmp_path / "package" / "inner" / "two.py").write_text('"""Another."""')
    (tmp_path / "docs").mkdir()
    for page in readme_tree.PAGES:
        (tmp_path / page).write_text(f"before\n{readme_tree.BEGIN}\nold\n{readme_tree.END}\nafter\n")
    files = ["package/__init__.py", "package/inner/two.py", "package/one.py", "tests/test_one.py", "package/data.bin"]
    monkeypatch.setattr(readme_tree, "ROOT", tmp_path)
    monkeypatch.setattr(readme_tree, "tracked_files", lambda: files)
    return tmp_path


@pytest.mark.parametrize("page", ["README.md", "docs/files.md"])
def test_writes_one_line_a_file_between_the_markers(root, monkeypatch, page):
    monkeypatch.setattr("sys.argv", ["readme_tree.py"])
    readme_tree.main()
    lines = (root / page).read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    deep = [["two.py", "Another."]] if page == "docs/files.md" else []
    assert [line.split(maxsplit=1) for line in lines[3:-3]] == [
        ["package/", "The package."],
        ["inner/"],
        *deep,
        ["one.py", "One thing."],
        ["tests/", "The tests; they mirror the package."],
    ]
    monkeypatch.setattr("sys.argv", ["readme_tree.py", "--check"])
    readme_tree.main()


def test_check_notices_a_stale_tree(root, monkeypatch):
    monkeypatch.setattr("sys.argv", ["readme_tree.py", "--check"])
    with pytest.raises(SystemExit, match=r"README\.md does not match .*`make tree`"):
        readme_tree.main()
    assert "old" in (root / "README.md").read_text()


@pytest.mark.usefixtures("root")
def test_a_module_without_docstring_is_named(root):
    (root / "package" / "one.py").write_text("x = 1")
    with pytest.raises(SystemExit, match=r"package/one\.py has no module docstring"):
        readme_tree.render(readme_tree.tracked_files())
