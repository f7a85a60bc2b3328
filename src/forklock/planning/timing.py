"""How long a stage takes, and what holds it up: devices, grading workers, the network or storage."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forklock.config import Recipe
from forklock.planning.disk import num_trained_parameters
from forklock.planning.rates import Rates, num_sampling_devices
from forklock.planning.shape import ModelShape
from forklock.planning.work import StageWork

GIB = 1 << 30


@dataclass(frozen=True)
class Machines:
    """The cluster of a recipe's `plan` section; one machine where it says nothing."""

    num_nodes: int
    devices_per_node: int
    num_engines: int
    tensor_parallel: int
    num_training_devices: int
    num_training_devices_at_work: int
    """A sample is never cut in two: a step has work for as many devices as it has samples."""

    @property
    def num_sampling_devices(self) -> int:
        return self.num_engines * self.tensor_parallel


def find_machines(recipe: Recipe) -> Machines:
    """One node samples with the recipe's own engine; several, with as many engines as fit on them."""
    plan, engine = recipe.plan, recipe.engine
    each = plan.devices_per_node or max(num_sampling_devices(recipe), recipe.train.num_processes)
    is_cluster = plan.num_nodes > 1
    num_engines = plan.num_nodes * each // engine.tensor_parallel if is_cluster else engine.data_parallel
    training = plan.num_nodes * each if is_cluster else recipe.train.num_processes
    at_work = min(training, recipe.train.global_batch_size)
    return Machines(plan.num_nodes, each, max(1, num_engines), engine.tensor_parallel, training, at_work)


@dataclass(frozen=True)
class StageTime:
    """Seconds by what they go to; parts that run beside each other are there whole, the longest counts."""

    parts: dict[str, float]
    seconds: float | None
    unknown: str = ""
    """Which rate is missing, and how to give it."""

    @property
    def bottleneck(self) -> str | None:
        known = {name: value for name, value in self.parts.items() if value > 0}
        return max(known, key=lambda name: known[name]) if known else None


@dataclass(frozen=True)
class Clock:
    recipe: Recipe
    shape: ModelShape
    rates: Rates
    machines: Machines

    def time(self, work: StageWork) -> StageTime:
        match work.kind:
            case "synthesize":
                return self._sampling(work)
            case "evaluate":
                return self._evaluation(work)
            case "verify":
                return self._grading(work, StageTime({"overhead": self._overhead(work)}, self._overhead(work)))
            case "train":
                return self._training(work)
            case "prompts" | "analyze":
                overhead = self._overhead(work)
                if self.rates.measured is None:
                    return StageTime({}, None, f"{work.kind}: only --from RUN can tell")
                return StageTime({"overhead": overhead}, overhead)

    def _sampling(self, work: StageWork) -> StageTime:
        rate = self.rates.sampling_tokens_per_s
        parts = {"overhead": self._overhead(work), **self._loading(self.machines.num_engines)}
        first = sum(parts.values())
        storage = self.recipe.plan.storage_gib_per_s
        writing = 0.0 if storage is None else work.num_bytes / (storage * GIB)
        if writing:
            parts["writing to storage"] = writing
        if rate.value is None:
            return StageTime(parts, None, rate.mend)
        parts["sampling"] = work.num_tokens / (rate.value * self.machines.num_sampling_devices)
        return StageTime(parts, first + max(parts["sampling"], writing))

    def _evaluation(self, work: StageWork) -> StageTime:
        return self._grading(work, self._sampling(work))

    def _grading(self, work: StageWork, sampled: StageTime) -> StageTime:
        """After what came before it in the same stage."""
        rate = self.rates.graded_per_s
        if rate.value is None:
            return StageTime(sampled.parts, None, "; ".join(filter(None, [sampled.unknown, rate.mend])))
        workers = self.rates.num_grading_workers.value
        assert workers is not None
        if self.rates.measured is not None and rate.source == "measured" and self.recipe.plan.num_nodes == 1:
            workers = min(workers, self.rates.measured.num_cpus or workers)
        grading = work.num_graded / (rate.value * workers)
        parts = {**sampled.parts, "grading": grading}
        return StageTime(parts, None if sampled.seconds is None else sampled.seconds + grading, sampled.unknown)

    def _training(self, work: StageWork) -> StageTime:
        rate = self.rates.training_tokens_per_s
        parts = {"overhead": self._overhead(work), **self._loading(1)}
        first = sum(parts.values())
        network = self._network_s_a_step(work) * work.num_steps
        if network:
            parts["gradients and weights over the network"] = network
        storage = self.recipe.plan.storage_gib_per_s
        writing = 0.0 if storage is None else (work.num_bytes + work.num_scratch_bytes) / (storage * GIB)
        if writing:
            parts["writing to storage"] = writing
        if rate.value is None:
            return StageTime(parts, None, rate.mend)
        parts["training"] = work.num_tokens / (rate.value * self.machines.num_training_devices_at_work)
        return StageTime(parts, first + max(parts["training"], network) + writing)

    def _network_s_a_step(self, work: StageWork) -> float:
        """Bytes into each node, at the rate of its network. Inside a node links are taken to be fast."""
        nodes, rate = self.machines.num_nodes, self.recipe.plan.network_gib_per_s
        if nodes == 1 or rate is None:
            return 0.0
        return self.step_traffic_bytes(work) * (nodes - 1) / nodes / (rate * GIB)

    def step_traffic_bytes(self, work: StageWork) -> float:
        """Of one optimizer step, for all shares of others together that a node needs: with FSDP2 each pass gathers
        the weights twice and scatters the gradients once; without, gradients are summed once a step."""
        train = self.recipe.train
        trained = num_trained_parameters(self.shape, train)
        if train.sharding != "fsdp2":
            return 2 * 4 * trained
        rest = self.shape.num_rest_parameters
        layers = self.shape.num_parameters - rest
        gathered = (2 if train.dtype == "bfloat16" else 4) * layers * 2 + 4 * rest
        return self.num_passes(work) * (gathered + 4 * trained)

    def num_passes(self, work: StageWork) -> int:
        """Of each device in a step, at least."""
        train, rates = self.recipe.train, self.rates
        mean = work.num_tokens / max(1, work.num_steps * train.global_batch_size) + (rates.prompt_tokens.value or 0)
        positions = train.global_batch_size * min(mean, train.max_sequence_tokens)
        return max(1, math.ceil(positions / (train.tokens_per_device * self.machines.num_training_devices_at_work)))

    def _loading(self, num_copies: int) -> dict[str, float]:
        """Weights come to each node once, from shared storage and over the network, whichever is slower."""
        plan, nodes = self.recipe.plan, self.machines.num_nodes
        if nodes == 1 or num_copies == 0:
            return {}
        into_a_node = 0.0 if plan.network_gib_per_s is None else self.shape.saved_bytes / (plan.network_gib_per_s * GIB)
        off_storage = 0.0
        if plan.storage_gib_per_s is not None:
            off_storage = nodes * self.shape.saved_bytes / (plan.storage_gib_per_s * GIB)
        slower = max(into_a_node, off_storage)
        return {"weights to every node": slower} if slower else {}

    def _overhead(self, work: StageWork) -> float:
        return 0.0 if self.rates.measured is None else self.rates.measured.overhead_s(work.kind)
