"""Grids of runs that share every stage they have in common: temperatures, truncations, targets, seeds, checkpoints.

`cells` makes students and evaluation points of a recipe's grid, `schedule` says which stage comes next and what a
failed one takes with it, `taking` takes them in this process or hands them to `workers`. What came out is in
`results` (rows, the best, fits), `table` and `figures`.
"""
