"""Nothing that was read runs code, and no archive is unpacked: calls that would do so are found in the source."""

from __future__ import annotations

import ast

import pytest

from .source_files import everywhere, nodes

# By the last words of what is called; a value is a keyword that makes it safe, and what it must be.
CALLS: dict[str, tuple[str, object] | None] = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    **dict.fromkeys(("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "joblib.load", "dill.load")),
    **dict.fromkeys(("yaml.load", "yaml.unsafe_load", "torch.jit.load", "torch.hub.load", "runpy.run_path")),
    **dict.fromkeys(("extract", "extractall", "unpack_archive", "import_module", "eval", "exec", "__import__")),
    **dict.fromkeys(("os.system", "os.popen", "subprocess.run", "subprocess.Popen", "subprocess.call", "check_output")),
    **dict.fromkeys(
        ("check_call", "getoutput", "getstatusoutput", "os.execv", "os.execvp", "os.spawnv", "os.posix_spawn")
    ),
    **dict.fromkeys(("create_subprocess_shell", "create_subprocess_exec", "pty.spawn", "runpy.run_module", "compile")),
    **dict.fromkeys(("spec_from_file_location", "exec_module", "load_module", "load_library", "LoadLibrary", "CDLL")),
    **dict.fromkeys(
        ("pickle.Unpickler", "marshal.load", "shelve.open", "cloudpickle.load", "cloudpickle.loads", "dill.loads")
    ),
    **dict.fromkeys(
        ("read_pickle", "torch.package.PackageImporter", "torch.export.load", "yaml.full_load", "yaml.load_all")
    ),
    **dict.fromkeys(("yaml.unsafe_load_all", "yaml.full_load_all", "format.read_array")),
    # Names that another process can foresee, and take before.
    **dict.fromkeys(("tempfile.mktemp", "os.tmpnam", "os.tempnam")),
}
# Keywords that let others run code, whatever is called with them.
NEVER = {"shell": True, "trust_remote_code": True, "allow_pickle": True, "weights_only": False}
# Python's own functions; methods of these names are others.
OF_PYTHON = ("eval", "exec", "compile", "__import__")
# What is allowed to, and with what words: none of them was read.
ALLOWED = {
    ("cli/_slurm.py", "subprocess.run"): "scontrol, with a number of digits",
    ("io/registry.py", "import_module"): "modules of this package, by their files",
    ("report/projections.py", "import_module"): "umap",
    ("learners/aggregators/_torchjd.py", "import_module"): "torchjd",
    ("inner/loop.py", "import_module"): "torchopt",
    ("contrib/learn2learn/package.py", "import_module"): "learn2learn",
    (
        "experiment/export_formats.py",
        "torch.export.load",
    ): "the program that was exported in the line before, to try it",
    ("experiment/own_network.py", "spec_from_file_location"): "hubconf.py of a clone that the user named",
    ("experiment/own_network.py", "exec_module"): "the same file",
    ("models/python.py", "import_module"): "the module of an encoder that the user named to a trainer or a command",
}


def found_in(source: str) -> list[str]:
    """Names of such calls."""
    found = []
    named = _imported(source)
    for node in nodes(source):
        if not isinstance(node, ast.Call):
            continue
        first, dot, rest = ast.unparse(node.func).partition(".")
        called = f"{named.get(first, first)}{dot}{rest}"
        found += [k.arg for k in node.keywords if k.arg in NEVER and _constant(k.value) is NEVER[k.arg]]
        # Methods of whatever object; `extract(...)` is a function of ours and no method of an archive.
        name = next((n for n in CALLS if called == n or (called.endswith(f".{n}") and n not in OF_PYTHON)), None)
        if name is None or called == "extract" or called.startswith(("metatc2.", "re.", "safetensors.")):
            continue
        safe = CALLS[name]
        given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
        if safe is None or given.get(safe[0]) is not safe[1]:
            found.append(name)
    return found


def _imported(source: str) -> dict[str, str]:
    """What names stand for that a module imports, under another name or out of their module."""
    named = {}
    for node in nodes(source):
        if isinstance(node, ast.Import):
            named |= {each.asname: each.name for each in node.names if each.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            named |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return named


def _constant(value: ast.expr) -> object:
    return value.value if isinstance(value, ast.Constant) else None


def test_nothing_that_is_read_runs_code() -> None:
    assert everywhere(found_in) == set(ALLOWED)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch.load(file, weights_only=True)", []),
        ("torch.load(file)", ["torch.load"]),
        ("torch.load(file, weights_only=False)", ["weights_only", "torch.load"]),
        ("np.load(file, allow_pickle=True)", ["allow_pickle", "np.load"]),
        ("zipfile.ZipFile(file).extractall(folder)", ["extractall"]),
        ("archive.extract(member)", ["extract"]),
        ("extract(encoder, images)", []),  # ours: features of images
        ("encoder.eval()", []),
        ("eval(text)", ["eval"]),
        ("pickle.loads(content)", ["pickle.loads"]),
        ("from pickle import loads as read\nread(content)", ["pickle.loads"]),
        ("import pickle as p\np.load(file)", ["pickle.load"]),
        ("from numpy import load\nload(file)", ["numpy.load"]),
        ("from safetensors.torch import load\nload(content)", []),
        ("import subprocess as s\ns.check_call(words)", ["check_call"]),
        ("run(words, shell=True)", ["shell"]),
        ("load_dataset(name, trust_remote_code=True)", ["trust_remote_code"]),
        ("read(file, allow_pickle=True)", ["allow_pickle"]),
        ("from tempfile import mktemp\nmktemp()", ["tempfile.mktemp"]),
        ("tempfile.mkstemp()", []),
        ("yaml.safe_load(text)", []),
        ("yaml.full_load(text)", ["yaml.full_load"]),
        ("importlib.util.spec_from_file_location(name, file)", ["spec_from_file_location"]),
        ("re.compile(text)", []),
        ("compile(text, name, 'exec')", ["compile"]),
        ("from metatc2.transfer import extract\nextract(encoder)", []),
    ],
)
def test_such_a_call_would_be_found(source: str, found: list[str]) -> None:
    assert found_in(source) == found
