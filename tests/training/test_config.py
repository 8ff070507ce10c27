"""The configuration of a run, and every configuration that comes with the package."""

import pytest

from nabladft.errors import ConfigError
from nabladft.resources import baseline_folders
from nabladft.training.building import read_recipe
from nabladft.training.config import TargetConfig, TrainingConfig, read_config_file, read_training

FILES = [
    pytest.param(folder, file, id=f"{name}-{file.stem}")
    for name, folder in baseline_folders().items()
    for file in sorted(folder.glob("*.toml"))
]


@pytest.mark.parametrize(("folder", "file"), FILES)
def test_configurations_of_the_baselines_are_valid(folder, file):
    recipe = read_recipe(folder, file)

    assert isinstance(recipe.training, TrainingConfig)


def test_an_unknown_table_is_refused_with_the_nearest(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[trainig]\nseed = 1\n")

    with pytest.raises(ConfigError, match=r"config.toml: No table 'trainig'. Did you mean 'train"):
        read_config_file(path)


def test_overrides_are_named_in_the_message(tmp_path):
    path = tmp_path / "config.toml"
    path.touch()

    with pytest.raises(ConfigError, match=r"with training.max_epochs=0.*at least 1"):
        read_config_file(path, ["training.max_epochs=0"])


def test_targets_without_a_table_have_the_defaults():
    config = read_training({"loss": {"forces": {"weight": 10.0}}}, place="here")

    targets = config.targets(frozenset({"forces", "formation_energy"}))

    assert targets == {"forces": TargetConfig(weight=10.0), "formation_energy": TargetConfig()}


def test_three_betas_are_refused():
    with pytest.raises(ConfigError, match=r"\[training.optimizer\].*two numbers"):
        read_training({"optimizer": {"betas": [0.9, 0.99, 0.999]}}, place="here")
