"""How the engines that hand requests on keep them in flight, and what becomes of the rest when one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from forklock.engines import Completion, EngineError, Request


def keep_in_flight(
    requests: Iterable[Request | None],
    submit: Callable[[Request], None],
    take: Callable[[], Completion | EngineError],
    *,
    limit: int,
) -> Iterator[Completion]:
    """Completions as they finish, with at most `limit` requests between `submit` and `take`.

    `submit` refuses a request by an EngineError. After a refusal or a failure no more requests are read, those in
    flight are still completed and yielded, and then the error is raised: no finished work is lost.
    """
    source = iter(requests)
    num_in_flight = 0
    failure: EngineError | None = None
    while True:
        while failure is None and num_in_flight < limit and (request := next(source, None)) is not None:
            try:
                submit(request)
                num_in_flight += 1
            except EngineError as error:
                failure = error
        if num_in_flight == 0:
            break
        outcome = take()
        num_in_flight -= 1
        if isinstance(outcome, EngineError):
            failure = failure or outcome
        else:
            yield outcome
    if failure is not None:
        raise failure
