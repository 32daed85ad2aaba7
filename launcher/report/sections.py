"""Sections: the parts of a report, each made of the facts; None where these have nothing for it."""

import json
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from jobs.kinds import ShardState
from jobs.storage.durations import Durations
from launcher.report import charts, timeline
from launcher.report.excerpts import excerpt
from launcher.report.facts import Facts
from launcher.report.page import FailureText, Section, Table, Use
from launcher.report.progression import progression
from launcher.runs.endings import Ending, ending_of, why_of
from launcher.runs.failures import FailureGroup
from launcher.runs.history import History
from launcher.status.progress import status_lines
from launcher.units import clock_time, counted, rough_time, short_number, short_size, short_time
from launcher.visible import short_line

# Rows of a table, and causes of failures with what logs say of them.
_MOST_ROWS = 500
_MOST_CAUSES = 50
# Characters of a message where it is a heading; below that it is whole.
_LINE = 120
_QUANTILES = ((0.5, "half"), (0.95, "95%"), (0.99, "99%"), (1.0, "all"))


def outcome(facts: Facts) -> Section:
    """How it stands, in numbers and in the words of `launcher status`."""
    status, shards = facts.status, facts.status.shards
    tiles = [
        ("samples ok", f"{status.ok:,}"),
        ("samples failed", f"{status.failed:,}"),
        ("samples missing", f"{status.missing:,}"),
        ("shards done", f"{status.count(ShardState.DONE):,} of {len(shards):,}"),
        ("attempts", f"{len(shards.attempts):,}"),
    ]
    if facts.histories:
        tiles += [("from first to last", clock_time(facts.end - facts.begin))]
    if status.rate:
        tiles += [("samples a second", short_number(status.rate))]
    told = status.counted
    tiles += [(f"{name} in all", f"{total:,.0f}") for name, total in told.sums.items()]
    tiles += [(f"{name} a second", short_number(rate)) for name, rate in told.rates.items()]
    return Section("outcome", "Outcome", tiles=tiles, files=[("launcher status", "\n".join(status_lines(status)))])


def failures(facts: Facts) -> Section | None:
    groups = facts.status.groups
    if not groups:
        return None
    more = len(groups) - _MOST_CAUSES
    texts = [f"The {_MOST_CAUSES} causes that struck most; {more:,} more: launcher status --json"] if more > 0 else []
    return Section(
        "failures",
        "Failures by cause",
        texts=texts,
        failures=[_failure(facts, group) for group in groups[:_MOST_CAUSES]],
    )


def _failure(facts: Facts, group: FailureGroup) -> FailureText:
    found = excerpt(facts.run, group, facts.histories)
    where = f"in {counted(group.shards.count, 'shard')} ({group.shards.brief()})"
    counts = f"{counted(group.samples, 'sample')} {where}" if group.samples else where.removeprefix("in ")
    told = (group.message, ", ".join(group.examples), facts.status.advice(group))
    log = (f"From {found[0]}:", found[1]) if found else ()
    return FailureText(str(group.kind), counts, short_line(group.message, _LINE), *told, *log)


def over_time(facts: Facts) -> Section | None:
    found = progression(facts.histories, facts.begin, facts.end)
    if found is None:
        return None
    created = [one.submission.created for one in facts.status.submissions if not one.submission.planned]
    queued = max(0.0, facts.begin - min(created)) if created and facts.begin else 0.0
    caption = (
        f"Each point is a mean over {short_time(found.step)}; work counts once it is safe on disk, so a "
        "line may come in steps of node.sync_interval. By the clocks of the nodes."
    )
    texts = [f"Until the first array task began, the run waited {rough_time(queued)}."] if queued else []
    return Section("time", "Over time", texts=texts, svg=charts.draw(charts.over_time(found)), caption=caption)


def workers(facts: Facts) -> Section | None:
    """The timeline of array tasks, and a table of the attempts that did not end well."""
    live = facts.status.shards.live
    bars, left_out = timeline.attempt_bars(facts.histories, live)
    if not bars:
        return None
    svg = charts.draw(charts.attempts(bars, facts.begin, facts.end))
    hidden = f" {left_out:,} workers that did well are left out." if left_out else ""
    caption = (
        "A line for each array task (of several nodes, for each), in the order of submissions; a bar for each of its attempts. "
        f"Its light part, where there is room for one, is the set-up. What is lost ended without a word.{hidden}"
    )
    ends = {one.attempt.name: ending_of(one.attempt, live) for one in facts.histories}
    counts = ", ".join(f"{n:,} {end}" for end in Ending if (n := sum(one == end for one in ends.values())))
    bad = [one for one in facts.histories if ends[one.attempt.name].is_bad]
    tables = [_bad_attempts(bad, ends)] if bad else []
    return Section("attempts", "Array tasks and their attempts", [f"{counts}."], (), svg, caption, tables=tables)


