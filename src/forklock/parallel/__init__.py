"""Stages of a run several at a time, each in a process of its own: `schedule` says which comes next, `workers` take
them. `running` and `sweep` use both."""
