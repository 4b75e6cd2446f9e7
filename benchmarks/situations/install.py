"""Installation into a fresh virtual environment of every supported Python."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

from libraries import Library, Recipe

from situations.situation import Failed, Situation, Way, short

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
#: ``3.12=FOLDER`` for each Python, separated as in PATH: where torch and the like are installed for it.
SITE = "ROBUSTNESS_SITE_PACKAGES"
BUILD_OPTION = '--config-settings="--build-option=build_ext"'

# Every module is compiled, which finds syntax and encodings that this Python does not know.
COMPILES = """
import compileall, importlib.metadata, sys
package = importlib.metadata.distribution(sys.argv[1])
modules = [f for f in package.files if f.suffix == ".py"]
assert modules, "no module was installed"
bad = [str(f) for f in modules if not compileall.compile_file(package.locate_file(f), quiet=2)]
assert not bad, f"modules that do not compile: {bad[:3]}"
print(package.version)
"""


def installs(python: str, library: Library, recipe: Recipe) -> str:
    """pip installs the library, its modules compile, and where torch is at hand it takes a meta-gradient.

    Args:
        python: ``"3.12"``.
        library: which.
        recipe: its option ``build_option`` installs from a requirements file with the option that lets learn2learn build.
    """
    site = dict(item.split("=", 1) for item in os.environ.get(SITE, "").split(os.pathsep) if item).get(python)
    with tempfile.TemporaryDirectory() as folder:
        interpreter = Path(folder) / "venv" / "bin" / "python"
        _run([f"python{python}", "-m", "venv", str(Path(folder) / "venv")], "no virtual environment")
        what = str(ROOT) if library.package == "metatc2" else f"{library.package}=={library.version}"
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{what} {BUILD_OPTION}\n" if "build_option" in recipe.options else f"{what}\n")
        if site:
            packages = next((Path(folder) / "venv" / "lib").glob("python3*/site-packages"))
            (packages / "torch_and_the_like.pth").write_text(f"{site}\n")
        install = [str(interpreter), "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check"]
        wanted = [what] if "build_option" not in recipe.options else ["-r", str(requirements)]
        _run([*install, *([] if site else ["--no-deps"]), *wanted], "pip install")
        result = _run([str(interpreter), "-c", COMPILES, library.package], "compile").strip()
        if not site:
            return f"{result} by pip install --no-deps; its modules compile; not imported"
        _run(
            [str(interpreter), "-W", "ignore", str(Path(__file__).with_name("smoke.py")), library.package],
            "meta-gradient",
        )
        return f"{result} by pip install with its dependencies; takes a meta-gradient"


def _run(command: list[str], what: str) -> str:
    # Not in the repository: its packages would be found before those installed.
    done = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.gettempdir(), check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "rror" in line and not line.startswith(("error: subprocess", "note:"))]
        raise Failed(f"{what}: {short((errors or lines or ['no output'])[-1])}")
    return done.stdout


def _situation(python: str) -> Situation:
    caller = Way(
        "the build option given in a requirements file", {"options": {"build_option": True}}, contextlib.nullcontext
    )
    return Situation(
        f"install on Python {python}",
        Recipe(1, 0.1),
        lambda library, recipe: installs(python, library, recipe),
        {"learn2learn": [caller]},
    )


SITUATIONS = tuple(_situation(python) for python in PYTHONS)
