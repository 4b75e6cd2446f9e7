"""The configuration of a run: read from task files, overridden by ``--set key=value``, written beside the results.

A `Config` is a frozen dataclass of sections. Every key has a type, a range, a default and one line of documentation in
`all_keys`; whatever is wrong is an `InputError` that names the file, the key, what was found and what is expected.
"""

from metatc2.experiment.config.calibration import CalibrationConfig, RegularizerConfig
from metatc2.experiment.config.files import list_tasks, read_config, read_task, task_folder, write_config
from metatc2.experiment.config.identity import differences, fingerprint, flatten, method_key, method_name
from metatc2.experiment.config.overrides import merge, override
from metatc2.experiment.config.schema import (
    Config,
    DataConfig,
    EncoderConfig,
    EpisodeConfig,
    HeadConfig,
    LearnerConfig,
    ObjectiveConfig,
    TrainerConfig,
    TransferConfig,
    ViewsConfig,
    all_keys,
)
from metatc2.experiment.config.section import Key

__all__ = [
    "CalibrationConfig",
    "Config",
    "DataConfig",
    "EncoderConfig",
    "EpisodeConfig",
    "HeadConfig",
    "Key",
    "LearnerConfig",
    "ObjectiveConfig",
    "RegularizerConfig",
    "TrainerConfig",
    "TransferConfig",
    "ViewsConfig",
    "all_keys",
    "differences",
    "fingerprint",
    "flatten",
    "list_tasks",
    "merge",
    "method_key",
    "method_name",
    "override",
    "read_config",
    "read_task",
    "task_folder",
    "write_config",
]
