"""Settings: the config with which a run goes on. Imports no numpy: a scheduler is asked for its limits by it, before."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Resources
from launcher.config.config import Config, config_from_mapping
from launcher.config.origins import apply_overrides
from launcher.plan.guard import config_path
from launcher.runs.submissions import read_submissions


def current_config(run: RunDir, plan: Plan, overrides: Sequence[str] = ()) -> Config:
    """The config of the newest submission, with what decides the result as planned, and with ``--set`` overrides."""
    submissions = read_submissions(run)
    asked = submissions[-1].submission.resources if submissions else Resources()
    changed, set_texts = apply_overrides(in_words_of(plan, asked.config or plan.config), overrides)
    return config_from_mapping(changed, config_path(plan), set_texts, asked.profiles)


def in_words_of(plan: Plan, config: Mapping[str, Any]) -> dict[str, Any]:
    """A config (to_mapping) that gave this plan, or one that was kept: its own words for that may be others."""
    data, order = plan.config["data"], config["data"].get("order")
    return {**config, "job": plan.config["job"], "data": data if order is None else {**data, "order": order}}
