"""Every setting of a recipe: its name, type, bounds, default and meaning, in the order of the pipeline.

A recipe is a TOML file that `forklock.recipes` reads into a `Recipe`. Everything is frozen, unknown keys are
refused, and nothing here imports torch: a misspelt key fails before any model is looked for. All sections are in one
file, long as it is, so that it reads beside a recipe, table by table; `Recipe`, at its end, is the list of them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from forklock.decoding import Decoding

Fraction = Annotated[float, Field(gt=0.0, le=1.0)]


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ModelConfig(Section):
    """The frozen model, and the model that training starts from."""

    path: str
    """A folder, a name on the model hub, or `microworld`."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type of the weights in memory; `auto` takes the type they were saved in."""
    style: Literal["instruct", "thinking", "base"] = "instruct"
    """How problems are put to it: a system message and a user turn; the same with the template's own thinking
    trigger; or plain text to complete."""


class ColumnsConfig(Section):
    """Which columns of a dataset hold what; needed for sources without a schema of their own."""

    statement: str = "question"
    """The problem in words."""
    starter_code: str | None = None
    """Code that a solution has to begin from, where a problem has some."""
    id: str | None = None
    """A name for each prompt; without one, a hash of its statement."""


class PromptsConfig(Section):
    """Where problems come from. Their solutions and tests are never read."""

    source: Literal[
        "microworld", "rstar-coder", "livecodebench", "humaneval", "mbpp", "huggingface", "jsonl", "parquet", "csv"
    ]
    """The microworld's problems, a dataset with a known schema, any dataset of the hub, or local files."""
    path: str | None = None
    """Hub name, local file or folder; known datasets have theirs."""
    subset: str | None = None
    """Configuration of a hub dataset, or release of LiveCodeBench (`release_v6`, `v6`, `v5_v6`); known datasets have
    theirs."""
    split: str | None = None
    """Split of a hub dataset; known datasets have theirs, others `train`."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset; the seed that the microworld's problems are drawn by."""
    columns: ColumnsConfig = ColumnsConfig()
    limit: PositiveInt | None = None
    """Keep the first so many, after de-duplication and shuffling."""
    shuffle: bool = False
    """Shuffle by the recipe's seed."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """Stop at a malformed row, or skip, count and list such rows."""
    template: str | None = None
    """A Jinja file that renders a problem, in place of the model style's own words: a user turn, or a base model's
    whole text."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        is_file = self.source in ("jsonl", "parquet", "csv")
        if self.path is None and (is_file or self.source == "huggingface"):
            raise ValueError(f'source = "{self.source}" needs `path`')
        if self.source == "microworld":
            self._check_microworld()
        if is_file and (self.subset or self.split or self.revision):
            raise ValueError(f'source = "{self.source}" has no `subset`, `split` or `revision`')
        if self.columns != ColumnsConfig() and not (is_file or self.source == "huggingface"):
            raise ValueError(f'source = "{self.source}" has `columns` of its own')
        return self

    def _check_microworld(self) -> None:
        if self.path or self.subset or self.split:
            raise ValueError('source = "microworld" has no `path`, `subset` or `split`')
        if self.revision is not None and not self.revision.isdecimal():
            raise ValueError('`revision` of source = "microworld" is a seed, such as "1"')


class EngineConfig(Section):
    """What draws samples, in synthesis and in evaluation alike."""

    kind: Literal["transformers", "vllm", "server", "fake"] = "transformers"
    """`transformers` runs anywhere; `vllm` in this process; `server` is any OpenAI-compatible completions endpoint
    that returns token ids; `fake` is scripted, for tests."""
    batch_tokens: PositiveInt | None = None
    """Budget of cached tokens of a `transformers` batch; measured from free memory when absent."""
    tensor_parallel: PositiveInt = 1
    """GPUs that share one copy of the model (vllm)."""
    data_parallel: PositiveInt = 1
    """Copies of the model (vllm)."""
    gpu_memory_fraction: Fraction = 0.9
    """Share of each GPU's memory that vllm may take."""
    server_url: str | None = None
    """Base address of the endpoint (server), up to and with `/v1`."""
    max_concurrent_requests: PositiveInt = 64
    """Requests in flight at once (server)."""
    strict: bool = False
    """Draw in fixed groups that never mix (transformers), so that samples are equal bit for bit whatever was
    finished before a restart; slower."""

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.kind == "server" and self.server_url is None:
            raise ValueError('kind = "server" needs `server_url`')
        if self.strict and self.kind not in ("transformers", "fake"):
            raise ValueError(f'kind = "{self.kind}" has no `strict` mode; it is the transformers engine\'s')
        return self


