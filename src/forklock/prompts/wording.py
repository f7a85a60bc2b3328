"""How a problem is put to a model, in words. The format is C.1's, the words are ours.

A new form of problem is a new case in `_task`; nothing else changes.
"""

from __future__ import annotations

from forklock.prompts.records import Prompt

SYSTEM_MESSAGE = (
    "Solve programming problems in Python. Give each complete solution in one Markdown code block that opens with "
    "```python."
)
SHELL_MESSAGE = "Solve programming problems in Bash. Give each complete solution in one Markdown code block: ```bash."


def conversation(prompt: Prompt) -> list[dict[str, str]]:
    """One system message and one user turn, for instruct and thinking models alike; a question stands alone."""
    turn = {"role": "user", "content": _task(prompt)}
    if prompt.form == "question":
        return [turn]
    return [{"role": "system", "content": SHELL_MESSAGE if prompt.form == "shell" else SYSTEM_MESSAGE}, turn]


def continuation(prompt: Prompt) -> str:
    """Text whose continuation is the solution, for models without a chat template.

    Of a `completion` it is the code itself, of a question it ends with "Answer:"; else it ends inside an open code
    block, which the answer will close.
    """
    if prompt.form in ("completion", "shell"):
        return prompt.statement
    if prompt.form == "question":
        return f"{prompt.statement}\n\nAnswer:"
    return f"{_task(prompt)}\n\nSolution:\n\n```python\n"


def _task(prompt: Prompt) -> str:
    statement = prompt.statement.strip()
    if prompt.form == "completion":
        request = "Complete this Python code. Repeat what is given, so that the solution runs on its own."
        return f"{request}\n\n{_code_block(prompt.statement)}"
    if prompt.form == "shell":
        request = "Complete this Bash script. Repeat what is given, so that the function is whole."
        return f"{request}\n\n{_code_block(prompt.statement, 'bash')}"
    if prompt.form == "question":
        return statement
    if prompt.starter_code:
        request = "Fill in this code, and keep its names and signatures as they are:"
        return f"{statement}\n\n{request}\n\n{_code_block(prompt.starter_code)}"
    if prompt.form == "function":
        return f"{statement}\n\nDefine it in Python; take no input from stdin and print nothing."
    request = "The solution is a whole program: it takes its input from stdin and prints its answer to stdout."
    return f"{statement}\n\n{request}"


def _code_block(code: str, language: str = "python") -> str:
    return f"```{language}\n{code.rstrip()}\n```"
