"""The package itself: version and typing marker as installed."""

import importlib.metadata
from importlib.resources import files

import isoloss


def test_version_is_the_installed_one():
    assert isoloss.__version__ == importlib.metadata.version("isoloss")


def test_package_ships_its_types():
    assert files("isoloss").joinpath("py.typed").is_file()
