"""Exports against the schema of each reader, and against the tokens that were drawn."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from train_cases import STOP, make_recipe, make_sample, run_training
from transformers import AutoTokenizer

from forklock import cli, recipes
from forklock.errors import ForklockError
from forklock.export import ExportError, export_model, export_samples, push_model
from forklock.prompts import Prompt, Renderer, write_prompts
from forklock.prompts.stage import PROMPTS_FILE
from forklock.run_dir import NotARunFolderError, Stage, StageDir, open_run, run_stages, write_text
from forklock.running import recipe_of
from forklock.sampling import Sample, write_shard

TinyModel = Callable[[str], Path]


@pytest.fixture
def run(tiny_model: TinyModel, tmp_path: Path) -> tuple[Path, list[Sample]]:
    """A run whose samples are: two finished, one cut, one degenerate, one too long, one of unusual tokens."""
    model = tiny_model("qwen3")
    tokenizer = AutoTokenizer.from_pretrained(model)
    recipe = make_recipe(model, max_sequence_tokens=400, tokens_per_device=400)
    recipe = recipe.model_copy(update={"prompts": recipe.prompts.model_copy(update={"path": str(tmp_path / "none")})})
    prompts = [Prompt(f"prompt-{number:03d}", f"Sort {number} lists.") for number in range(6)]
    renderer = Renderer(tokenizer, recipe.model)

    def sample(number: int, text: str, **changes: Any) -> Sample:
        token_ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        fields = {
            "prompt_token_ids": renderer.render(prompts[number]).token_ids,
            "token_ids": (*token_ids, STOP),
            "text": text,
            "finish_reason": "stop",
        }
        return make_sample(number, with_target=False, **(fields | changes))

    unusual = tuple(tokenizer(one, add_special_tokens=False)["input_ids"][0] for one in "return")
    samples = [
        sample(0, "return sorted(xs)\nprint"),
        sample(1, "def solve(xs):\n    return xs\n"),
        sample(2, "print(sum(xs))"),
        sample(3, "", degenerate="empty"),
        sample(4, "print(sum(xs))\n" * 60),
        sample(5, "return", token_ids=(*unusual, STOP)),
    ]
    samples[2] = sample(2, "print(sum(xs))", token_ids=samples[2].token_ids[:-1], finish_reason="length")

    def write(name: str, content: Callable[[Path], None]) -> Callable[[StageDir], None]:
        def body(stage_dir: StageDir) -> None:
            with stage_dir.new_file(name) as path:
                content(path)

        return body

    stages = [
        Stage(name="prompts", body=write(PROMPTS_FILE, lambda path: write_prompts(path, prompts))),
        Stage(name="synthesize", body=write("samples-00000.parquet", lambda path: write_shard(path, samples))),
    ]
    with open_run(tmp_path / "run") as opened:
        write_text(opened.path / "recipe.toml", recipes.to_toml(recipe))
        run_stages(opened, stages)
    return tmp_path / "run", samples


def exported(run_dir: Path, form: Any, tmp_path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out = tmp_path / "out" / form
    counts = export_samples(run_dir, form, out).as_json()
    assert list(out.parent.iterdir()) == [out]  # nothing is left beside it
    if form == "llama-factory":
        saved = datasets.load_from_disk(str(out))
        assert list(saved) == ["train"]
        return list(saved["train"]), counts
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()], counts


LEFT_OUT = {"num_samples": 6, "num_exported": 4, "num_degenerate": {"empty": 1}, "num_too_long": 1}


@pytest.mark.parametrize(
    ("form", "columns"),
    [
        ("trl", ["input_ids", "labels"]),
        ("axolotl", ["input_ids", "attention_mask", "labels"]),
        ("llama-factory", ["input_ids", "attention_mask", "labels"]),
    ],
)
def test_token_formats_hold_what_was_drawn_to_the_token(
    form: str,
    columns: list[str],
    run: tuple[Path, list[Sample]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir, samples = run
    rows, counts = exported(run_dir, form, tmp_path)
    assert "Saving the dataset" not in capsys.readouterr().err  # a bar of datasets', which logs would keep
    assert counts == {**LEFT_OUT, "num_without_stop_token": 1, "num_other_tokens": 0}
    for row, number in zip(rows, (0, 1, 2, 5), strict=True):
        one = samples[number]
        assert list(row) == columns
        assert tuple(row["input_ids"]) == one.prompt_token_ids + one.token_ids
        assert row["labels"] == [-100] * len(one.prompt_token_ids) + list(one.token_ids)
        assert row.get("attention_mask", [1]) == [1] * len(row.get("attention_mask", [1]))
    assert [row["labels"][-1] == STOP for row in rows] == [True, True, False, True]


def test_messages_keep_text_and_ids(run: tuple[Path, list[Sample]], tiny_model: TinyModel, tmp_path: Path) -> None:
    run_dir, samples = run
    rows, counts = exported(run_dir, "messages", tmp_path)
    assert counts == {**LEFT_OUT, "num_without_stop_token": 1, "num_other_tokens": 1}
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("qwen3"))
    for row, number in zip(rows, (0, 1, 2, 5), strict=True):
        one = samples[number]
        assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
        assert all(set(message) == {"role", "content"} for message in row["messages"])
        assert row["messages"][-1]["content"] == one.text
        again = tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, return_dict=False)
        assert tuple(again) == one.prompt_token_ids == tuple(row["prompt_token_ids"])
        assert tuple(row["completion_token_ids"]) == one.token_ids
        assert (row["prompt_id"], row["sample_index"]) == one.key
    assert [row["finish_reason"] for row in rows] == ["stop", "stop", "length", "stop"]


def test_megatron_bridge_reads_pairs_of_text(
    run: tuple[Path, list[Sample]], tiny_model: TinyModel, tmp_path: Path
) -> None:
    run_dir, samples = run
    rows, counts = exported(run_dir, "megatron-bridge", tmp_path)
    assert counts["num_other_tokens"] == 1
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("qwen3"))
    for row, number in zip(rows, (0, 1, 2, 5), strict=True):
        assert set(row) == {"input", "output"}
        ids = [tuple(tokenizer(row[name], add_special_tokens=False)["input_ids"]) for name in ("input", "output")]
        assert ids[0] == samples[number].prompt_token_ids
        assert (ids[1] == samples[number].token_ids) == (number != 5)


def installed(module: str) -> Any:
    """A trainer's own reader; these were run with axolotl 0.19.0, llamafactory 0.9.5 and megatron-bridge 0.6.2."""
    return pytest.importorskip(module, reason=f"{module} cannot be imported here", exc_type=ImportError)


