"""cluster.yaml against Ray's own schema, and what that schema lets through."""

from pathlib import Path

import yaml

FILE = Path(__file__).parents[1] / "cluster.yaml"


def test_ray_accepts_it():
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load(FILE.read_text())))


def test_no_node_type_exceeds_the_cluster():
    config = yaml.safe_load(FILE.read_text())
    assert config["provider"]["region"]
    assert all(kind["max_workers"] <= config["max_workers"] for kind in config["available_node_types"].values())
