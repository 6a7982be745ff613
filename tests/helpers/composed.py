"""Jobs of commands, composed and parsed as the entry points do it."""

from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_config, compose_jobs, make_job, to_plain_dict
from nerveseg.workflows.training_job import training_job


def plain_config(verb, *overrides):
    """Return a configuration in plain types, before it is parsed."""
    return to_plain_dict(compose_config(verb, list(overrides)))


def parsed_config(verb, *overrides):
    """Return the typed configuration of overrides in Hydra's own spelling."""
    return make_job(verb, compose_config(verb, list(overrides)), overrides).config


def training_jobs(*typed):
    """Return the folds that words typed after `train` stand for."""
    return [training_job(job) for job in compose_jobs("train", to_hydra_overrides("train", list(typed)))]
