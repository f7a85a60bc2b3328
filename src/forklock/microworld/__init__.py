"""A small programming world: its problems and their tests, an imperfect corpus, a tokenizer, and two base models.

    operations  what problems are made of: meaning, English, right styles, wrong idioms
    problems    sequences of operations as problems: statement, hidden tests, disjoint splits
    programs    solutions as people write them: styles, names, wrong idioms
    slips       single tokens gone wrong
    settings    sizes, rates and mixtures of a base: `bases/*.toml`
    corpus      problems and programs as training sequences
    tokenizer   an ordinary tokenizer and chat template
    pretrain    a base model from nothing; `measure` and `card` say what it is worth
    rows        problems for the pipeline, as prompts and as a benchmark
    commands    `forklock microworld`

Nothing outside this package knows that the model is small: problems are a source of prompts and a benchmark, the bases
are model folders, and everything else is the ordinary pipeline.
"""
