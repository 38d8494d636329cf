"""The files that odbuild carries are found, whole, and without what machines leave beside them."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import odbuild
from odbuild import resources

PACKAGE = Path(odbuild.__file__).parent


def test_templates_are_found() -> None:
    names = {entry.name for entry in resources.templates().iterdir()}
    assert {"start.sh.jinja", "prepare_training.py.jinja"} <= names


def test_a_data_file_is_read() -> None:
    assert resources.read_text("zoo.toml") == (PACKAGE / "zoo.toml").read_text(encoding="utf-8")


def test_the_payload_is_every_source_file_byte_for_byte_and_sorted() -> None:
    files = resources.payload_files()
    modules = {str(path.relative_to(PACKAGE / "trainer")) for path in (PACKAGE / "trainer").rglob("*.py")}
    assert modules <= files.keys()
    assert all(data == (PACKAGE / "trainer" / name).read_bytes() for name, data in files.items())
    assert list(files) == sorted(files)


def test_what_machines_leave_behind_is_not_shipped() -> None:
    (PACKAGE / "trainer" / "__pycache__").mkdir(exist_ok=True)
    names = resources.payload_files().keys()
    assert not [
        name for name in names if "__pycache__" in name or name.endswith((".pyc", "~")) or "/." in f"/{name}"
    ]


@pytest.mark.parametrize("name", ["__pycache__", ".DS_Store", "run.py~", "run.pyc", ".run.py.swp"])
def test_byproducts_are_known(name: str) -> None:
    assert resources._is_byproduct(name)


@pytest.mark.parametrize("name", ["run.py", "rows.json", "tf2.21-cpu.txt"])
def test_sources_are_no_byproducts(name: str) -> None:
    assert not resources._is_byproduct(name)


def test_an_installed_package_has_its_templates_inside(tmp_path: Path) -> None:
    # As the wheel lays it out, in a zip, so that nothing beside the package can be found by luck.
    archive = tmp_path / "installed.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(PACKAGE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                target.write(path, f"odbuild/{path.relative_to(PACKAGE)}")
        for path in sorted((PACKAGE.parent / "templates").iterdir()):
            target.write(path, f"odbuild/templates/{path.name}")
    code = (
        "from odbuild import resources; assert '.zip' in resources.__file__; "
        "print((resources.templates() / 'start.sh.jinja').is_file(), len(resources.payload_files()) > 10)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(archive)}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]


def test_missing_templates_are_told(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "odbuild", ignore=shutil.ignore_patterns("__pycache__", "templates"))
    code = "from odbuild import resources; resources.templates()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "templates are missing. Install odbuild again." in done.stderr
