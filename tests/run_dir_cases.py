"""A small pipeline that counts what it computed, and stages of one body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from forklock.run_dir import Event, Stage, StageDir, open_run, run_stages

Body = Callable[[StageDir], None]
ALL_RAN = {"make": "ran", "blend": "ran", "count": "ran"}
ALL_SKIPPED = {"make": "skipped", "blend": "skipped", "count": "skipped"}


class Pipeline:
    """prompts -> make -> blend -> count, with a count of what was computed."""

    def __init__(self, folder: Path) -> None:
        self.run_dir = folder / "run"
        self.prompts = folder / "prompts.txt"
        self.prompts.write_text("one two three")
        self.computed: list[str] = []
        self.salt = ""
        self.events: list[Event] = []

    def make(self, stage_dir: StageDir) -> None:
        for word in stage_dir.input("prompts").read_text().split():
            if not stage_dir.is_done(word):
                self.computed.append(f"make {word}")
                stage_dir.write_text(word, word * 20 + self.salt)

    def blend(self, stage_dir: StageDir) -> None:
        self.computed.append("blend")
        words = sorted(path.read_text() for path in stage_dir.upstream("make").glob("[a-z]*e"))
        with stage_dir.new_folder("table") as folder:
            (folder / "inner").mkdir()
            (folder / "inner" / "words.txt").write_text(" ".join(words))

    def count(self, stage_dir: StageDir) -> None:
        self.computed.append("count")
        text = (stage_dir.upstream("blend") / "table" / "inner" / "words.txt").read_text()
        stage_dir.write_text("count.txt", str(len(text)))

    def stages(self, blend: Mapping[str, object] | None = None, make_version: int = 1) -> list[Stage]:
        return [
            Stage(name="make", body=self.make, inputs={"prompts": self.prompts}, version=make_version),
            Stage(name="blend", body=self.blend, config=blend or {"temperature": 1.6}, reads={"make": "make"}),
            Stage(name="count", body=self.count, reads={"blend": "blend"}),
        ]

    def run(self, stages: list[Stage] | None = None) -> dict[str, str]:
        self.computed.clear()
        self.events.clear()
        with open_run(self.run_dir, self.events.append) as run:
            results = run_stages(run, self.stages() if stages is None else stages)
        return {result.stage: result.action for result in results}


def run_body(run_dir: Path, body: Body) -> None:
    with open_run(run_dir) as run:
        run_stages(run, [Stage(name="make", body=body)])
