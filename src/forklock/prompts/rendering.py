"""The one place where a prompt becomes what a model reads, for synthesis, training and evaluation alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forklock.config import ModelConfig
from forklock.model_path import check_model_path
from forklock.packages import load_package
from forklock.prompts.errors import PromptsError
from forklock.prompts.records import Prompt
from forklock.prompts.template import load_template
from forklock.prompts.wording import continuation, conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Llama's templates put the day of the call into the prompt unless told one; this is Llama 3.1's own default.
TEMPLATE_DATE = "26 Jul 2024"

_PROBE = Prompt(prompt_id="probe", statement="Print the sum of two integers.")


@dataclass(frozen=True)
class RenderedPrompt:
    """`token_ids` is `text` encoded with nothing added: special tokens stand in the text, each once."""

    prompt_id: str
    text: str
    token_ids: tuple[int, ...]


class Renderer:
    """Renders prompts for one model, as `model.style` says: C.1's two chat formats, or text to complete.

    A template file is put as a single user turn, or as the whole text of a base model. What is wrong with the
    model's chat template or with the file shows when the renderer is made, before any prompt.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, model: ModelConfig, template_file: str | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self._fill = load_template(template_file) if template_file else None
        if model.style != "base":
            self._check_chat_template()

    def render(self, prompt: Prompt) -> RenderedPrompt:
        text = self._completion_text(prompt) if self._model.style == "base" else self._chat_text(prompt)
        token_ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return RenderedPrompt(prompt.prompt_id, text, tuple(token_ids))

    def _completion_text(self, prompt: Prompt) -> str:
        text = self._fill(prompt) if self._fill else continuation(prompt)
        start = self._tokenizer.bos_token
        begins_with_start = start and self._tokenizer("")["input_ids"][:1] == [self._tokenizer.bos_token_id]
        return f"{start}{text}" if begins_with_start and not text.startswith(start) else text

    def messages(self, prompt: Prompt) -> list[dict[str, str]]:
        """What is put to the model as chat messages; the text itself, as a user's, where the model has no chat."""
        if self._model.style == "base":
            return [{"role": "user", "content": self._completion_text(prompt)}]
        return [{"role": "user", "content": self._fill(prompt)}] if self._fill else conversation(prompt)

    def _chat_text(self, prompt: Prompt) -> str:
        return self._apply(self.messages(prompt), enable_thinking=self._model.style == "thinking")

    def _apply(
        self, messages: list[dict[str, str]], *, enable_thinking: bool, add_generation_prompt: bool = True
    ) -> str:
        errors = (load_package("jinja2").TemplateError, TypeError, ValueError)
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    enable_thinking=enable_thinking,
                    date_string=TEMPLATE_DATE,
                )
            )
        except errors as error:
            raise PromptsError(
                f"{self._model.path}: its chat template refuses a {' and a '.join(m['role'] for m in messages)} "
                f"message: {error}; name a file in prompts.template, which is put as a user message alone"
            ) from error

    def _check_chat_template(self) -> None:
        name, style = self._model.path, self._model.style
        if not self._tokenizer.chat_template:
            raise PromptsError(
                f'{name}: has no chat template, which model.style = "{style}" needs; set model.style = "base", '
                "or name the instruction-tuned model in model.path"
            )
        messages = self.messages(_PROBE)
        text = self._apply(messages, enable_thinking=style == "thinking")
        for message in messages:
            if message["content"].strip() not in text:
                raise PromptsError(
                    f"{name}: its chat template leaves out the {message['role']} message; name a file in "
                    "prompts.template, which is put as a user message alone"
                )
        if style == "thinking" and not self._has_thinking_trigger(messages, text):
            raise PromptsError(
                f"{name}: its chat template has no thinking trigger (no opening <think>, no `enable_thinking`), "
                'which model.style = "thinking" needs; set model.style = "instruct"'
            )

    def _has_thinking_trigger(self, messages: list[dict[str, str]], text: str) -> bool:
        """The template opens the reasoning itself, or says how to turn it off (hybrid models begin it unasked)."""
        unprompted = self._apply(messages, enable_thinking=True, add_generation_prompt=False)
        answer_start = text.removeprefix(unprompted)
        if "<think>" in answer_start and "</think>" not in answer_start:
            return True
        return self._apply(messages, enable_thinking=False) != text


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer, and nothing else of it."""
    transformers = load_package("transformers")
    check_model_path(model.path)
    try:
        tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
            model.path, revision=model.revision
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PromptsError(f"{model.path}: its tokenizer cannot be loaded: {reason}; see model.path") from error
    return tokenizer
