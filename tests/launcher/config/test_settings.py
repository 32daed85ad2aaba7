"""Settings: sections as they are read where there is no config."""

from pathlib import Path

from jobs.storage.submission import NodeSettings, Resources
from launcher.config.config import load_config
from launcher.config.sections import NodeSection, RetrySection
from launcher.config.settings import RetrySettings, node_settings, retry_settings
from tests.support.launcher_runs import write_config


def test_the_defaults_of_the_settings_are_those_of_the_sections(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path)).model_copy(update={"node": NodeSection(), "retry": RetrySection()})
    resources = Resources(config=config.to_mapping())
    assert (node_settings(config), retry_settings(resources)) == (NodeSettings(), RetrySettings())


def test_a_record_without_a_config_has_the_attempts_that_it_names() -> None:
    assert retry_settings(Resources(attempts=2)) == RetrySettings(attempts=2)


def test_settings_have_what_the_config_says_in_bytes_and_seconds(tmp_path: Path) -> None:
    node = {
        "processes": 3, "workers": 0, "devices": ["cuda:1", "cpu"], "sample_timeout": 1.5, "max_failed_samples": 7,
        "sync_interval": 2.5, "memory": "3G",
    }  # fmt: skip
    retry = {
        "attempts": 5, "memory_factor": 2.5, "max_memory": "64G", "time_factor": 3.5, "max_time": "2:00:00",
        "exclude_failed_nodes": False,
    }  # fmt: skip
    config = load_config(write_config(tmp_path, node=node, retry=retry))
    assert node_settings(config) == NodeSettings(3, 0, ("cuda:1", "cpu"), 1.5, 7, 2.5, 3 << 30)
    assert retry_settings(Resources(config=config.to_mapping())) == RetrySettings(5, 2.5, 64 << 30, 3.5, 7200, False)
