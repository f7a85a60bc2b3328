"""Runs programs that nobody has read: a trusted parent, isolated children.

`pool.Sandbox` is the way in. Expected outputs, verdicts and grader code never enter a child: inputs go in, raw
results come out, and whoever called compares. An exit status of 0 proves nothing about an answer.

    parent      pool, worker, limits, results, values      any Python process; trusts nothing that comes back
    launcher    zygote                                     makes the namespaces, then only waits
    zygote      zygote, isolation, supervise, kept, scratch    process 1 in there; never runs a line of the program
    child       child, python_main, encoding               the program itself; one for each test, or for all calls

This file stays empty of imports: the zygote loads the package too, and what it loads is copied into each child.
"""
