"""Pieces of work in this process, in several, or on a cluster of Ray: whoever does them, they yield the same."""

import importlib
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any, ClassVar, Protocol, TypeVar

from tqdm import tqdm

from memenv.experiments.kept import Kept
from memenv.experiments.options import Options, option
from memenv.experiments.runs import versions

Key = TypeVar("Key")
Value = TypeVar("Value")
MOST_JOBS = 256  # processes on one machine: more are a slip of the hand
PATIENCE = 10.0  # [s] until a cluster is reached
ENDED = "a worker was ended from outside, as a full memory does it: take fewer at a time"


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(Options):
    """The common options of commands whose work can be divided."""

    group: ClassVar[str] = "who does the work"

    jobs: int = option(1, bounds=(1, MOST_JOBS), help="pieces at a time, each in a process; the result is the same")
    cluster: str | None = option(
        None, help="address of a cluster of Ray whose nodes take the pieces, or auto; needs the extra ray"
    )

    @property
    def alone(self) -> bool:
        """True where this process does everything itself."""
        return self.jobs == 1 and self.cluster is None


class Finished(Protocol):
    """Does pieces of work, by their keys."""

    def __call__(self, todo: Mapping[Key, Callable[[], Value]], /) -> Iterator[tuple[Key, Value]]:
        """Key and yield of each piece as it is finished; work and yields can be pickled."""


@contextmanager
def workers(jobs: int = 1, cluster: str | None = None, packages: Collection[str] = ()) -> Iterator[Finished]:
    """Those who do pieces of work, until the end of the context.

    Args:
        jobs: processes on this machine; 1: this one, in the order of the pieces.
        cluster: address of a cluster of Ray instead, or `auto` for the one on this machine.
        packages: that have to have the same versions there as here.

    Raises:
        ValueError: Ray is missing, the cluster cannot be reached, or has other versions.
        ChildProcessError: a worker was killed.
    """
    if cluster is not None:
        with _ray(cluster, packages) as finished:
            yield finished
    elif jobs == 1:
        yield lambda todo: ((key, work()) for key, work in todo.items())
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            try:
                yield lambda todo: _as_finished(pool.submit, 2 * jobs, todo)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def keep(
    kept: Kept, finished: Finished, pieces: Mapping[Any, Callable[[], Any]], unit: str
) -> Iterator[tuple[Any, Any]]:
    """Key and yield of each of these pieces: of those that are kept, then of the others, kept as each is finished."""
    todo = {key: work for key, work in pieces.items() if key not in kept}
    yield from [(key, kept[key]) for key in pieces if key not in todo]
    with tqdm(total=len(pieces), initial=len(pieces) - len(todo), unit=unit, disable=None, file=sys.stderr) as bar:
        for key, found in finished(todo):
            kept[key] = found
            bar.set_description(", ".join(map(str, key)))
            bar.update()
            yield key, kept[key]


def _as_finished(
    submit: Callable[[Callable[[], Value]], Future[Value]], most: int, todo: Mapping[Key, Callable[[], Value]]
) -> Iterator[tuple[Key, Value]]:
    """Key and yield of each piece, of which `most` at a time wait or are at work.

    Raises:
        ChildProcessError: a worker was killed.
    """
    left, running = iter(todo.items()), dict[Future[Value], Key]()
    try:
        while True:
            running |= {submit(work): key for key, work in islice(left, most - len(running))}
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise ChildProcessError(ENDED) from None


# -- Ray ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _ray(address: str, packages: Collection[str]) -> Iterator[Finished]:
    """The nodes of a cluster."""
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ValueError("a cluster needs Ray: pip install 'memenv[ray]', or take --jobs on this machine") from None
    try:
        host, _, port = address.rpartition("://")[2].rpartition(":")
        if host:  # Ray itself would try for ever
            socket.create_connection((host, int(port)), timeout=PATIENCE).close()
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # of many kinds, by what is wrong with an address
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"cluster {address} cannot be reached ({reason}): ray start --head begins one and says its address"
        ) from None

    def finished(todo: Mapping[Key, Callable[[], Value]]) -> Iterator[tuple[Key, Value]]:
        with _errors_of(ray):
            yield from _as_finished(lambda work: call.remote(work).future(), most, todo)

    try:
        with _errors_of(ray):
            _check_versions(ray, {name: versions(name)[name] for name in packages})
            call = ray.remote(lambda work: work())
            most = 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        yield finished
    finally:
        ray.shutdown()


@contextmanager
def _errors_of(ray: Any) -> Iterator[None]:
    """Have a piece's own error raised as it was, and one of Ray's as the end of a worker."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise getattr(error, "cause", error) from None
    except ray.exceptions.RayError as error:
        raise ChildProcessError(f"{ENDED} ({str(error).strip().splitlines()[0]})") from None


def _check_versions(ray: Any, here: dict[str, str]) -> None:
    """Refuse nodes with other versions, or without a package, before they get any work."""

    def found() -> dict[str, str]:  # sent as text, since memenv may not be there
        from importlib.metadata import PackageNotFoundError, version

        def of(name: str) -> str:
            try:
                return version(name)
            except PackageNotFoundError:
                return "none"

        return {name: of(name) for name in here}

    ask = ray.remote(num_cpus=0)(found)
    place = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    asked = {node: ask.options(scheduling_strategy=place(node, soft=False)).remote() for node in nodes}
    other = [
        f"node {nodes[node]} has {name} {there[name]}"
        for node, there in ((node, ray.get(reference)) for node, reference in asked.items())
        for name in here
        if there[name] != here[name]
    ]
    if other:
        needed = ", ".join(f"{name} {text}" for name, text in here.items())
        raise ValueError(f"{'; '.join(other)}: install {needed}, as here, on every node")
