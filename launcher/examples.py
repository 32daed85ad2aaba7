"""Examples: two of each command, as ``--help`` and the man pages show them."""

from collections.abc import Mapping, Sequence

# What it does, and how it is typed.
EXAMPLES: Mapping[str, Sequence[tuple[str, str]]] = {
    "run": (
        ("from the config to the result, here or on Slurm", "launcher run config.yaml"),
        ("go on with a run, with smaller batches of work", "launcher run my-run --set node.workers=4"),
    ),
    "plan": (
        ("check all, and see what sbatch would get", "launcher plan config.yaml --set executor=slurm --script"),
        ("a run for each of two models", "launcher plan config.yaml --sweep job.params.model=small,large"),
    ),
    "submit": (
        ("plan and submit; nothing stays on the login node", "launcher submit config.yaml"),
        ("three runs, each after those that it comes after", "launcher submit embed.yaml cluster.yaml report.yaml"),
    ),
    "rerun": (
        ("what is not done, with more memory and time", "launcher rerun my-run --mem 64G --time 8:00:00"),
        ("some shards, those with failed samples too", "launcher rerun my-run --shards 3,7-9"),
    ),
    "extend": (
        ("the run's own manifest has more rows now", "launcher extend my-run"),
        ("samples of another file, and those that have changed", "launcher extend my-run more.csv --changed"),
    ),
    "probe": (
        ("what to set, by trying some samples here", "launcher probe config.yaml"),
        ("the same in half a minute, written into the config", "launcher probe config.yaml --seconds 30 --write"),
    ),
    "try": (
        ("three samples, stage by stage", "launcher try config.yaml"),
        ("a row that failed, with a debugger where it raises", "launcher try my-run --row 4711 --pdb"),
    ),
    "status": (
        ("the newest run", "launcher status"),
        ("shards that failed, and those of slow array tasks", "launcher status my-run --failed --slow"),
    ),
    "top": (
        ("the newest run on a full screen", "launcher top"),
        ("two runs next to each other", "launcher top my-run other-run"),
    ),
    "logs": (
        ("what is said about a sample", "launcher logs my-run --sample img_0042"),
        ("of a shard, as it is written", "launcher logs my-run 3 -f"),
    ),
    "errors": (
        ("each failed sample, and why", "launcher errors my-run"),
        ("for a program, of one shard", "launcher errors my-run --shard 3 --json"),
    ),
    "report": (
        ("report.html in the run directory", "launcher report my-run"),
        ("with what it cost", "launcher report my-run --output my-run.html --gpu-price 1.50 --currency EUR"),
    ),
    "metrics": (
        ("the newest run, for Prometheus", "launcher metrics"),
        ("two runs, for its textfile collector", "launcher metrics my-run other-run"),
    ),
    "events": (
        ("what has happened, an event a line", "launcher events my-run"),
        ("go on until the run has ended", "launcher events my-run -f"),
    ),
    "list": (
        ("the runs below ./runs", "launcher list"),
        ("all of yours that run or failed this week", "launcher list --all --state running,failed --since 7d"),
    ),
    "cancel": (
        ("stop a run; what is done stays", "launcher cancel my-run"),
        ("the same by its config, wherever its run lies", "launcher cancel config.yaml"),
    ),
    "gather": (
        ("write the result anew, every block checked", "launcher gather my-run"),
        ("a result of what there is", "launcher gather my-run --allow-missing"),
    ),
    "verify": (
        ("hash all again and compare with the journals", "launcher verify my-run"),
        ("the same, for a program", "launcher verify my-run --json"),
    ),
    "clean": (
        ("see what would go", "launcher clean my-run --dry-run"),
        ("logs too, without a question", "launcher clean my-run --logs --yes"),
    ),
    "export": (
        ("Parquet, a million rows a file", "launcher export my-run out --format parquet --rows-per-file 1000000"),
        ("tars for webdataset, into a store", "launcher export my-run s3://bucket/out --format webdataset"),
    ),
    "jobs": (
        ("the built-in Jobs", "launcher jobs"),
        ("your own, as the launcher sees it", "launcher jobs my_job:ByteHistogram"),
    ),
    "init": (
        ("a commented config for a built-in Job", "launcher init text_embedding"),
        ("for your own, with values", "launcher init my_job:Mine mine.yaml --set data.manifest=table.csv"),
    ),
    "schema": (
        ("anew for a config, after an upgrade", "launcher schema --job text_embedding --output config.schema.json"),
        ("of what launcher status --json prints", "launcher schema --document status"),
    ),
    "doctor": (
        ("what is here, and what profiles say", "launcher doctor"),
        ("of a config: each value with where it is from", "launcher doctor config.yaml"),
    ),
    "completion": (
        ("for this shell, now", 'eval "$(launcher completion bash)"'),
        ("for fish, for good", "launcher completion fish > ~/.config/fish/completions/launcher.fish"),
    ),
    "man": (
        ("read one", "launcher man plan | man -l -"),
        ("where man looks", "launcher man --output ~/.local/share/man/man1"),
    ),
}


def examples_text(command: str) -> str:
    """As ``--help`` ends with them."""
    lines = [f"  # {does}\n  {typed}\n" for does, typed in EXAMPLES.get(command, ())]
    return "\nexamples:\n" + "".join(lines) if lines else ""
