"""The text and the token ids that a model reads, against golden files, and what is said of models that cannot."""

from pathlib import Path

import pytest
from prompts_cases import (
    DROPS_SYSTEM,
    HUMANEVAL_ROW,
    LLAMA,
    NO_SYSTEM_ROLE,
    QWEN3_HYBRID,
    QWEN3_INSTRUCT,
    QWEN3_THINKING,
    llama_tokenizer,
    qwen_tokenizer,
)
from transformers import PreTrainedTokenizerFast

from forklock.config import ModelConfig
from forklock.prompts import Prompt, PromptsError, Renderer, load_tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "prompts"

PROMPTS = {
    "program": Prompt("p", "Given two integers a and b, print their sum.\n\nInput: one line with a and b.\n"),
    "function": Prompt(
        "f",
        "Given an integer array nums, return its largest element.",
        "class Solution:\n    def largest(self, nums: List[int]) -> int:\n        ",
        "function",
    ),
    "bare-function": Prompt("b", "Write a function `double(x)` that doubles a number.", "", "function"),
    "completion": Prompt("c", str(HUMANEVAL_ROW["prompt"]), "", "completion"),
}


def model(style: str) -> ModelConfig:
    return ModelConfig.model_validate({"path": "some/model", "style": style})


RENDERERS = {
    "qwen3-instruct": lambda: Renderer(qwen_tokenizer(QWEN3_INSTRUCT), model("instruct")),
    "qwen3-thinking": lambda: Renderer(qwen_tokenizer(QWEN3_THINKING), model("thinking")),
    "llama-3.1": lambda: Renderer(llama_tokenizer(LLAMA), model("instruct")),
    "base": lambda: Renderer(llama_tokenizer(None), model("base")),
}


@pytest.mark.parametrize("form", PROMPTS)
@pytest.mark.parametrize("name", RENDERERS)
def test_rendered_text_is_the_golden_file(name: str, form: str) -> None:
    path = GOLDEN / f"{name}-{form}.txt"
    text = RENDERERS[name]().render(PROMPTS[form]).text
    assert text.encode() == path.read_bytes(), f"{path} differs; is the change meant?"


@pytest.mark.parametrize("form", PROMPTS)
@pytest.mark.parametrize(
    ("tokenizer", "style"),
    [
        (qwen_tokenizer(QWEN3_INSTRUCT), "instruct"),
        (qwen_tokenizer(QWEN3_THINKING), "thinking"),
        (llama_tokenizer(LLAMA), "instruct"),
    ],
)
def test_token_ids_are_those_of_the_chat_template_and_decode_to_the_text(
    tokenizer: PreTrainedTokenizerFast, style: str, form: str
) -> None:
    from forklock.prompts.wording import conversation

    rendered = Renderer(tokenizer, model(style)).render(PROMPTS[form])
    theirs = tokenizer.apply_chat_template(
        conversation(PROMPTS[form]), add_generation_prompt=True, date_string="26 Jul 2024"
    )
    assert list(rendered.token_ids) == theirs["input_ids"]
    assert tokenizer.decode(rendered.token_ids, clean_up_tokenization_spaces=False) == rendered.text
    assert rendered.prompt_id == PROMPTS[form].prompt_id


def test_the_begin_token_stands_once() -> None:
    tokenizer = llama_tokenizer(LLAMA)
    begin = tokenizer.bos_token_id
    chat = Renderer(tokenizer, model("instruct")).render(PROMPTS["program"])
    assert tokenizer(chat.text)["input_ids"][:2] == [begin, begin]  # the bug that is avoided
    base = Renderer(tokenizer, model("base")).render(PROMPTS["completion"])
    for rendered in (chat, base):
        assert rendered.token_ids[0] == begin
        assert rendered.token_ids.count(begin) == 1
    assert base.text == "<|begin_of_text|>" + PROMPTS["completion"].statement
    without = Renderer(qwen_tokenizer(None), model("base")).render(PROMPTS["completion"])
    assert without.text == PROMPTS["completion"].statement


def test_a_hybrid_model_thinks_or_not_as_its_style_says() -> None:
    tokenizer = qwen_tokenizer(QWEN3_HYBRID)
    instruct = Renderer(tokenizer, model("instruct")).render(PROMPTS["program"]).text
    thinking = Renderer(tokenizer, model("thinking")).render(PROMPTS["program"]).text
    assert instruct == thinking + "<think>\n\n</think>\n\n"
    assert thinking.endswith("<|im_start|>assistant\n")


