"""The long options of sbatch: which exist, which take a value, which the launcher sets itself.

Names: the options with a set function for sbatch in Slurm's src/common/slurm_opt.c, of 22.05 and of 26.11
together; an option that a cluster's own Slurm does not know is refused there by sbatch, by name.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from jobs.nearest import nearest
from launcher.config.old_values import is_old_switch
from launcher.units import format_memory, format_time, parse_memory, parse_time

OptionValue: TypeAlias = str | int | float | bool | list[str | int | float]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WITH_VALUE = _words("""
    account acctg-freq array autocomplete batch bb bbf begin chdir cluster cluster-constraint clusters
    comment constraint container container-id context core-spec cores-per-socket cpu-freq cpus-per-gpu
    cpus-per-task deadline delay-boot dependency distribution error exclude export export-file extra
    extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres
    gres-flags hint input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem
    mem-bind mem-per-cpu mem-per-gpu mem-update mincpus network nodefile nodelist nodes ntasks
    ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket ntasks-per-tres open-mode output
    partition power prefer priority profile qos reservation resources runtime segment signal
    sockets-per-node switches tasks-per-node thread-spec threads-per-core time time-min tmp tres-bind
    tres-per-task uid wait-all-nodes wckey wrap
""")
_FLAGS = _words("""
    consolidate-segments contiguous external get-user-env help hold ignore-pbs no-requeue overcommit
    oversubscribe parsable quiet reboot spread-job spread-segments stepmgr test-only usage use-min-nodes
    verbose version wait
""")
_OPTIONAL_VALUE = frozenset(("exclusive", "nice", "no-kill", "oom-kill-step", "propagate", "requeue", "resv-ports"))
OPTIONS = _WITH_VALUE | _FLAGS | _OPTIONAL_VALUE
# Two names for one option; everything but users' input has the second.
ALIASES = {"tasks-per-node": "ntasks-per-node", "cluster": "clusters"}

_NOT_A_JOB = "with it sbatch submits nothing"
_RUN_FOLDER = "array tasks write below the run directory"
COMPUTED = {
    "array": "the launcher numbers the array tasks; set slurm.tasks or slurm.array_parallelism",
    "chdir": "the submission script sets the folder it runs in",
    "cpus-per-gpu": "CPUs are counted per array task; set node.processes, node.workers, slurm.cpus_per_task",
    "error": f"{_RUN_FOLDER}; see `launcher logs`",
    "job-name": "the Slurm job is found again by its name; set name",
    "no-requeue": "set slurm.requeue: false",
    "nodes": "nodes are counted per array task; set slurm.nodes_per_task",
    "open-mode": "logs are appended to over attempts",
    "output": f"{_RUN_FOLDER}; see `launcher logs`",
    "parsable": "the launcher reads the job id of sbatch itself",
    "requeue": "the job that writes the result tries again later by it; for array tasks there is slurm.requeue",
    "signal": "the launcher asks for the warning before the time limit itself; set slurm.warning",
    "test-only": f"{_NOT_A_JOB}; use `launcher plan --script`",
    "wait": "use `launcher run` to wait for the result",
    "wrap": "the submission script is made from slurm.template",
    **dict.fromkeys(("autocomplete", "help", "usage", "version"), _NOT_A_JOB),
}
# Options of which sbatch takes one.
_RIVALS = (
    frozenset(("mem", "mem-per-cpu", "mem-per-gpu")),
    frozenset(("gpus", "gpus-per-task", "gpus-per-node")),
    frozenset(("requeue", "no-requeue")),
    frozenset(("ntasks", "ntasks-per-node")),
    frozenset(("cpus-per-task", "cpus-per-gpu")),
)
GPU_OPTIONS = _RIVALS[1]
MEMORY_OPTIONS = _RIVALS[0]
_SIZES = MEMORY_OPTIONS | {"tmp"}
_TIMES = frozenset(("time", "time-min"))


def option_name(key: str) -> str:
    """The sbatch spelling of a key: ``gpus_per_node`` is ``gpus-per-node``."""
    name = key.replace("_", "-")
    return ALIASES.get(name, name)


def nearest_options(key: str) -> list[str]:
    """Options that look like ``key``, best first, spelled as in config.yaml."""
    usable = sorted(OPTIONS - COMPUTED.keys())
    return [name.replace("-", "_") for name in nearest(option_name(key), usable, most=3)]


def check_option(name: str, value: Any) -> OptionValue:
    """The value as it goes into the script, sizes and times in one form. ValueError says what is valid."""
    if name in COMPUTED:
        raise ValueError(f"is not for a config to set: {COMPUTED[name]}")
    if isinstance(value, bool):
        if name in _WITH_VALUE:
            raise ValueError(f"needs a value: sbatch --{name}=VALUE, not {str(value).lower()}")
        return value
    if name in _FLAGS:
        raise ValueError(f"takes no value: true or false, not {value!r}")
    if name in _OPTIONAL_VALUE and (name, value) != ("no-kill", "off") and is_old_switch(value):
        raise ValueError(f"must be true or false, or a value of sbatch's, not {value!r}, which is text")
    if name in _SIZES:
        return format_memory(parse_memory(value))
    if name in _TIMES:
        return format_time(parse_time(value))
    items = value if isinstance(value, list) else [value]
    if not items or not all(map(_is_plain, items)):
        raise ValueError(f"must be one line of text, a number, true, false or a list of these, not {value!r}")
    return value  # type: ignore[no-any-return]


def forms(name: str) -> list[str]:
    """The kinds of values, by JSON Schema's names, that an option may have in a config."""
    if name in _FLAGS:
        return ["boolean", "null"]
    plain = ["string", "number", "null"]
    if name in _SIZES or name in _TIMES:
        return plain
    return [*plain, "array", *(["boolean"] if name in _OPTIONAL_VALUE else [])]


def ousted(name: str, value: Any) -> frozenset[str]:
    """The options that cannot stand beside this one; what ``gres`` asks for beside GPUs can stand beside all."""
    others = GPU_OPTIONS if name == "gres" and any(map(asks_for_gpu, _items(value))) else frozenset()
    return others.union(*(rivals for rivals in _RIVALS if name in rivals)) - {name}


def asks_for_gpu(item: str) -> bool:
    """Whether an item of ``gres`` is a GPU: ``gpu``, ``gpu:a100:2``."""
    return item.strip().removeprefix("gres:").split(":")[0] == "gpu"


def _items(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else str(value).split(",")


def _is_plain(item: Any) -> bool:
    """Whether it fits on one #SBATCH line."""
    if isinstance(item, str):
        return item.strip() != "" and item.isprintable()
    return isinstance(item, int | float) and not isinstance(item, bool)


def gpus_asked(options: Mapping[str, Any], nodes: int = 1) -> int:
    """GPUs that the options ask for on each of an array task's nodes, in any of sbatch's ways; 0 without."""
    shares = {"gpus-per-task": 1, "gpus-per-node": 1, "gpus": nodes}  # --gpus are those of the whole job
    for name, share in shares.items():
        if name in options:
            return -(-sum(_trailing_count(item) for item in str(options[name]).split(",")) // share)
    return sum(_trailing_count(item) for item in _items(options.get("gres", ())) if asks_for_gpu(item))


def _trailing_count(item: str) -> int:
    """The number of ``2``, ``a100:2``, ``gpu:a100:2`` or ``gpu:a100:2(S:0-1)``; 1 where none is given."""
    last = item.split("(")[0].rsplit(":", 1)[-1]
    return int(last) if last.isdigit() else 1
