"""The manager for programs with an event loop.

A call does its work at once and returns an answer that is its own completed awaitable: nothing
blocks, and nothing switches to another task. The lifecycle manager's methods are awaited in tasks
of their own, on the loop that awaited `initialize()`.
"""

from __future__ import annotations

import asyncio
import functools
import types
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from . import _native
from ._errors import ResourceError, failure_of
from ._lifecycle import ALL_KINDS, Bells, call, callback_of, check_not_inside, log_events
from ._models import Event, QuotaScope, Settlement
from ._operations import (
    EventStream, Hold, Operations, reserve, sequence, stop_at_exit, stopped)

P = ParamSpec("P")
T = TypeVar("T")
# What a call returns: there already, and fit for await, create_task, gather and asyncio.run.
Answer = Coroutine[Any, Any, T]


def at_once(work: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Answer[T]]:
    """The operation with its answer, or its error, kept for the await."""

    @functools.wraps(work)
    def answer(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Answer[T]:
        try:
            return _native.done(work(self, *args, **kwargs), None, work.__name__)
        except ResourceError as error:
            return _native.done(None, error, work.__name__)

    return answer


class Reservation(Hold):
    """As a block: `async with manager.reserve("a", tokens=500) as hold: await hold.settle(..)`.

    Or `hold = await manager.reserve(..)`. A refusal is raised at the `async with` or `await`.
    """

    def __init__(self, operations: Operations, hold: int, refusal: ResourceError | None) -> None:
        super().__init__(operations, hold)
        self._refusal = refusal
        self._over = refusal is not None
        self._seen = False

    @at_once
    def settle(self, *, cpu_seconds: float | None = None, memory_mb: float | None = None,
               tokens: int | None = None, gpu_memory_mb: float | None = None,
               requests: int | None = None, cost: str | Decimal | None = None) -> Settlement:
        """Uses what is named; what was reserved and is not named was used as reserved.

        More than was reserved is never refused. A second settle answers as the first did.
        """
        return self._settle({"cpu_seconds": cpu_seconds, "memory_mb": memory_mb, "tokens": tokens,
                             "gpu_memory_mb": gpu_memory_mb, "requests": requests, "cost": cost})

    @at_once
    def release(self) -> None:
        """Gives everything back."""
        self._release()

    def _entered(self) -> Reservation:
        self._seen = True
        if self._refusal is not None:
            raise self._refusal
        return self

    def __await__(self) -> Generator[Any, Any, Reservation]:
        return self._entered()
        yield  # makes this a generator, which is what __await__ returns

    async def __aenter__(self) -> Reservation:
        return self._entered()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: types.TracebackType | None) -> None:
        self._abandon()

    def __del__(self) -> None:
        super().__del__()
        if getattr(self, "_refusal", None) is not None and not self._seen:
            warnings.warn(f"reserve failed and was not awaited: {self._refusal}", RuntimeWarning,
                          stacklevel=2, source=self)


def _failed(intent: _native.Intent, failure: str) -> ResourceError:
    return ResourceError("E2075" if intent.verb == "terminate" else "E2074",
                         f"{intent.verb} failed: agent {intent.agent_id}: {failure}")


class _CarryingOut(Coroutine[Any, Any, "ResourceError | None"]):
    """What a task runs. It begins at the first step, and so can be given up before that: a loop may
    end, or cancel the task, when it was made and never ran."""

    def __init__(self, manager: ResourceManager, intent: _native.Intent) -> None:
        self._manager = manager
        self._intent = intent
        self._begun: Coroutine[Any, Any, ResourceError | None] | None = None
        self.__name__ = self.__qualname__ = intent.verb  # in what asyncio says of the task

    def _steps(self) -> Coroutine[Any, Any, ResourceError | None]:
        if self._begun is None:
            self._begun = self._manager._carry_out(self._intent)
        return self._begun

    def send(self, value: Any) -> Any:
        return self._steps().send(value)

    def throw(self, *error: Any) -> Any:
        if self._begun is None:
            self._manager.native_finish_intent(self._intent, "cancelled")
        return self._steps().throw(*error)

    def close(self) -> None:
        if self._begun is None:
            self._manager.native_finish_intent(self._intent, "the event loop was closed")
        self._steps().close()

    def __await__(self) -> Generator[Any, Any, ResourceError | None]:
        return self._steps().__await__()