def test_thinking_and_instruct_get_the_same_task() -> None:
    instruct = RENDERERS["qwen3-instruct"]().render(PROMPTS["function"]).text
    assert RENDERERS["qwen3-thinking"]().render(PROMPTS["function"]).text == instruct + "<think>\n"
    assert "step" not in instruct  # no instruction to reason


@pytest.mark.parametrize(
    ("template", "style", "message"),
    [
        (None, "instruct", 'has no chat template, which model.style = "instruct" needs; set model.style = "base"'),
        (QWEN3_INSTRUCT, "thinking", 'its chat template has no thinking trigger .*; set model.style = "instruct"'),
        (
            NO_SYSTEM_ROLE,
            "instruct",
            "its chat template refuses a system and a user message: no system role here; name a file in "
            "prompts.template",
        ),
        (DROPS_SYSTEM, "instruct", "its chat template leaves out the system message; name a file in prompts.template"),
        ("{{ messages[0].content + 3 }}", "instruct", "its chat template refuses .*can only concatenate str"),
    ],
)
def test_a_model_that_cannot_be_asked_so_is_named_with_the_mend(template: str | None, style: str, message: str) -> None:
    with pytest.raises(PromptsError, match=f"^some/model: {message}"):
        Renderer(qwen_tokenizer(template), model(style))


def write_template(folder: Path, text: str) -> str:
    path = folder / "mine.jinja"
    path.write_text(text)
    return str(path)


def test_a_users_template_is_a_user_turn_or_a_base_models_text(tmp_path: Path) -> None:
    file = write_template(
        tmp_path, "{% if starter_code %}Use {{ starter_code | trim }}{% else %}Solve{% endif %}: {{ statement }}\n"
    )
    chat = Renderer(qwen_tokenizer(NO_SYSTEM_ROLE), model("instruct"), file)
    assert chat.render(Prompt("p", "<A & B>")).text == (
        "<|im_start|>user\nSolve: <A & B><|im_end|>\n<|im_start|>assistant\n"
    )
    base = Renderer(llama_tokenizer(None), model("base"), file)
    assert base.render(Prompt("p", "A", "def f():", "function")).text == "<|begin_of_text|>Use def f():: A"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{{ statement }}\n{% if false %}\n{{ question }}{% endif %}",
            r"line 3: `question` is undefined; a template has ",
        ),
        ("{{ statement }}\n{{ statement.nope }}", r"line 2: .*has no attribute 'nope' \(prompt probe\)"),
        ("{{ statement }\n", r"line 1: is not a Jinja template: unexpected"),
        ("\n{{ statement | nope }}", r"line 2: is not a Jinja template: No filter named 'nope'"),
        ("{{ statement.__class__ }}", r"line 1: access to attribute '__class__' of 'str' object is unsafe"),
        ("{% include '/etc/passwd' %}", r"line 1: no loader for this environment"),
        ("{{ 1 / 0 }}", r"line 1: division by zero"),
        ("\n{{ statement.encode('nope') }}", r"line 2: unknown encoding: nope \(prompt probe\)"),
        ("{{ 3 | dictsort }}", r"line 1: 'int' object has no attribute 'items'"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", r"line 1: maximum recursion depth exceeded"),
        ("{# nothing #}", r"renders prompt probe to nothing; use \{\{ statement \}\}"),
    ],
)
def test_a_fault_in_a_template_is_named_with_file_and_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match=rf"mine\.jinja:? {message}"):
        Renderer(qwen_tokenizer(QWEN3_INSTRUCT), model("instruct"), write_template(tmp_path, text))


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match=r"no\.jinja: cannot be read: .*; see prompts\.template"):
        Renderer(qwen_tokenizer(QWEN3_INSTRUCT), model("instruct"), str(tmp_path / "no.jinja"))


def test_a_tokenizer_is_loaded_from_the_models_folder_alone(tmp_path: Path) -> None:
    qwen_tokenizer(QWEN3_THINKING).save_pretrained(tmp_path)
    loaded = load_tokenizer(ModelConfig(path=str(tmp_path)))
    rendered = Renderer(loaded, model("thinking")).render(PROMPTS["program"])
    assert rendered == RENDERERS["qwen3-thinking"]().render(PROMPTS["program"])
    with pytest.raises(PromptsError, match="its tokenizer cannot be loaded"):
        load_tokenizer(ModelConfig(path=str(tmp_path / "..")))
