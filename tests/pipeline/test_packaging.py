"""What `pip install .` gives: recipes inside, and nothing heavy needed for what needs nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(REPOSITORY)], check=True, capture_output=True)
    (wheel,) = folder.glob("forklock-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_the_package_whole(installed: Path) -> None:
    source = REPOSITORY / "src" / "forklock"
    expected = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {
        str(path.relative_to(installed / "forklock")) for path in (installed / "forklock").rglob("*") if path.is_file()
    }
    assert found == expected
    assert "recipes/qwen3-30b-instruct.toml" in found


def test_the_core_runs_without_the_extras(installed: Path) -> None:
    """torch and everything else of the extras is made impossible to import."""
    program = """
import sys
EXTRAS = {"torch", "transformers", "pyarrow", "datasets", "huggingface_hub", "accelerate", "peft", "vllm", "ray"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
sys.argv = ["forklock", *sys.argv[1:]]
import forklock
assert forklock.__file__.startswith(sys.path[0]), forklock.__file__
from forklock.cli import main
main()
"""

    def forklock(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path.insert(0, {str(installed)!r})\n{program}"
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    assert forklock("recipes", "show", "stress-test", "--resolved").returncode == 0
    assert forklock("doctor", "--json").returncode == 0
    toy = forklock("toy", "--json", "--out", str(installed / "figures"))
    assert json.loads(toy.stdout)["student"]["support"] == {"root": 4, "fork": 5, "lock": 2}
    refused = forklock("synthesize", "qwen3-4b-instruct", "--run-dir", str(installed / "run"))
    assert refused.returncode == 1
    assert "pip install 'forklock[train]'" in refused.stderr