@pytest.mark.filterwarnings("ignore")
def test_axolotl_takes_its_export_for_tokenized(run: tuple[Path, list[Sample]], tmp_path: Path) -> None:
    """With an empty `type:` the three columns are what it knows tokenized rows by; it passes them on untouched."""
    shared, wrappers = installed("axolotl.utils.data.shared"), installed("axolotl.utils.data.wrappers")
    settings = installed("axolotl.utils.dict").DictDefault
    run_dir, samples = run
    export_samples(run_dir, "axolotl", tmp_path / "rows.jsonl")
    config = settings({"path": str(tmp_path / "rows.jsonl"), "ds_type": "json", "type": None})
    loaded = shared.load_dataset_with_config(config, False)
    taken, _ = wrappers.get_dataset_wrapper(config, None, settings({}), None, loaded)
    assert taken is loaded
    assert [tuple(row["input_ids"]) for row in taken] == [
        samples[number].prompt_token_ids + samples[number].token_ids for number in (0, 1, 2, 5)
    ]


@pytest.mark.filterwarnings("ignore")
def test_llama_factory_loads_and_collates_its_export(
    run: tuple[Path, list[Sample]], tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")  # of packages that reading does not need
    data = installed("llamafactory.data")
    run_dir, samples = run
    export_samples(run_dir, "llama-factory", tmp_path / "rows")
    arguments = installed("llamafactory.hparams.data_args").DataArguments(tokenized_path=str(tmp_path / "rows"))
    rows = list(data.get_dataset(None, None, arguments, None, "sft", None)["train_dataset"])
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("qwen3"))
    collator = data.SFTDataCollatorWith4DAttentionMask(tokenizer=tokenizer, template=data.TEMPLATES["empty"])
    batch = collator(rows)
    for ids, labels, number in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), (0, 1, 2, 5), strict=True):
        prompt, completion = samples[number].prompt_token_ids, samples[number].token_ids
        length = len(prompt) + len(completion)
        assert tuple(ids[:length]) == prompt + completion
        assert labels[:length] == [-100] * len(prompt) + list(completion)
        assert set(labels[length:]) <= {-100}


