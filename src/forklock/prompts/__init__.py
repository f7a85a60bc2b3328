"""Prompts: the problems that a model is asked, from their source to the token ids that it reads.

`sources` knows the datasets, `rows` and `hub` read them, `loading` names what is malformed and drops duplicates,
`records` is what the stages after this one read, and `stage` writes it. `rendering` is the only place that touches
a chat template; its words are in `wording`, or in a user's file (`template`).
"""

from forklock.prompts.errors import PromptsError
from forklock.prompts.loading import BadRow, Counts, LoadedPrompts, load_prompts
from forklock.prompts.records import Form, Prompt, read_prompts, write_prompts
from forklock.prompts.rendering import RenderedPrompt, Renderer, load_tokenizer
from forklock.prompts.sources import hub_dataset, input_files
from forklock.prompts.stage import run, stage_config

__all__ = [
    "BadRow",
    "Counts",
    "Form",
    "LoadedPrompts",
    "Prompt",
    "PromptsError",
    "RenderedPrompt",
    "Renderer",
    "hub_dataset",
    "input_files",
    "load_prompts",
    "load_tokenizer",
    "read_prompts",
    "run",
    "stage_config",
    "write_prompts",
]
