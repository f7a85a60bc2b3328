"""Synthesis on a cluster of this machine against one process: what the way over Ray costs, and what a second worker
brings. Needs Ray. Nothing else should run: raylets, driver and engines share the cores.

2026-11-21, two cores, nothing else on them, 4,096 samples, two turns: one worker draws at 0.87 of one process's rate,
two at 1.59 of one worker's; the whole command takes 41.3 s against 25.7. 512 samples are too few: a start takes 8 to
12 s.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _rows import Row, publish

from forklock import recipes, running
from forklock.config import ClusterConfig, Recipe
from forklock.run_dir import read_events

NUM_PROBLEMS = int(os.environ.get("FORKLOCK_BENCH_PROBLEMS", "4096"))
REPEATS = int(os.environ.get("FORKLOCK_BENCH_REPEATS", "2"))
STORE_BYTES = 100 * 2**20


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # an engine a core, on either side
    import torch

    torch.set_num_threads(1)
    recipe = recipes.load(
        ["demo"],
        [f"prompts.limit={NUM_PROBLEMS}", "synthesize.num_samples_per_prompt=1", "engine.batch_tokens=65536"],
    )
    seconds: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, cluster_of(2) as address:
        on_one, on_two = (
            recipe.model_copy(update={"cluster": ClusterConfig(address=address, num_engine_workers=number)})
            for number in (1, 2)
        )
        for turn in range(-1, REPEATS):
            for name, side in (("alone", recipe), ("one", on_one), ("two", on_two)):
                taken, rate = synthesize(side, Path(folder) / f"{name}-{turn}")
                if turn < 0:
                    continue  # the first of each side fills caches
                seconds.setdefault(name, []).append(taken)
                rates.setdefault(name, []).append(rate)
    note = f"{NUM_PROBLEMS} samples, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the end"
    publish(
        [
            row(
                "synthesis, all of it: one worker on a cluster, against one process",
                "s",
                seconds,
                ("one", "alone"),
                note,
            ),
            row(
                "tokens/s once samples come: one worker, against one process", "tokens/s", rates, ("one", "alone"), note
            ),
            row("tokens/s once samples come: two workers, against one", "tokens/s", rates, ("two", "one"), note),
        ]
    )


def row(name: str, unit: str, found: dict[str, list[float]], sides: tuple[str, str], note: str) -> Row:
    """Medians, and the median of the ratios turn by turn; above 1 the first side is faster."""
    ours, peer = (found[side] for side in sides)
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
    ratio = statistics.median(1 / one if unit == "s" else one for one in ratios)
    return Row(name, statistics.median(ours), statistics.median(peer), None, ratio, None, unit, note)


def synthesize(recipe: Recipe, run_dir: Path) -> tuple[float, float]:
    """Seconds of the whole command, and the rate at which tokens came once the first had."""
    start = time.perf_counter()
    running.run_until(recipe, run_dir, "synthesize")
    taken = time.perf_counter() - start
    [sampled] = [event for event in read_events(run_dir) if event.event == "sampled"]
    return taken, float(json.dumps(sampled.details["tokens_per_s"]))


@contextmanager
def cluster_of(num_nodes: int) -> Iterator[str]:
    """A head without CPUs and so many raylets with one."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        publish([Row("synthesis on a cluster", None, None, None, None, None, note="Ray is not installed")])
        sys.exit(0)
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False},
    )
    try:
        for _ in range(num_nodes):
            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        yield cluster.address
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
