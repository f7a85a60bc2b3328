"""The command line as a user or a script meets it: real processes, their words, streams and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from forklock import cli, running
from forklock.commands import folders
from forklock.run_dir import RunStatus, StageStatus

HEAVY = {"torch", "transformers", "vllm", "ray", "matplotlib", "pyarrow", "datasets"}


def forklock(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "forklock", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize(
    "statement",
    [
        "import forklock.config",
        "import forklock.recipes",
        "import forklock.run_dir",
        "import sys; sys.argv = ['forklock', '--help']; import forklock.cli\n"
        "try: forklock.cli.main()\nexcept SystemExit: pass",
        "import sys; sys.argv = ['forklock', 'recipes']; import forklock.cli\n"
        "try: forklock.cli.main()\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    program = f"{statement}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & {module.split(".")[0] for module in done.stderr.split()}


def test_help_names_the_commands() -> None:
    done = forklock("--help")
    assert done.returncode == 0
    for command in ("doctor", "recipes", "status", "toy"):
        assert command in done.stdout


def test_version_is_the_package_version() -> None:
    from forklock import __version__

    assert forklock("--version").stdout == f"forklock {__version__}\n"


def test_recipes_are_listed_with_their_purpose() -> None:
    listed = json.loads(forklock("recipes", "--json").stdout)["recipes"]
    names = {row["name"] for row in listed}
    assert {"qwen3-30b-instruct", "stress-test", "single-gpu-lora"} <= names
    text = forklock("recipes").stdout
    assert all(name in text for name in names)


def test_show_prints_the_file_or_what_it_composes_to(tmp_path: Path) -> None:
    import tomllib

    written = forklock("recipes", "show", "qwen3-4b-instruct")
    assert written.stdout.startswith('extends = ["_paper-instruct"]')
    resolved = tomllib.loads(forklock("recipes", "show", "qwen3-4b-instruct", "--resolved").stdout)
    assert resolved["train"]["global_batch_size"] == 32
    overridden = forklock("recipes", "show", "qwen3-4b-instruct", "--set", "seed=9", "--json")
    assert json.loads(overridden.stdout)["seed"] == 9


def test_a_wrong_recipe_exits_with_2_says_why_and_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[train]\nlearnig_rate = 1.0\n")
    done = forklock("recipes", "show", "qwen3-4b-instruct", "mine.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    message = " ".join(done.stderr.split())
    assert "train.learnig_rate: unknown key (did you mean `learning_rate`?)" in message
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("evaluate.base_temperature=[1.0]", "base_temperature: unknown key (did you mean `base_temperatures`?)"),
        ("trian.epochs=1", "trian: unknown key (did you mean `train`?)"),
        ("microworld.base=frim", "'frim' is none of leaky, firm (did you mean `firm`?)"),
    ],
)
def test_a_misspelt_setting_leaves_a_run_folder_as_it_is(setting: str, said: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "demo"
    run_dir.mkdir(parents=True)
    files = {"run.json": '{"schema_version": 1}\n', "recipe.toml": 'name = "demo"\n'}
    for name, text in files.items():
        (run_dir / name).write_text(text)
    done = forklock("run", "demo", "--set", setting, cwd=tmp_path)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert {path.name: path.read_text() for path in run_dir.iterdir()} == files


@pytest.mark.parametrize(
    ("program", "typed"),
    [
        ("/bin/forklock", "forklock run 'my recipe.toml' --set seed=1"),
        (".venv/bin/forklock", ".venv/bin/forklock run 'my recipe.toml' --set seed=1"),
        ("/lib/forklock/__main__.py", "forklock run 'my recipe.toml' --set seed=1"),
    ],
)
def test_a_stopped_command_is_named_so_that_it_can_be_typed_again(
    program: str, typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(cli.sys, "argv", [program, "run", "my recipe.toml", "--set", "seed=1"])

    def interrupted(arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == cli.INTERRUPTED
    assert capsys.readouterr().err == f"stopped; what was finished is kept. To go on: {typed}\n"


def test_an_error_is_json_too_when_json_was_asked_for() -> None:
    done = forklock("recipes", "show", "nonesuch", "--json")
    assert done.returncode == 2
    assert "nonesuch: no recipe of that name" in json.loads(done.stdout)["error"]


def test_wrong_arguments_exit_with_2() -> None:
    assert forklock("recipes", "shw").returncode == 2


def test_doctor_tells_what_is_here() -> None:
    done = forklock("doctor", "--json")
    findings = {row["name"]: row for row in json.loads(done.stdout)["findings"]}
    assert findings["torch"]["is_fine"]
    assert "2.13.0" in findings["torch"]["detail"]
    namespaces = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    assert findings["mount namespace"]["is_fine"] == (namespaces.returncode == 0)
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii").split()
    installed_gib = int(meminfo[meminfo.index("MemTotal:") + 1]) / 2**20
    assert 0 < float(findings["memory"]["detail"].split()[0]) <= installed_gib + 0.05
    assert all(row["mend"] for row in findings.values() if not row["is_fine"])
    assert "seccomp" in findings
    assert "all of them together" in findings
    assert not {"bubblewrap", "Landlock"} & findings.keys()  # no program of ours runs in either
    assert "sandbox" in forklock("doctor").stdout


def test_names_of_stages_are_whole_on_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a long reason, which takes the width from them."""
    names = [f"evaluate/livecodebench-v6-student-t{tenths / 10}-k20-p0.8" for tenths in (7, 8)]
    stages = tuple(StageStatus(stage=name, state="stale", reasons=("changed: word " * 12,)) for name in names)
    found = RunStatus(run_dir=str(tmp_path), holder=None, stages=stages)
    monkeypatch.setattr(running, "read_status", lambda _: found)
    monkeypatch.setenv("COLUMNS", "80")
    folders.status(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    width = lines[0].index("state")
    first_column = "".join(line[:width].strip() for line in lines[1:])
    assert first_column == "".join(names)
