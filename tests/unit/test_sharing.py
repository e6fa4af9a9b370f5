"""How `make test` shares out files: each whole, all once, what waits beside what computes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.paths import ROOT
from tests.sharing import WAITING, Sharing

FILES = {"slow.py": 1, "few.py": 2, "many.py": 5, "slower.py": 3}
TESTS = [f"{file}::test_{number}" for file, count in FILES.items() for number in range(count)]


class Worker:
    """A process that runs one test at a time, when it is told to, if it knows the next one or that it is to end."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing
        self.shutting_down = False
        self.ran: list[str] = []
        self.given: list[int] = []
        sharing.add_node(self)
        sharing.add_node_collection(self, TESTS)

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def can_run(self) -> bool:
        return len(self.given) > 1 or bool(self.given and self.shutting_down)

    def run(self) -> None:
        assert self.can_run
        place = self.given.pop(0)
        self.ran.append(TESTS[place])
        self._sharing.mark_test_complete(self, place)


def files(worker: Worker) -> list[str]:
    return list(dict.fromkeys(test.partition("::")[0] for test in worker.ran))


def sharing_of(count: int) -> tuple[Sharing, list[Worker]]:
    sharing = Sharing(count, waiting=("slower.py", "slow.py", "left-out.py"))
    return sharing, [Worker(sharing) for _ in range(count)]


def finish(sharing: Sharing, workers: list[Worker]) -> None:
    """Let the workers run one test each in turn, until none is left."""
    while sharing.has_pending:
        for worker in [worker for worker in workers if worker.can_run]:
            worker.run()
    assert all(worker.shutting_down and not worker.given for worker in workers)


def test_the_first_begins_with_what_waits_and_the_others_with_the_rest() -> None:
    sharing, (first, second, third) = sharing_of(3)
    assert sharing.collection_is_completed
    sharing.schedule()
    assert not sharing.tests_finished
    finish(sharing, [first, second, third])
    assert [files(worker) for worker in (first, second, third)] == [["slower.py"], ["many.py"], ["few.py", "slow.py"]]
    assert sharing.tests_finished


@pytest.mark.parametrize("fast", [0, 1])
def test_one_that_is_done_with_its_side_goes_on_with_the_other(fast: int) -> None:
    sharing, workers = sharing_of(2)
    sharing.schedule()
    while workers[fast].can_run:
        workers[fast].run()
    finish(sharing, workers)
    assert sorted(workers[0].ran + workers[1].ran) == sorted(TESTS)
    assert [files(worker) for worker in workers] == [
        [["slower.py", "slow.py", "few.py"], ["many.py"]],
        [["slower.py"], ["many.py", "few.py", "slow.py"]],
    ][fast]


@pytest.mark.parametrize("count", [1, 3, 6])
def test_all_run_once_whatever_their_number(count: int) -> None:
    sharing, workers = sharing_of(count)
    sharing.schedule()
    finish(sharing, workers)
    assert sorted(test for worker in workers for test in worker.ran) == sorted(TESTS)


def test_what_a_crashed_one_leaves_is_run_by_others_and_the_test_it_ended_in_is_told() -> None:
    sharing, (first, second) = sharing_of(2)
    sharing.schedule()
    first.run()
    assert sharing.remove_node(first) == "slower.py::test_1"
    third = Worker(sharing)
    sharing.schedule()
    finish(sharing, [second, third])
    assert sorted([*first.ran, "slower.py::test_1", *second.ran, *third.ran]) == sorted(TESTS)
    assert sharing.remove_node(second) is None


def test_other_tests_in_one_process_are_told() -> None:
    sharing, (_, second) = sharing_of(2)
    with pytest.raises(ValueError, match=r"processes collected different tests: slow\.py::test_0$"):
        sharing.add_node_collection(second, TESTS[1:])
    with pytest.raises(ValueError, match="the order"):
        sharing.add_node_collection(second, TESTS[::-1])


def test_the_files_that_wait_are_there() -> None:
    assert [name for name in WAITING if not (ROOT / name).is_file()] == []
    assert len(set(WAITING)) == len(WAITING)