def _bad_attempts(bad: Sequence[History], ends: dict[str, Ending]) -> Table:
    rows = [
        [
            one.attempt.name,
            one.attempt.host,
            (one.attempt.start.job_id if one.attempt.start else None) or "",
            str(ends[one.attempt.name]),
            short_line(why_of(one.attempt)),
            clock_time(one.seconds),
            f"{one.attempt.beat.ok + one.attempt.beat.failed:,}",
        ]
        for one in bad
    ]
    heads = ("attempt", "node", "job", "end", "why", "ran", "samples")
    return _table(heads, rows, {5, 6}, "attempts that did not end well")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[int], what: str) -> Table:
    more = len(rows) - _MOST_ROWS
    left_out = f"and {more:,} more {what}" if more > 0 else ""
    return Table(heads, rows[:_MOST_ROWS], frozenset(numbers), left_out)


def shards(facts: Facts) -> Section | None:
    found, count = facts.status.shards, len(facts.status.shards)
    bars = timeline.shard_bars(facts.histories, found, facts.plan.boundaries)
    if not bars:
        return None
    step = bars[0].stop - bars[0].first
    together = (
        f"A bar is {counted(step, 'shard')} together; a mark on the right: some of them failed. " if step > 1 else ""
    )
    caption = (
        f"{together}From when the first rows were under way until the last ones were done, as closely as beats tell. What a "
        "later attempt did again is in the bar, too."
    )
    svg = charts.draw(charts.shards(bars, count, facts.begin, facts.end))
    states = ", ".join(f"{n:,} {state}" for state in ShardState if (n := found.count(state)))
    return Section("shards", "Shards", [f"{states}."], (), svg, caption)


def durations(facts: Facts) -> Section | None:
    beats = [one.attempt.beat for one in facts.histories]
    named = {
        "load": Durations.sum(beat.load for beat in beats),
        "process": Durations.sum(beat.process for beat in beats),
        "both": Durations.sum(beat.both for beat in beats),
    }
    known = {name: found for name, found in named.items() if found.samples}
    if not known:
        return None
    rows = [
        [
            name,
            f"{found.samples:,}",
            short_time(found.mean),
            *(short_time(found.quantile(share)) for share, _ in _QUANTILES),
            clock_time(found.seconds),
        ]
        for name, found in known.items()
    ]
    heads = ("", "samples", "mean", *(f"{name} took at most" for _, name in _QUANTILES), "in all")
    caption = (
        "load: Job.load and collate, in a pool worker; process: Job.process, in a device process; both: their sum. Samples of "
        "a batch count as equally long; bins are five to a factor of ten."
    )
    numbers = set(range(1, len(heads)))
    svg = charts.draw(charts.durations(known))
    return Section(
        "durations", "How long samples took", (), (), svg, caption, tables=[_table(heads, rows, numbers, "")]
    )


def resources(facts: Facts) -> Section | None:
    bill, found = facts.bill, facts.status.efficiency
    if not facts.histories:
        return None
    tiles = [("CPU-hours given", short_number(bill.cpu_hours))]
    tiles += [("CPU-hours computed", short_number(bill.cpu_hours_used))] if bill.told else []
    tiles += [("GPU-hours given", short_number(bill.gpu_hours))] if bill.gpu_hours else []
    tiles += [("energy of GPUs", f"{short_number(bill.energy)} kWh")] if bill.energy is not None else []
    if bill.price is not None:
        tiles += [("price", f"{_money(bill.price)} {bill.currency}".strip())]
    texts = []
    if bill.told < bill.attempts:
        texts.append(
            f"{bill.told:,} of {bill.attempts:,} attempts told what they took; the others go on, or were killed."
        )
    if bill.repeated:
        texts.append(f"{counted(bill.repeated, 'result')} beyond the first of a sample, after kills and reruns.")
    if found:
        told = found.advice(has_limits=facts.has_limits, is_complete=not facts.status.shards.live)
        texts += [f"Next time: {line}." for line in told]
    return Section("resources", "Asked for and used", texts, tiles, uses=list(_uses(facts)) if found else ())


