"""What evaluation points share while they are taken through one after another: problems, engine, sandbox, scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType

from forklock.benchmarks import BENCHMARKS, Loaded, load_benchmark
from forklock.cluster import open_engine, open_scorer
from forklock.config import BenchmarkName, ModelConfig, Recipe
from forklock.decoding import Decoding
from forklock.engines import Engine, playing
from forklock.evaluate.grading import Scores
from forklock.evaluate.scoring import Scorer, ThreadScorer
from forklock.sandbox.pool import Sandbox


class Session(AbstractContextManager["Session"]):
    """Opens each when it is first needed. An engine stays open until another model is asked for: a large model takes
    minutes to load, and the points of one model follow each other."""

    def __init__(self, recipe: Recipe, *, allow_unsafe: bool = False) -> None:
        """`allow_unsafe`: programs may run without some of the sandbox's layers; every verdict is then marked."""
        self._recipe = recipe
        self._allow_unsafe = allow_unsafe
        self._loaded: dict[BenchmarkName, Loaded] = {}
        self._engine_stack = ExitStack()
        self._engine: tuple[ModelConfig, int, Engine] | None = None
        self._sandbox_stack = ExitStack()
        self._scorer: Scorer | None = None
        self._scores: dict[BenchmarkName, Scores] = {}

    def check(self, names: Iterable[BenchmarkName]) -> None:
        """Find out before hours of work what would stop their evaluation: missing data, or no isolation here."""
        for name in names:
            self.problems(name)
            self.scorer(name)

    def problems(self, name: BenchmarkName) -> Loaded:
        settings = self._recipe.evaluate
        if name not in self._loaded:
            path, revision = settings.data_paths.get(name), settings.data_revisions.get(name)
            self._loaded[name] = load_benchmark(name, path, revision, all_tests=settings.all_tests)
        return self._loaded[name]

    @contextmanager
    def engine(self, model: ModelConfig, max_sequence_tokens: int, plays: Decoding | None = None) -> Iterator[Engine]:
        """Open also after the block, until `release`. One that a fault has passed through is closed at once."""
        if self._engine is None or self._engine[:2] != (model, max_sequence_tokens):
            self.release()
            opened = open_engine(self._recipe, model, max_sequence_tokens=max_sequence_tokens)
            self._engine = (model, max_sequence_tokens, self._engine_stack.enter_context(opened))
        try:
            yield self._engine[2] if plays is None else playing(self._engine[2], plays)
        except BaseException:
            self.release()
            raise

    def scorer(self, benchmark: BenchmarkName) -> Scorer:
        """Sandboxes are started only for a benchmark that runs programs; `SandboxUnavailableError` where they can't
        be isolated, here or on a node of the cluster."""
        sandbox = Sandbox(num_workers=self._recipe.evaluate.num_grading_workers, unsafe=self._allow_unsafe)
        if not BENCHMARKS[benchmark].runs_programs:
            return ThreadScorer(sandbox)
        if self._scorer is None:
            if self._recipe.cluster.address is not None:
                self._scorer = open_scorer(allow_unsafe=self._allow_unsafe)
            else:
                self._scorer = ThreadScorer(self._sandbox_stack.enter_context(sandbox))
        return self._scorer

    def scores(self, benchmark: BenchmarkName) -> Scores:
        """Of every answer that was graded since the session began."""
        return self._scores.setdefault(benchmark, {})

    def release(self) -> None:
        """Close the engine: whatever comes next needs its memory."""
        self._engine = None
        self._engine_stack.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._sandbox_stack.close()
