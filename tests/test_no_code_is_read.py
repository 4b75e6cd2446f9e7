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
}
# What is allowed to, and with what words: none of them was read.
ALLOWED = {
    ("cli/_slurm.py", "subprocess.run"): "scontrol, with a number of digits",
    ("io/registry.py", "import_module"): "modules of this package, by their files",
    ("report/projections.py", "import_module"): "umap",
    ("learners/aggregators/_torchjd.py", "import_module"): "torchjd",
    ("inner/loop.py", "import_module"): "torchopt",
    ("contrib/learn2learn/package.py", "import_module"): "learn2learn",
    ("models/python.py", "import_module"): "the module of an encoder that the user named to a trainer or a command",
}


def found_in(source: str) -> list[str]:
    """Names of such calls."""
    found = []
    for node in nodes(source):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        # Methods of whatever object; `extract(...)` is a function of ours and no method of an archive.
        name = next((n for n in CALLS if called == n or (called.endswith(f".{n}") and n not in ("eval", "exec"))), None)
        if name is None or called == "extract":
            continue
        safe = CALLS[name]
        given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
        if safe is None or given.get(safe[0]) is not safe[1]:
            found.append(name)
    return found


def test_nothing_that_is_read_runs_code() -> None:
    assert everywhere(found_in) == set(ALLOWED)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch.load(file, weights_only=True)", []),
        ("torch.load(file)", ["torch.load"]),
        ("torch.load(file, weights_only=False)", ["torch.load"]),
        ("np.load(file, allow_pickle=True)", ["np.load"]),
        ("zipfile.ZipFile(file).extractall(folder)", ["extractall"]),
        ("archive.extract(member)", ["extract"]),
        ("extract(encoder, images)", []),  # ours: features of images
        ("encoder.eval()", []),
        ("eval(text)", ["eval"]),
        ("pickle.loads(content)", ["pickle.loads"]),
    ],
)
def test_such_a_call_would_be_found(source: str, found: list[str]) -> None:
    assert found_in(source) == found
