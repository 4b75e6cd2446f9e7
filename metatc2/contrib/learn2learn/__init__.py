"""learn2learn, both ways: its tasks feed our learners, our episodes feed its algorithms, its weights run under our protocol."""

from metatc2.contrib.learn2learn.accuracy import few_shot_accuracy
from metatc2.contrib.learn2learn.benchmarks import BENCHMARKS, benchmark_tasksets
from metatc2.contrib.learn2learn.convert import from_learn2learn, strip_module
from metatc2.contrib.learn2learn.package import REQUIREMENT, require_learn2learn
from metatc2.contrib.learn2learn.taskset import AsTaskset, tasks_of
from metatc2.contrib.learn2learn.taskset_sampler import TasksetSampler

__all__ = [
    "BENCHMARKS",
    "REQUIREMENT",
    "AsTaskset",
    "TasksetSampler",
    "benchmark_tasksets",
    "few_shot_accuracy",
    "from_learn2learn",
    "require_learn2learn",
    "strip_module",
    "tasks_of",
]