def _money(price: float) -> str:
    return f"{price:,.2f}" if price >= 0.1 else f"{price:.2g}"


def _uses(facts: Facts) -> Iterator[Use]:
    found, bill = facts.status.efficiency, facts.bill
    assert found
    cores = found.cpu_use * found.cpus
    yield Use(
        "CPUs", f"{found.cpus}", f"{cores:.1f}", min(found.cpu_use, 1.0), counted(max(1, -int(-cores // 1)), "CPU")
    )
    share = min(found.peak_memory / found.memory_limit, 1.0) if found.memory_limit else None
    limit = short_size(found.memory_limit) if found.memory_limit else "?"
    memory = "as asked" if found.is_memory_enough else short_size(found.memory)
    yield Use("memory, at most", limit, short_size(found.peak_memory), share, memory if facts.has_limits else "")
    if found.gpu_use is not None:
        yield Use("time of its GPUs", "100%", f"{found.gpu_use:.0%}", found.gpu_use)
    if bill.gpu_memory:
        used, has = bill.gpu_memory
        yield Use("memory of a GPU, at most", short_size(has), short_size(used), min(used / has, 1.0))
    time_limit = f"{found.minutes} min" if facts.has_limits else ""
    yield Use("time, at most", "", rough_time(found.longest), None, time_limit)


def nodes(facts: Facts) -> Section | None:
    by_node: dict[str, list[History]] = {}
    for one in facts.histories:
        by_node.setdefault(one.attempt.host or "?", []).append(one)
    if len(by_node) < 2:
        return None
    slow, live = {one.node for one in facts.status.laggards.slow_nodes}, facts.status.shards.live
    rows = [[*_node_row(node, many, live), "slow" if node in slow else ""] for node, many in sorted(by_node.items())]
    heads = ("node", "attempts", "ended badly", "hours", "samples", "samples a second", "")
    return Section("nodes", "Nodes", tables=[_table(heads, rows, {1, 2, 3, 4, 5}, "nodes")])


def _node_row(node: str, many: Sequence[History], live: Collection[str]) -> list[str]:
    samples = sum(one.attempt.beat.ok + one.attempt.beat.failed for one in many)
    seconds = sum(one.seconds for one in many)
    bad = sum(ending_of(one.attempt, live).is_bad for one in many)
    rate = f"{samples / seconds:,.2f}" if seconds else ""
    return [node, f"{len(many):,}", f"{bad:,}", f"{seconds / 3600:,.2f}", f"{samples:,}", rate]


def submissions(facts: Facts) -> Section | None:
    rows = []
    for known in facts.status.submissions:
        one, ended = known.submission, known.outcome
        options = " ".join(f"{key}={value}" for key, value in one.resources.options.items())
        how = "goes on" if known.may_go_on else "ended without a word"
        if ended:
            how = "cancelled" if ended.cancelled else short_line(ended.error or "ended")
        jobs = " ".join(one.job_ids[:3]) + (" ..." if len(one.job_ids) > 3 else "")
        when = (_when(one.created), _when(ended.ended) if ended else "")
        rows.append([str(one.number), *when, f"{one.tasks:,}", one.executor, jobs, options, how])
    heads = ("number", "made", "ended", "array tasks", "executor", "jobs", "options", "how it stands")
    return Section("submissions", "Submissions", tables=[_table(heads, rows, {0, 3}, "submissions")]) if rows else None


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _is_there(facts: Facts, result: Path | str) -> bool:
    return result.exists() if isinstance(result, Path) else facts.status.is_written


def provenance(facts: Facts) -> Section:
    plan = facts.plan
    rows = [
        ["Job", plan.job.path],
        ["params", json.dumps(plan.job.params, ensure_ascii=False)],
        ["plan", f"{plan.fingerprint}, made {_when(plan.created)}"],
        ["samples, shards, batch size", f"{plan.rows:,}, {plan.shard_count:,}, {plan.batch_size}"],
        ["seed", str(plan.seed)],
        *([key, str(value)] for key, value in plan.git.items()),
        *([f"planned with {name}", version] for name, version in plan.environment.items()),
        *(["computed with", text] for text in facts.status.other_versions),
        *(["result", str(place)] for place in facts.status.results if _is_there(facts, place)),
    ]
    files = [("config.yaml", facts.run.config.read_text(errors="replace"))] if facts.run.config.is_file() else []
    return Section("provenance", "Provenance", tables=[Table((), rows)], files=files)