@pytest.mark.filterwarnings("ignore")
def test_megatron_bridge_tokenizes_its_export_to_what_was_drawn(
    run: tuple[Path, list[Sample]], tiny_model: TinyModel, tmp_path: Path
) -> None:
    """At the settings that the documentation names; its defaults strip spaces and end every sample."""
    processing = installed("megatron.bridge.data.sft_processing")
    run_dir, samples = run
    rows, _ = exported(run_dir, "megatron-bridge", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("qwen3"))
    config = processing.PromptCompletionSFTPreprocessingConfig(
        prompt_column="input", completion_column="output", strip_whitespace=False, add_eos=False
    )
    for row, number in zip(rows, (0, 1, 2, 5), strict=True):
        taken = processing.tokenize_prompt_completion_example(row, tokenizer, config)
        prompt, completion = samples[number].prompt_token_ids, samples[number].token_ids
        assert tuple(taken.prompt_ids.tolist()) == prompt
        assert (tuple(taken.completion_ids.tolist()) == completion) == (number != 5)
        assert taken.loss_mask.tolist() == [0] * len(prompt) + [1] * len(taken.completion_ids)


def test_trl_trains_on_its_export(run: tuple[Path, list[Sample]], tiny_model: TinyModel, tmp_path: Path) -> None:
    """A step of TRL's trainer over the file; its loss is the mean over the completion tokens."""
    trl = pytest.importorskip("trl")
    import torch
    from transformers import AutoModelForCausalLM

    run_dir, samples = run
    export_samples(run_dir, "trl", tmp_path / "trl.jsonl")
    dataset = datasets.load_dataset("json", data_files=str(tmp_path / "trl.jsonl"), cache_dir=str(tmp_path / "cache"))
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path / "trl"), max_steps=1, per_device_train_batch_size=4, report_to=[], use_cpu=True,
        bf16=False, save_strategy="no", logging_steps=1, disable_tqdm=True, dataloader_pin_memory=False,
        gradient_checkpointing=False, max_length=None,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tiny_model("qwen3"))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("qwen3"))
    trainer = trl.SFTTrainer(model, arguments, train_dataset=dataset["train"], processing_class=tokenizer)
    expected, num_tokens = 0.0, 0
    with torch.no_grad():
        for one in (samples[number] for number in (0, 1, 2, 5)):
            logits = model(torch.tensor([one.prompt_token_ids + one.token_ids])).logits[0]
            logits = logits[len(one.prompt_token_ids) - 1 : -1]
            expected += float(torch.nn.functional.cross_entropy(logits, torch.tensor(one.token_ids), reduction="sum"))
            num_tokens += len(one.token_ids)
    assert trainer.train().training_loss == pytest.approx(expected / num_tokens, rel=1e-4)