class EventReader(EventStream):
    """`async for event in manager.events()`: ends when the manager is cleaned up."""

    def __init__(self, reader: _native.Events, bells: Bells) -> None:
        super().__init__(reader)
        self._bells = bells
        self._waiting: deque[Event] = deque()

    def __aiter__(self) -> EventReader:
        return self

    async def __anext__(self) -> Event:
        if not self._waiting and not await self._wait():
            raise StopAsyncIteration
        return self._waiting.popleft()

    async def _wait(self) -> bool:
        bell = asyncio.Event()
        # Heard from here on: what comes after the first look rings.
        self._bells.add(bell, asyncio.get_running_loop(), bell.set)
        try:
            while True:
                bell.clear()
                open_before = self._bells.open
                self._waiting.extend(self._reader.take(256, ALL_KINDS))
                if self._waiting or not open_before:
                    return bool(self._waiting)
                await bell.wait()
        finally:
            self._bells.remove(bell)


class ResourceManager(Operations):
    """Quotas of agents, sessions and tenants, and what is used of them.

    `lifecycle_manager` has `async suspend(agent_id, checkpoint)`, `async terminate(agent_id,
    reason)` and, where it can, `async resume(agent_id)`; one that fails is called again after 1, 2,
    4 .. 60 s for as long as the causes ask for it.

    A call does its work at once; await gives the answer or raises the ResourceError. One that
    failed and was not awaited is a RuntimeWarning.
    """

    report_usage = _native.Engine.report_awaited
    create_quota = at_once(Operations.create_quota)  # type: ignore[assignment]
    get_quota = at_once(Operations.get_quota)  # type: ignore[assignment]
    list_quotas = at_once(Operations.list_quotas)  # type: ignore[assignment]
    update_quota = at_once(Operations.update_quota)  # type: ignore[assignment]
    get_usage = at_once(Operations.get_usage)  # type: ignore[assignment]
    reset_quota = at_once(Operations.reset_quota)  # type: ignore[assignment]
    cleanup_quota = at_once(Operations.cleanup_quota)  # type: ignore[assignment]
    is_throttled = at_once(Operations.is_throttled)  # type: ignore[assignment]
    clear_throttle = at_once(Operations.clear_throttle)  # type: ignore[assignment]
    advance = at_once(Operations.advance)  # type: ignore[assignment]

    def __init__(self, config: Mapping[str, Any] | None = None,
                 lifecycle_manager: Any = None) -> None:
        super().__init__(config, lifecycle_manager)
        self._bells = Bells()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._log: _native.Events | None = None
        self._tasks: dict[asyncio.Task[ResourceError | None], _native.Intent] = {}

    async def initialize(self) -> None:
        """Starts the thread that ends windows in time, and takes this loop for the actions."""
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._bells.open:
            return
        self.native_open()
        self._loop = loop
        self._give_up_tasks_of_closed_loops()
        self._log = self.native_events(None)
        # Weak: the bells are the manager's thread's, which must not keep the manager.
        pump = weakref.WeakMethod(self._pump)
        self._bells.add("pump", loop, lambda: (found := pump()) and found())
        self._bells.open = True
        self.native_start(None, self._bells.ring)
        stop_at_exit(self)
        self._pump()

    async def cleanup(self) -> None:
        """Stops everything, cancels actions that are under way, and removes every quota, but
        those of a `state_dir`, which is closed and may be opened by another process.

        A callback cannot, nor what it awaits: RuntimeError.
        """
        check_not_inside(self._mark)
        self._bells.remove("pump")
        self.native_stop()
        stopped(self)
        here = asyncio.get_running_loop()
        mine = [task for task in self._tasks if task.get_loop() is here]
        for task in list(self._tasks):
            if task.get_loop() is here:
                task.cancel()
            elif not task.get_loop().is_closed():
                task.get_loop().call_soon_threadsafe(task.cancel)
        await asyncio.gather(*mine, return_exceptions=True)
        self._give_up_tasks_of_closed_loops()
        self.native_end()
        self._log_what_is_new()
        self._loop = None
        self._bells.open = False
        self._bells.ring()

    def reserve(self, agent_id: str, *, cpu_seconds: float | None = None,
                memory_mb: float | None = None, tokens: int | None = None,
                gpu_memory_mb: float | None = None, requests: int | None = None,
                cost: str | Decimal | None = None, scope: str | QuotaScope = "agent",
                ttl_seconds: float | None = None) -> Reservation:
        """All or nothing. E2072 names the limit that refused; E2077 has the time to retry."""
        amounts = {"cpu_seconds": cpu_seconds, "memory_mb": memory_mb, "tokens": tokens,
                   "gpu_memory_mb": gpu_memory_mb, "requests": requests, "cost": cost}
        try:
            return Reservation(self, reserve(self, agent_id, scope, ttl_seconds, amounts), None)
        except ResourceError as error:
            return Reservation(self, 0, error)

    async def suspend(self, agent_id: str, *, scope: str | QuotaScope = "agent") -> None:
        """By an operator; until `resume`. Waits for the lifecycle manager: E2074 if it failed.

        Before `initialize()`, and where its loop is closed, nothing is called yet.
        """
        self.native_suspend(scope, agent_id)
        await self._carried_out()

    async def resume(self, agent_id: str, *, scope: str | QuotaScope = "agent",
                     override: bool = False) -> None:
        """Takes the operator's suspension back. E2072 names what else suspends the target.

        `override` lifts those causes until their next window or raise.
        """
        self.native_resume(scope, agent_id, override)
        await self._carried_out()

    async def terminate(self, agent_id: str, *, scope: str | QuotaScope = "agent") -> None:
        """By an operator. Waits for the lifecycle manager: E2075 if it failed.

        Before `initialize()`, and where its loop is closed, nothing is called yet.
        """
        self.native_terminate(scope, agent_id)
        await self._carried_out()

    def events(self, after: int | None = None) -> EventReader:
        """The events from here on, or from the one after a sequence number."""
        return EventReader(self.native_events(sequence(after)), self._bells)

    def _log_what_is_new(self) -> None:
        if self._log is not None:
            log_events(self._log)

    def _pump(self) -> None:
        """On the loop of `initialize()`: starts what is to be done."""
        self._log_what_is_new()
        self._start_tasks()

    def _start_tasks(self) -> list[asyncio.Task[ResourceError | None]]:
        tasks: list[asyncio.Task[ResourceError | None]] = []
        if self._loop is None or self._loop.is_closed():
            return tasks
        while intents := self.native_take_intents(256):
            for intent in intents:
                if self._lifecycle is None:
                    self.native_finish_intent(intent, None)
                else:
                    task = self._loop.create_task(_CarryingOut(self, intent))
                    self._tasks[task] = intent
                    task.add_done_callback(self._forget)
                    tasks.append(task)
        return tasks

    def _forget(self, task: asyncio.Task[ResourceError | None]) -> None:
        self._tasks.pop(task, None)

    def _give_up_tasks_of_closed_loops(self) -> None:
        """They never end; what they were to do is asked for again."""
        for task in list(self._tasks):
            if task.get_loop().is_closed():
                self._forget(task)
                if not task.done():
                    cast(_CarryingOut, task.get_coro()).close()

    async def _carry_out(self, intent: _native.Intent) -> ResourceError | None:
        failure: str | None = "cancelled"
        try:
            with callback_of(self._mark):
                result = call(self._lifecycle, intent)
                if hasattr(result, "__await__"):
                    await result
            failure = None
        except Exception as error:
            failure = failure_of(error)
        finally:
            self.native_finish_intent(intent, failure)
        self._start_tasks()  # what was waiting for this one
        if failure is None or intent.verb not in ("suspend", "terminate"):
            return None
        return _failed(intent, failure)

    async def _all_done(self) -> ResourceError | None:
        tasks = self._start_tasks()
        # Waiting for tasks, unlike gathering them, does not cancel them with the one who waits.
        intents = {task: self._tasks[task] for task in tasks}
        done, _ = await asyncio.wait(tasks) if tasks else (set(), None)
        failures = [_failed(intents[task], "cancelled") if task.cancelled() else task.result()
                    for task in done]
        return next((failure for failure in failures if failure is not None), None)

    async def _carried_out(self) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        if asyncio.get_running_loop() is self._loop:
            failure = await self._all_done()
        else:
            failure = await asyncio.wrap_future(
                asyncio.run_coroutine_threadsafe(self._all_done(), self._loop))
        if failure is not None:
            raise failure
