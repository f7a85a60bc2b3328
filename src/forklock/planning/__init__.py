"""What a recipe would cost, reckoned without doing any of it.

`shape` is the model's dimensions, `rates` what is known of speed and length, `work` what each stage has to do, `memory`
what a device has to hold, `timing` how long it takes and what holds it up, `estimate` all of it together, `report` for
people. docs/planning.md has the formulas in words, and what they leave out.
"""