def test_nothing_is_overwritten_and_what_is_missing_is_named(run: tuple[Path, list[Sample]], tmp_path: Path) -> None:
    run_dir, _ = run
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(ExportError, match="is there already"):
        export_samples(run_dir, "trl", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"
    with pytest.raises(ExportError, match="train is not complete; run `forklock train`"):
        export_model(run_dir, tmp_path / "model")
    with pytest.raises(NotARunFolderError, match="is no run folder of a recipe"):
        export_samples(tmp_path, "trl", tmp_path / "new")


FORMS = ["messages", "megatron-bridge", "axolotl", "llama-factory", "trl"]


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, dict[str, Any]]:
    """The exit code and the object that `forklock ... --json` prints."""
    monkeypatch.setattr(sys, "argv", ["forklock", *map(str, arguments), "--json"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0, json.loads(capsys.readouterr().out)  # type: ignore[return-value]


@pytest.mark.parametrize("form", FORMS)
def test_the_command_writes_what_the_function_does(
    form: Any,
    run: tuple[Path, list[Sample]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir, _ = run
    rows, counts = exported(run_dir, form, tmp_path)
    out = tmp_path / "by-command"
    asked = ("export", "samples", run_dir, "--format", form, "--out", out)
    assert command(monkeypatch, capsys, *asked) == (0, {"out": str(out), **counts})
    if form == "llama-factory":
        assert list(datasets.load_from_disk(str(out))["train"]) == rows
    else:
        assert out.read_bytes() == (tmp_path / "out" / form).read_bytes()
    code, said = command(monkeypatch, capsys, *asked)
    assert code == ForklockError.exit_code
    assert said == {"error": f"{out}: is there already; name another place, or move it away"}
    code, said = command(monkeypatch, capsys, *asked[:-1], tmp_path / "second", "--round", 2)
    assert said == {"error": f"{run_dir}: has no round 2; its recipe has rounds 1 to 1"}


def test_the_command_copies_the_model(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe(tiny_model("qwen3"), steps=1)
    folder = run_training(recipe, tmp_path / "run", [make_sample(number) for number in range(8)])
    write_text(tmp_path / "run" / "recipe.toml", recipes.to_toml(recipe))
    asked = ("export", "model", tmp_path / "run", "--out", tmp_path / "out")
    assert command(monkeypatch, capsys, *asked) == (0, {"out": str(tmp_path / "out"), "pushed_to": None})
    for name in ("model.safetensors", "tokenizer.json", "README.md"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / "model" / name).read_bytes()
    code, said = command(monkeypatch, capsys, *asked)
    assert code == ForklockError.exit_code
    assert said["error"].endswith("out: is there already; name another folder, or move it away")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["model", *FORMS])
def test_a_full_disk_is_one_message_and_leaves_nothing(
    what: str, run: tuple[Path, list[Sample]], tiny_model: TinyModel, tmp_path: Path
) -> None:
    """On a real one: a tmpfs that is full, mounted where the command alone sees it."""
    run_dir, samples = run
    if what == "model":
        recipe = recipe_of(run_dir)
        run_dir = tmp_path / "trained"
        run_training(recipe, run_dir, samples)
        write_text(run_dir / "recipe.toml", recipes.to_toml(recipe))
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1) here")
    mount = f"mount -t tmpfs -o size=8k tmpfs {disk}"
    trial = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True)
    if trial.returncode != 0:
        pytest.skip(f"no mount in a user namespace of our own: {trial.stderr.strip()}")
    (tmp_path / "filler").write_bytes(b"x" * 8192)
    asked = ["export", "model"] if what == "model" else ["export", "samples", "--format", what]
    words = [sys.executable, "-m", "forklock", *asked, run_dir, "--out", disk / "out", "--json"]
    fill, export = f"cp {tmp_path / 'filler'} {disk}", shlex.join(map(str, words))
    script = f"{mount} && {fill}; {export}; code=$?; ls -A {disk} >&2; exit $code"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == ForklockError.exit_code, done.stderr
    said = json.loads(done.stdout)["error"]
    assert said.startswith(f"{disk / 'out'}: cannot be written: no space is left on the device (0.0 MiB free")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "filler"  # nothing else is left there


def test_the_model_is_copied_and_pushed_by_the_hubs_client(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny_model("qwen3"), steps=1)
    folder = run_training(recipe, tmp_path / "run", [make_sample(number) for number in range(8)])
    write_text(tmp_path / "run" / "recipe.toml", recipes.to_toml(recipe))
    export_model(tmp_path / "run", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        path.name: path.read_bytes() for path in (folder / "model").iterdir()
    }
    with pytest.raises(ExportError, match="is there already"):
        export_model(tmp_path / "run", tmp_path / "out")
    with pytest.raises(ExportError, match=r"not/a/name: the model was not pushed: .*The folder .* is whole"):
        push_model(tmp_path / "out", "not/a/name")
    with pytest.raises(ExportError, match=r"me/model: the model was not pushed: .*offline"):
        push_model(tmp_path / "out", "me/model")

    calls: list[tuple[str, dict[str, Any]]] = []

    class Client:
        def create_repo(self, repo_id: str, **named: Any) -> str:
            calls.append(("create", {"repo_id": repo_id, **named}))
            return f"https://hub/{repo_id}"

        def upload_folder(self, **named: Any) -> None:
            calls.append(("upload", named))

    monkeypatch.setattr(huggingface_hub, "HfApi", Client)
    assert push_model(tmp_path / "out", "me/model") == "https://hub/me/model"
    assert calls[0] == ("create", {"repo_id": "me/model", "private": True, "exist_ok": True})
    assert calls[1][1]["folder_path"] == tmp_path / "out"
