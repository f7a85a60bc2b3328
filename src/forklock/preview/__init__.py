"""The student played before it is trained: predictions of pass@k over a grid of settings, from the frozen model alone.

`cells` says which settings, `prediction` puts what was played beside what was trained, `report` and `figure` show it.
docs/preview.md says what is assumed, and where it failed.
"""
