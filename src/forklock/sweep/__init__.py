"""Grids of runs that share every stage they have in common: temperatures, truncations, targets, seeds, checkpoints.

`cells` makes students and evaluation points of a recipe's grid, `taking` takes their stages in this process or hands
them to `parallel`. What came out is in `results` (rows, the best, fits), `table` and `figures`.
"""