class SynthesizeConfig(Section):
    """Sampling from the frozen model (Eq. 1)."""

    decoding: Decoding
    """The training-time decoding: T_train and its truncation (Table 3)."""
    num_samples_per_prompt: PositiveInt = 1
    """N; the paper draws one."""
    max_sequence_tokens: PositiveInt = 131_072
    """Prompt and completion together; a sample that reaches it is kept without a stop token."""
    drop_degenerate: bool = True
    """Leave empty and single-line answers out of training. They are marked and counted always, and never deleted."""
    record_target: bool = False
    """Keep q_s itself (Eq. 7) at each position, at most top-k entries; the soft target needs it."""
    samples_per_shard: PositiveInt = 256
    """Finished samples are safe on disk after so many, or with the first that finishes after ten minutes."""

    @model_validator(mode="after")
    def _check_record(self) -> Self:
        if self.record_target and self.decoding.top_k == 0 and not self.decoding.is_greedy:
            raise ValueError("`record_target` needs a decoding with top_k: without one q_s is the whole vocabulary")
        return self


class LoraConfig(Section):
    """Low-rank adapters in place of full fine-tuning."""

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Names of the layers to adapt."""
    merge_on_save: bool = True
    """Write whole weights, or the adapter alone."""


LossKernel = Literal["chunked", "liger"]


class TrainConfig(Section):
    """Fine-tuning on the raw samples (Eq. 2)."""

    target: Literal["hard", "soft"] = "hard"
    """`hard`: cross-entropy on the tokens drawn (the paper). `soft`: cross-entropy with q_s at each of them
    (Eq. 8 without the sampling noise); needs `synthesize.record_target`."""
    steps: PositiveInt | None = None
    """Optimizer steps; give this or `epochs`."""
    epochs: PositiveFloat | None = None
    """Passes over the samples; give this or `steps`."""
    global_batch_size: PositiveInt = 32
    """Samples a step, over all devices and accumulation."""
    max_sequence_tokens: PositiveInt = 65_536
    """Longest sequence, prompt included."""
    too_long: Literal["drop", "stop"] = "drop"
    """Leave longer samples out and count them, or stop. They are never cut."""
    learning_rate: PositiveFloat = 5e-6
    """Peak of the schedule: linear warm-up, then a cosine."""
    final_learning_rate: Annotated[float, Field(ge=0.0)] = 1e-6
    """Where the cosine ends."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    adam_beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.95
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm. (The paper does not give one.)"""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type that forward and backward compute in; master weights are float32."""
    checkpoint_every_steps: PositiveInt | None = None
    """A complete model folder every so many steps, besides the last."""
    tokens_per_device: PositiveInt = 65_536
    """Positions of one forward pass on one device; accumulation makes up the global batch."""
    loss_kernel: LossKernel = "chunked"
    """`liger`: Liger's fused kernel for the loss; hard targets on CUDA alone."""
    layout: Literal["bucketed", "packed"] = "bucketed"
    """Batches of like lengths, or several samples a row, none seeing another."""
    gradient_checkpointing: bool = False
    sharding: Literal["off", "fsdp2"] = "off"
    """Every device holds the whole model, or a share of it."""
    num_processes: PositiveInt = 1
    """Processes (devices) on this machine; launchers such as torchrun set their own."""
    lora: LoraConfig | None = None
    """Absent: full fine-tuning."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    only_verified_samples: bool = False
    """A baseline, not self-distillation: leave out every sample that fails its problem's tests. The recipe's name has
    to say `verified-only`, and prompts have to be the microworld's, whose tests are known."""

    @property
    def keeps_adapter(self) -> bool:
        """Whether checkpoints hold the adapter alone."""
        return self.lora is not None and not self.lora.merge_on_save

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError('give either `steps` or `epochs` (take an inherited one away with steps = "none")')
        if self.loss_kernel == "liger" and self.target == "soft":
            raise ValueError('`loss_kernel` = "liger" knows the hard target alone; use "chunked"')
        if self.final_learning_rate > self.learning_rate:
            raise ValueError("`final_learning_rate` is above `learning_rate`")
        if self.steps is not None and self.warmup_steps >= self.steps:
            raise ValueError("`warmup_steps` leaves no step for the cosine")
        return self


BenchmarkName = Literal[
    "microworld",
    "livecodebench-v5",
    "livecodebench-v6",
    "humaneval",
    "humaneval-shell",
    "mbpp",
    "cruxeval-input",
    "cruxeval-output",
    "aime-24",
    "aime-25",
    "mmlu",
]


class TruncationConfig(Section):
    """The truncation half of a decoding."""

    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Fraction = 1.0


class GridConfig(Section):
    """Decodings: every temperature with every truncation."""

    temperatures: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    truncations: Annotated[tuple[TruncationConfig, ...], Field(min_length=1)]


