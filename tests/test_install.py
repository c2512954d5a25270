"""A built wheel and a built sdist work in an environment of their own, outside the clone."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(*words, cwd):
    clean = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd, env=clean, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist of the working tree, by the end of their names."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture
def environment(tmp_path):
    """An environment without this package; its dependencies are those of the present one."""
    folder = tmp_path / "env"
    venv.create(folder, with_pip=False)
    # Packages are found there, and the file that makes the clone importable is not followed.
    [packages] = folder.glob("[Ll]ib/**/site-packages")
    dependencies = sysconfig.get_path("purelib")
    (packages / "dependencies.pth").write_text(dependencies, encoding="utf-8")
    return folder


def program(environment, name):
    return environment / ("Scripts" if os.name == "nt" else "bin") / name


@pytest.mark.parametrize("kind", [".whl", ".gz"])
def test_it_installs_and_starts(kind, built, environment, tmp_path):
    python = program(environment, "python")
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps",
        "--no-build-isolation", "--ignore-installed", built[kind], cwd=tmp_path,
    )  # fmt: skip
    code = (
        "import importlib.metadata, pathlib, pld_dspy;"
        "folder = pathlib.Path(pld_dspy.__file__).parent;"
        "print(pld_dspy.PLD.__name__, folder, (folder / 'py.typed').is_file())"
    )
    name, folder, typed = run(python, "-c", code, cwd=tmp_path).split()

    assert (name, typed) == ("PLD", "True")
    assert Path(folder).is_relative_to(environment)
    assert "distill" in run(program(environment, "pld"), "--help", cwd=tmp_path)
    assert "local/" in run(program(environment, "pld"), "models", "list", cwd=tmp_path)


def test_the_wheel_holds_the_package_and_its_licence_only(built):
    names = zipfile.ZipFile(built[".whl"]).namelist()

    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"pld_dspy"}
    assert "pld_dspy/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
