"""A user's own Jinja file in place of `wording`, in a sandbox: it can format text and reach nothing else."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forklock.packages import load_package
from forklock.prompts.errors import PromptsError
from forklock.prompts.records import Prompt

VARIABLES = tuple(field.name for field in dataclasses.fields(Prompt))
_FAULTS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What a template's own expressions raise, beside Jinja's errors."""


def load_template(file: str) -> Callable[[Prompt], str]:
    """A function that fills the file in. Its text is used as it comes, without the one newline that ends the file.

    Names that no prompt has are an error before any prompt is rendered, also in branches that are never taken.
    """
    jinja, sandbox = load_package("jinja2"), load_package("jinja2.sandbox")
    environment = sandbox.ImmutableSandboxedEnvironment(undefined=jinja.StrictUndefined)
    try:
        text = Path(file).read_text(encoding="utf-8")
        tree = environment.parse(text)
        _refuse_unknown_names(file, tree, {*VARIABLES, *environment.globals})
        code = environment.compile(tree, filename=file)
    except (OSError, UnicodeDecodeError) as error:
        raise PromptsError(f"{file}: cannot be read: {error}; see prompts.template") from error
    except jinja.TemplateSyntaxError as error:
        raise PromptsError(f"{file} line {error.lineno}: is not a Jinja template: {error.message}") from error
    template = environment.template_class.from_code(environment, code, environment.make_globals(None))

    def render(prompt: Prompt) -> str:
        try:
            rendered: str = template.render(dataclasses.asdict(prompt))
        except (jinja.TemplateError, *_FAULTS) as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
            raise PromptsError(f"{file} line {lines[-1]}: {error} (prompt {prompt.prompt_id})") from error
        if not rendered.strip():
            raise PromptsError(f"{file}: renders prompt {prompt.prompt_id} to nothing; use {{{{ statement }}}}")
        return rendered

    return render


def _refuse_unknown_names(file: str, tree: Any, known: set[str]) -> None:
    unknown = load_package("jinja2.meta").find_undeclared_variables(tree) - known
    for name in tree.find_all(load_package("jinja2.nodes").Name):
        if name.name in unknown:
            raise PromptsError(
                f"{file} line {name.lineno}: `{name.name}` is undefined; a template has {', '.join(VARIABLES)}"
            )