class EvaluateConfig(Section):
    """pass@k of the base and of the trained model, each under its own decoding (Eq. 3)."""

    benchmarks: Annotated[tuple[BenchmarkName, ...], Field(min_length=1)] = ("livecodebench-v6",)
    data_paths: dict[BenchmarkName, str] = {}
    """Local files in place of a benchmark's dataset on the hub."""
    data_revisions: dict[BenchmarkName, str] = {}
    """Branch, tag or commit of a benchmark's dataset on the hub; the seed that the microworld's are drawn by."""
    base_decoding: Decoding
    """How the frozen model is decoded (Table 4)."""
    student_decoding: Decoding
    """How the trained model is decoded: T_eval and its truncation (Table 3)."""
    base_temperatures: tuple[PositiveFloat, ...] = ()
    """The frozen model is also decoded at these, its truncation unchanged (Figure 2)."""
    base_grid: GridConfig | None = None
    """The frozen model is also decoded all over this grid: the baseline that tunes truncation as well."""
    student_temperatures: tuple[PositiveFloat, ...] = ()
    """The trained model is also decoded at these, its truncation unchanged."""
    num_samples_per_problem: PositiveInt = 10
    pass_k: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5)
    max_sequence_tokens: PositiveInt = 131_072
    num_grading_workers: PositiveInt | None = None
    """Programs that run at once; absent: one a core. On a cluster it is always one a CPU."""
    all_tests: bool = False
    """Run the tests after the first that fails too, and count those that passed. Verdicts stay the same."""

    @model_validator(mode="after")
    def _check_pass_k(self) -> Self:
        if max(self.pass_k) > self.num_samples_per_problem:
            raise ValueError("`pass_k` above `num_samples_per_problem` is undefined")
        return self


class StudentConfig(Section):
    """Another trained model beside the recipe's own: what it names differs, all else is the recipe's."""

    train_decoding: Decoding | None = None
    """T_train and its truncation."""
    target: Literal["hard", "soft"] | None = None
    seed: NonNegativeInt | None = None
    """Of its samples and its training; evaluation keeps the recipe's."""
    rounds: PositiveInt | None = None
    eval_decoding: Decoding | None = None
    """How it is decoded."""


class SweepConfig(Section):
    """A grid of runs. Cells share each stage they have in common; an absent axis stays at the recipe's value."""

    train_temperatures: tuple[PositiveFloat, ...] = ()
    train_truncations: tuple[TruncationConfig, ...] = ()
    targets: tuple[Literal["hard", "soft"], ...] = ()
    seeds: tuple[NonNegativeInt, ...] = ()
    """Of samples and training; evaluation keeps the recipe's."""
    eval_temperatures: tuple[PositiveFloat, ...] = ()
    eval_truncations: tuple[TruncationConfig, ...] = ()
    all_checkpoints: bool = False
    """Evaluate every checkpoint, not the last alone."""


class MicroworldConfig(Section):
    """The small world that comes with forklock (docs/microworld.md)."""

    base: Literal["leaky", "firm"] = "leaky"
    """Which of its two models `model.path = "microworld"` means."""


class AnalyzeConfig(Section):
    """Forks and locks of the base and the trained model over the same contexts (Figure 6, Eqs. 15 and 30)."""

    contexts: str | None = None
    """Solutions to measure on: a JSONL or Parquet file, or a folder of samples; absent: those held out from
    training."""
    num_solutions: PositiveInt = 200
    """Solutions whose positions are measured, chosen by the recipe's seed."""
    eval_temperatures: tuple[PositiveFloat, ...] = (0.5, 0.7, 0.9, 1.1, 1.3, 1.5)
    """Temperatures at which surviving tokens and their entropy are measured (6b, 6c)."""
    max_rank: PositiveInt = 50
    """Ranks of the cumulative mass (6a)."""


class ReportConfig(Section):
    """The page people open first."""

    title: str | None = None
    """Absent: the recipe's name."""
    num_samples_shown: Annotated[int, Field(ge=0)] = 20
    """Solutions in the token reader."""


class ClusterConfig(Section):
    """Running the same stages on a Ray cluster."""

    address: str | None = None
    """`host:port` of a running cluster's head, or `auto`, on one of its machines; `ray://host:port` of its client's
    server, from outside; `local` for a new one on this machine; absent: no cluster."""
    num_engine_workers: PositiveInt | None = None
    """Engines that sample at once; absent: as many as fit."""
    num_training_workers: PositiveInt | None = None
    """Processes that train; absent: one a GPU, or without GPUs one a node."""
    storage: str | None = None
    """fsspec URL (s3://, gs://) of a copy of this run's folder, kept as it grows; a folder that is not there is
    fetched from it. Works without an address too."""


