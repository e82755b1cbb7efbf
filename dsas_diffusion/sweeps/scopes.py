"""Which tasks are told together: each alone, and those with the same techniques pooled."""

from dataclasses import dataclass

from .folder import Sweep


@dataclass(frozen=True)
class Scope:
    """Tasks whose prompts are told together.

    Args:
        name: What reports call it.
        tasks: One, or several that are pooled.
        techniques: Those that are finished on every one of them, in the plan's order.
        waiting: Those that are not.
    """

    name: str
    tasks: tuple[str, ...]
    techniques: tuple[str, ...]
    waiting: tuple[str, ...]

    @property
    def pooled(self) -> bool:
        """Whether these are several tasks."""
        return len(self.tasks) > 1


def scopes(sweep: Sweep) -> list[Scope]:
    """Give every scope that fronts are told of, the pooled ones first.

    Pooled are tasks that differ in their concept alone: they have the same techniques, pipeline and sampling settings,
    and ask for the same. A technique is finished on all of them or stands in none of the pooled tables. Tasks of hard
    cases have no control prompts, and so no fronts.

    Args:
        sweep: What was drawn.
    """
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, task in sweep.plan.tasks.items():
        if task.cases is None:
            own = tuple(technique for of, technique in sweep.plan.units() if of == name)
            asked = (task.towards, task.goal, tuple(task.labels), task.prompts is None, len(task.concepts))
            settings = (task.pipeline or sweep.plan.pipeline, repr(sorted(task.generation.items())))
            groups.setdefault((own, asked, settings), []).append(name)
    pools = [tasks for tasks in groups.values() if len(tasks) > 1]
    alone = [task for tasks in groups.values() for task in tasks]
    found = [_scope(sweep, _together(tasks, len(pools) == 1), tasks) for tasks in pools]
    return [*found, *(_scope(sweep, task, [task]) for task in sweep.plan.tasks if task in alone)]


def headlines(found: list[Scope]) -> list[Scope]:
    """Give the scopes that a reader is told of first: pools, and tasks that are in none.

    Args:
        found: As `scopes` gives them.
    """
    pooled = {task for scope in found if scope.pooled for task in scope.tasks}
    return [scope for scope in found if scope.pooled or scope.tasks[0] not in pooled]


def _together(tasks: list[str], only: bool) -> str:
    return f"{len(tasks)} tasks together" if only and len(tasks) > 3 else f"{', '.join(tasks)} together"


def _scope(sweep: Sweep, name: str, tasks: list[str]) -> Scope:
    own = [technique for of, technique in sweep.plan.units() if of == tasks[0]]
    done = [technique for technique in own if all(sweep.finished(task, technique) for task in tasks)]
    return Scope(name, tuple(tasks), tuple(done), tuple(name for name in own if name not in done))
