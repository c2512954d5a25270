"""What the project says about itself agrees with what it is."""

import ast
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pld_dspy

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
RIVALS_LOCK = (ROOT / "experiments" / "requirements.lock").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("experiments/*.md"), *ROOT.glob("docs/*.md")])
TARGETS = [
    "demo",
    "test",
    "test-lowest",
    "check",
    "notebooks",
    "docs",
    "live",
    "simulations",
    "rivals",
    "lock",
    "fmt",
    "clean",
    "help",
]

PACKAGE = ROOT / "pld_dspy"
TOO_LONG: set[str] = set()
"""Modules of over 300 lines and functions of over 45 that are still to be cut."""

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def requirements(*lists):
    return [Requirement(text) for texts in lists for text in texts]


def run_time_requirements():
    return requirements(PROJECT["dependencies"], PROJECT["optional-dependencies"]["local"])


def make(*args):
    done = subprocess.run(
        ["make", "-n", *args], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def modules_by_distribution():
    """Top-level modules that each installed distribution brings."""
    found = {}
    for module, owners in importlib.metadata.packages_distributions().items():
        for owner in owners:
            found.setdefault(canonicalize_name(owner), set()).add(module)
    return found


def modules_of(requirement):
    return modules_by_distribution().get(canonicalize_name(requirement), {requirement})


def imports(folder):
    """Map each imported top-level module to one file that imports it."""
    found = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
            for name in names:
                found.setdefault(name.partition(".")[0], path.relative_to(ROOT).as_posix())
    return found


def pins_of(lock):
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))


@pytest.mark.parametrize("lock", [LOCK, RIVALS_LOCK], ids=["requirements", "experiments"])
def test_the_lock_names_no_host_and_no_path(lock):
    lines = [line for line in lock.splitlines() if not line.startswith("#")]
    pinned = re.compile(r"[a-z0-9-]+==\S+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")

    assert [line for line in lines if not pinned.fullmatch(line)] == []
    assert "/" not in lock


def test_the_rivals_are_locked_apart_and_change_no_pin_of_the_package():
    extra = requirements(PROJECT["optional-dependencies"]["compare"])
    pins = pins_of(RIVALS_LOCK)

    assert all(r.specifier.contains(pins[canonicalize_name(r.name)]) for r in extra)
    assert pins.keys() & pins_of(LOCK).keys() == set()


def test_the_lock_pins_what_pyproject_asks_for():
    pins = pins_of(LOCK)
    asked = run_time_requirements() + requirements(
        PYPROJECT["dependency-groups"]["dev"],
        PYPROJECT["dependency-groups"]["docs"],
        PYPROJECT["build-system"]["requires"],
    )
    unmet = [
        str(r) for r in asked if not r.specifier.contains(pins.get(canonicalize_name(r.name), "0"))
    ]
    missing = [str(r) for r in asked if canonicalize_name(r.name) not in pins]

    assert (missing, unmet) == ([], []), "run `make lock`"
    assert "torch" not in pins


def test_every_dependency_is_imported_by_the_package():
    used = imports(ROOT / "pld_dspy")
    names = [r.name for r in run_time_requirements()]
    idle = [name for name in names if not modules_of(name) & used.keys()]

    assert idle == []


def test_every_import_of_the_package_is_a_declared_dependency():
    declared = {module for r in run_time_requirements() for module in modules_of(r.name)}
    known = declared | sys.stdlib_module_names | {"pld_dspy"}
    undeclared = {m: path for m, path in imports(ROOT / "pld_dspy").items() if m not in known}

    assert undeclared == {}


def test_the_package_does_not_print():
    calls = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "pld_dspy").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]

    assert calls == []


def test_the_package_has_the_version_of_pyproject():
    assert pld_dspy.__version__ == PROJECT["version"]


@needs_make
def test_the_makefile_has_its_targets_and_lists_them():
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout

    assert sorted(re.findall(r"^make ([\w-]+)", listed, re.MULTILINE)) == sorted(TARGETS)
    for target in TARGETS:
        make(target)


@needs_make
def test_the_demo_runs_a_config_that_exists():
    command = re.search(r"pld distill (\S+\.toml)", make("demo"))

    assert command, "make demo does not call `pld distill`"
    assert (ROOT / command[1]).is_file()


def snippets():
    """Every code span and code block of the pages, each with its page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", text, re.DOTALL):
            yield page.name, "".join(block)


@needs_make
def test_every_make_command_in_the_pages_is_a_target():
    named = {
        (page, target)
        for page, code in snippets()
        for target in re.findall(r"(?:^|[\s;&])make ((?!-)[a-z-]+)\b", f" {code}")
    }
    if not named:
        pytest.skip("no page names a make command")

    assert {(page, target) for page, target in named if target not in TARGETS} == set()


def test_every_pld_command_in_the_pages_exists():
    named = {
        (page, command)
        for page, code in snippets()
        for command in re.findall(r"^(?:\S*/)?(?:\$ )?pld ([a-z-]+)", code, re.MULTILINE)
    }
    if not named or importlib.util.find_spec("pld_dspy.cli.commands") is None:
        pytest.skip("no page names a pld command, or there is no command line yet")
    shown = subprocess.run(
        [sys.executable, "-c", "import sys; from pld_dspy.cli.commands import main; sys.exit(main())", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    commands = set(re.findall(r"^\W*([a-z-]+)\s{2,}", shown, re.MULTILINE))

    assert {(page, command) for page, command in named if command not in commands} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_files_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)

    assert [link for link in links if not (page.parent / link).exists()] == []


def modules(folder):
    return [path for path in folder.glob("*.py") if path.name not in {"__init__.py", "__main__.py"}]


def too_long(path):
    """Names of what is too long in a module: itself, or a function without its docstring."""
    name, text = path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")
    if len(text.splitlines()) > 300:
        yield name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            if lines > 45:
                yield f"{name}: {node.name}"


def test_layout():
    folders = [path.parent for path in PACKAGE.rglob("__init__.py")]
    entries = {*modules(PACKAGE), *(f for f in folders if f.parent == PACKAGE)}
    full = [f for f in folders if len(modules(f)) > 12]
    long = {name for folder in folders for path in folder.glob("*.py") for name in too_long(path)}
    assert len(entries) <= 12, sorted(path.name for path in entries)
    assert full == []
    assert long == TOO_LONG  # what was cut leaves the list, too