class ShapeConfig(Section):
    """A model's dimensions, by the names that its config.json has for them."""

    model_type: Literal["llama", "mistral", "qwen2", "qwen3", "qwen3_moe"]
    vocab_size: PositiveInt
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt
    head_dim: PositiveInt
    intermediate_size: PositiveInt
    """Of a dense layer."""
    tie_word_embeddings: bool = False
    num_experts: NonNegativeInt = 0
    num_experts_per_tok: NonNegativeInt = 0
    moe_intermediate_size: NonNegativeInt = 0
    """Of one expert."""


class PlanConfig(Section):
    """What `forklock plan` reckons with where it is not measured (docs/planning.md). Nothing else reads it."""

    shape: ShapeConfig | None = None
    """Dimensions of a model whose config.json is not here."""
    num_prompts: PositiveInt | None = None
    """Prompts, where they can't be counted here."""
    solution_tokens: PositiveFloat | None = None
    """Mean tokens of a completion; absent: the length limit, an upper bound."""
    prompt_tokens: PositiveFloat | None = None
    """Mean tokens of a prompt, template included."""
    sampling_tokens_per_s: PositiveFloat | None = None
    """Tokens that one device draws in a second, its batches full."""
    training_tokens_per_s: PositiveFloat | None = None
    """Completion tokens that one device trains on in a second."""
    graded_per_s: PositiveFloat | None = None
    """Answers that one grading worker gets through in a second."""
    num_nodes: PositiveInt = 1
    devices_per_node: PositiveInt | None = None
    """GPUs; absent: as many as the recipe's training or engine uses."""
    grading_workers_per_node: PositiveInt | None = None
    """Absent: `evaluate.num_grading_workers`, else this machine's cores."""
    device_memory_gib: PositiveFloat | None = None
    """Absent: that of this machine's GPUs, or its memory where it has none."""
    network_gib_per_s: PositiveFloat | None = None
    """Into each node, from the others and from shared storage."""
    storage_gib_per_s: PositiveFloat | None = None
    """Of shared storage, for all nodes together."""


StudentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]


class Recipe(Section):
    """One run, from prompts to the report."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    """Lower-case letters, digits, dots and dashes."""
    purpose: str
    """What it is for, in one line."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Every random choice derives from it."""
    rounds: PositiveInt = 1
    """Repeat synthesis and training so often, each round from the last student. The paper does one."""
    num_parallel_stages: PositiveInt = 1
    """Stages that `run`, `evaluate` and `sweep` take at a time, each in a process with its share of the machine's cores
    and GPUs; fewer where there is no room. `--parallel` says otherwise; on a cluster nothing else does."""
    model: ModelConfig
    prompts: PromptsConfig
    engine: EngineConfig = EngineConfig()
    synthesize: SynthesizeConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    students: dict[StudentName, StudentConfig] = {}
    """More trained models, by name."""
    sweep: SweepConfig | None = None
    microworld: MicroworldConfig = MicroworldConfig()
    analyze: AnalyzeConfig = AnalyzeConfig()
    report: ReportConfig = ReportConfig()
    cluster: ClusterConfig = ClusterConfig()
    plan: PlanConfig = PlanConfig()

    @model_validator(mode="after")
    def _check_across_sections(self) -> Self:
        targets = [self.train.target, *(student.target for student in self.students.values())]
        targets += self.sweep.targets if self.sweep else ()
        if "soft" in targets and not self.synthesize.record_target:
            raise ValueError('train.target = "soft" needs synthesize.record_target = true')
        if self.train.only_verified_samples:
            self._check_baseline()
        if self.sweep is not None:
            self._check_sweep(self.sweep)
        if reserved := {"base", "student"} & self.students.keys():
            raise ValueError(f"`students.{reserved.pop()}`: the name is taken, by the recipe's own model")
        return self

    def _check_baseline(self) -> None:
        if "verified-only" not in self.name:
            raise ValueError(
                "train.only_verified_samples: verdicts would pick training rows, which self-distillation never does; a "
                'baseline that does has "verified-only" in its `name`'
            )
        if self.prompts.source != "microworld":
            raise ValueError(
                f'train.only_verified_samples: the tests of prompts from source = "{self.prompts.source}" are not '
                'known; it works with source = "microworld" alone'
            )

    def _check_sweep(self, sweep: SweepConfig) -> None:
        targets = sweep.targets or (self.train.target,)
        if "soft" in targets and any(truncation.top_k == 0 for truncation in sweep.train_truncations):
            raise ValueError(
                "sweep.train_truncations: a soft target needs top_k, since without one q_s is the whole vocabulary; "
                "leave that truncation out, or give it a recipe with hard targets"
            )
        if sweep.all_checkpoints and (self.train.steps is None or self.train.checkpoint_every_steps is None):
            raise ValueError("sweep.all_checkpoints needs train.steps and train.checkpoint_every_steps")
